"""A thief has the text of an API key, such as from a log of a build; its owner finds out."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import pytest
from livepin_server.errors import ForbiddenError
from livepin_server.services.model import Intent, Role
from sqlalchemy import event

INTENT = Intent(author="bob")
NOW = {"overlap": 0}


@pytest.fixture
def server(start_server):
    """A running server."""
    return start_server()


def statuses(server, *keys: str) -> list[int]:
    """Return what each key is answered by the server."""
    return [server.send("GET", "/v1/whoami", to="management", key=key).status_code for key in keys]


def rotate(server, name: str, **body: int) -> str:
    """Rotate a key as its owner does, by another one; return the new text."""
    path = f"/v1/api-keys/{name}/rotate"
    answer = server.send("POST", path, to="management", key=server.key(), json=body)
    return str(answer.json()["key"])


def test_a_stolen_key_is_worth_nothing_once_it_is_rotated_at_once(server) -> None:
    _, stolen = server.services.api_keys.create("ci", Role.OPERATOR, "acme", INTENT)
    new = rotate(server, "ci", overlap=0)
    assert statuses(server, stolen, new) == [401, 200]


def test_a_key_that_was_stolen_before_it_was_rotated_ends_with_the_overlap(server, clock) -> None:
    _, stolen = server.services.api_keys.create("ci", Role.OPERATOR, "acme", INTENT)
    new = rotate(server, "ci", overlap=3600)
    server.services.clock.advance(minutes=59)
    assert statuses(server, stolen, new) == [200, 200]
    server.services.clock.advance(minutes=1)
    assert statuses(server, stolen, new) == [401, 200]


def test_an_overlap_ends_at_once_when_it_is_rotated_again(server) -> None:
    _, stolen = server.services.api_keys.create("ci", Role.OPERATOR, "acme", INTENT)
    second = rotate(server, "ci")
    third = rotate(server, "ci")
    assert statuses(server, stolen, second, third) == [401, 200, 200]


def test_a_stolen_key_that_has_expired_is_worth_nothing(server) -> None:
    soon = server.services.clock() + timedelta(hours=1)
    _, stolen = server.services.api_keys.create("ci", Role.ADMIN, None, INTENT, expires=soon)
    assert statuses(server, stolen) == [200]
    server.services.clock.advance(hours=1)
    assert statuses(server, stolen) == [401]
    # It neither renews itself nor makes another one.
    for path in ("/v1/api-keys/ci/rotate", "/v1/api-keys"):
        body = {"name": "mine", "role": "admin"} if path == "/v1/api-keys" else {}
        answer = server.send("POST", path, to="management", key=stolen, json=body)
        assert answer.status_code == 401


def test_a_thief_does_not_lock_out_everybody(server) -> None:
    """With an admin key he revokes and rotates others; the last one that can do all stays."""
    api_keys = server.services.api_keys
    _, stolen = api_keys.create("admin for a day", Role.ADMIN, None, INTENT,
                                expires=server.services.clock() + timedelta(days=1))  # fmt: skip
    for method, path in (("DELETE", "operator"), ("POST", "operator/rotate")):
        answer = server.send(method, f"/v1/api-keys/{path}", to="management", key=stolen, json=NOW)
        assert answer.status_code in (403, 409)
    operator = (server.folder.data / "operator.key").read_text().strip()
    assert statuses(server, operator) == [200]


def test_where_a_stolen_key_was_used_is_seen(server) -> None:
    _, stolen = server.services.api_keys.create("ci", Role.OPERATOR, "acme", INTENT)
    server.services.api_keys.verify(stolen, "203.0.113.66")
    answer = server.send("GET", "/v1/api-keys/ci", to="management", key=server.key())
    assert answer.json()["last_used_from"] == "203.0.113.66"


# -- what a thief learns of a key that he tries ---------------------------------------------------

_COSTLY = {"compare_digest", "openssl_sha256", "urlsafe_b64decode", "b64decode", "execute"}


def test_a_key_that_ended_is_answered_like_one_that_never_was(server, call_of_verify) -> None:
    """The same answer, for the same work: the same look-up, hash and comparisons, in order."""
    api_keys, clock = server.services.api_keys, server.services.clock
    _, good = api_keys.create("good", Role.VIEWER, None, INTENT)
    _, expired = api_keys.create("a", Role.VIEWER, None, INTENT, expires=clock() + timedelta(1))
    view, revoked = api_keys.create("b", Role.VIEWER, None, INTENT)
    api_keys.revoke(view.id, INTENT)
    _, rotated = api_keys.create("c", Role.VIEWER, None, INTENT)
    api_keys.rotate("c", INTENT, overlap=timedelta())
    _, overlapped = api_keys.create("d", Role.VIEWER, None, INTENT)
    api_keys.rotate("d", INTENT, overlap=timedelta(hours=1))
    clock.advance(days=1)
    wrong = f"{good[:17]}{'A' * 43}"
    unknown = f"lpk_000000000000_{'A' * 43}"
    tried = [unknown, wrong, expired, revoked, rotated, overlapped]
    answers = [server.send("GET", "/v1/whoami", to="management", key=key) for key in tried]
    assert len({(each.status_code, each.content) for each in answers}) == 1
    assert answers[0].status_code == 401
    works = [call_of_verify(api_keys, text) for text in tried]
    assert works == [works[0]] * len(tried)
    assert works[0].count("compare_digest") == 2
    assert works[0].count("openssl_sha256") == 1
    assert len([each for each in works[0] if each.startswith("SELECT")]) == 1


@pytest.fixture
def call_of_verify(server):
    """Verify a text; return the statements and the costly functions, in order."""

    def one(api_keys: Any, text: str) -> list[str]:
        done: list[str] = []
        engine = server.services.database._engine

        def on_execute(*found: Any) -> None:
            done.append(found[2])

        def on_call(_frame: Any, kind: str, function: Any) -> None:
            if kind == "c_call" and function.__name__ in _COSTLY:
                done.append(function.__name__)

        event.listen(engine, "before_cursor_execute", on_execute)
        sys.setprofile(on_call)
        try:
            api_keys.verify(text)
        except ForbiddenError:
            pass
        else:
            raise AssertionError("it was taken")
        finally:
            sys.setprofile(None)
            event.remove(engine, "before_cursor_execute", on_execute)
        return done

    return one
