"""The OpenAPI document: fresh in the repository, whole, readable, and served without strangers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from livepin_server import __version__
from livepin_server.management import app, openapi

DOCUMENT = openapi.document(app.ROUTES)
COMMITTED = Path(__file__).parents[4] / "spec" / "openapi.json"
OPERATIONS = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
NAMES = [f"{method.upper()} {path}" for method, path, _ in OPERATIONS]


def test_the_committed_document_is_fresh() -> None:
    assert json.loads(COMMITTED.read_text("utf-8")) == DOCUMENT, "run scripts/openapi"


def test_it_is_openapi_3_1_with_its_security_scheme() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    assert DOCUMENT["info"]["version"] == __version__
    assert DOCUMENT["security"] == [{"apiKey": []}]
    scheme = DOCUMENT["components"]["securitySchemes"]["apiKey"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_operation_ids_are_names_and_used_once() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", each) for each in ids)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_each_operation_says_what_it_does_and_needs(method, path, operation) -> None:
    assert 10 < len(operation["summary"]) < 120
    if path in ("/healthz", "/readyz"):
        assert (operation["security"], operation["description"]) == ([], "Open to all.")
    else:
        said = (
            r"Needs an API key( for the whole server)? with the role (\w+)( or pentest)?"
            r"(, whatever its scopes|; if it has scopes, ([a-z, ]+) among them)\."
        )
        found = re.fullmatch(said, operation["description"])
        assert found[2] in ("viewer", "operator", "admin")
        assert "401" in operation["responses"]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_each_refusal_is_a_problem(method, path, operation) -> None:
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            name = answer["$ref"].rpartition("/")[2]
            found = DOCUMENT["components"]["responses"][name]
            content = found["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert found["description"]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_what_fuzzing_missed_in_it(method, path, operation) -> None:
    if method != "get":
        assert "409" in operation["responses"]  # revoking the last admin key, without a body
    if "requestBody" in operation:
        assert "404" in operation["responses"]  # an account that a body names
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        name = schema["$ref"].rpartition("/")[2]
        assert DOCUMENT["components"]["schemas"][name]["additionalProperties"] is False


def references(value: Any) -> set[str]:
    """Return everything that is referred to."""
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(references(each) for each in value.values()))
    return set().union(*(references(each) for each in value)) if isinstance(value, list) else set()


def test_nothing_is_referred_to_that_is_not_there() -> None:
    for reference in references(DOCUMENT):
        found: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def test_each_schema_is_used() -> None:
    used = {reference.rpartition("/")[2] for reference in references(DOCUMENT)}
    assert set(DOCUMENT["components"]["schemas"]) <= used


def test_it_is_served_as_it_is_and_there_is_no_page_with_scripts(server) -> None:
    answer = server.send("GET", "/openapi.json", to="management")
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json"
    assert answer.json() == DOCUMENT
    for path in ("/", "/schema", "/schema/openapi.json", "/schema/swagger", "/docs", "/redoc"):
        assert server.send("GET", path, to="management", key=server.key()).status_code == 404
