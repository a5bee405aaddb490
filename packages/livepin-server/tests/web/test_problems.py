"""Problems: their form, and every refusal of a use case as one."""

from __future__ import annotations

import json

import pytest
from litestar.exceptions import HTTPException, ImproperlyConfiguredException
from livepin_server import errors
from livepin_server.web.litestar_problems import HANDLERS, on_service_error
from livepin_server.web.problems import encoded, problem


def test_a_problem_has_title_status_detail_and_hint() -> None:
    found = json.loads(encoded(problem(409, "it is there", "take another")))
    assert found == {
        "title": "Conflict", "status": 409, "detail": "it is there", "hint": "take another",
    }  # fmt: skip
    assert json.loads(encoded(problem(404))) == {"title": "Not Found", "status": 404}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("NotFoundError", 404), ("ConflictError", 409), ("InvalidError", 422),
        ("ForbiddenError", 403), ("UnavailableError", 503),
    ],
)  # fmt: skip
def test_each_refusal_has_its_status(kind: str, status: int) -> None:
    answer = on_service_error(None, getattr(errors, kind)("why", hint="what to do"))
    assert answer.status_code == status
    assert json.loads(answer.content)["hint"] == "what to do"
    assert answer.headers.get("Retry-After") == ("5" if status == 503 else None)


def test_no_refusal_is_forgotten() -> None:
    for each in errors.ServiceError.__subclasses__():
        assert on_service_error(None, each("why")).status_code >= 400


def test_our_own_mistake_is_in_the_log_and_not_in_the_answer(caplog) -> None:
    class Request:
        url = type("URL", (), {"path": "/p"})

    answer = HANDLERS[Exception](Request, ValueError("a secret"))
    assert answer.status_code == 500
    assert b"secret" not in answer.content
    assert "a secret" in caplog.text


def test_the_frameworks_own_faults_are_not_told_either(caplog) -> None:
    class Request:
        url = type("URL", (), {"path": "/p"})

    answer = HANDLERS[HTTPException](Request, ImproperlyConfiguredException("install this"))
    assert answer.status_code == 500
    assert b"install" not in answer.content
    assert "install this" in caplog.text
