"""Bodies and parameters of any kind: right ones, nearly right ones, and garbage; never a 5xx."""

from __future__ import annotations

import contextlib
import json
import string
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from livepin_server.management import app, openapi

pytestmark = pytest.mark.no_cover  # thousands of requests through the same lines
DOCUMENT = openapi.document(app.ROUTES)
TAKING = [
    (method.upper(), path, operation["requestBody"]["content"]["application/json"]["schema"])
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if "requestBody" in operation and operation["operationId"] != "probe"
]  # a probe connects: it has tests of its own
NAMES = [f"{method} {path}" for method, path, _ in TAKING]
LARGE = "/v1/accounts/{account}/apps/{name}/releases"  # test_apps.py has its bound
SMALL = [(method, path) for method, path, _ in TAKING if path != LARGE]
VALUES = {
    "account": "acme", "pattern": "x.example", "digest": "A" * 43, "version": "1",
    "name": "payments", "stream": "main", "number": "open", "key_id": "nobody",
    "installation": "A" * 22,
    "incident": "1",
}  # fmt: skip

texts = st.text(max_size=30) | st.sampled_from(
    ["", "\ud800", "\0", "a\n", "main", "acme", "api.example.com", "*.example.com",
     "bücher.example", "sha256/" + "A" * 43 + "=", "https://pins.example.com",
     "2027-01-31T12:00:00Z", "x" * 70_000]
)  # fmt: skip
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(10**400)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
calm = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def conforming(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that a schema of this document allows."""
    if "$ref" in schema:
        return conforming(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for name in ("oneOf", "anyOf"):
        if name in schema:
            return st.one_of([conforming(each) for each in schema[name]])
    return _OF_TYPE[schema.get("type", "anything")](schema)


def _object(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    members = {name: conforming(each) for name, each in schema.get("properties", {}).items()}
    if not members:
        return st.dictionaries(texts, anything, max_size=3)
    required = {name: members.pop(name) for name in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=members)


def _array(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    least = schema.get("minItems", 0)
    return st.lists(conforming(schema.get("items", {})), min_size=least, max_size=least + 2)


def _string(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    return texts.filter(lambda text: len(text) <= schema.get("maxLength", 10**6))


_OF_TYPE: dict[str, Any] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "boolean": lambda _: st.booleans(),
    "null": lambda _: st.none(),
    "integer": lambda s: st.integers(s.get("minimum", -(2**70)), s.get("maximum", 2**70)),
    "anything": lambda _: anything,
}


@pytest.fixture(scope="module")
def send(two_accounts) -> Any:
    """Send a body of any kind as an admin, and check that the answer is in order."""
    key = two_accounts.key()

    def one(method: str, path: str, content: bytes, **options: Any) -> int:
        headers = {"content-type": "application/json", **options.pop("headers", {})}
        answer = two_accounts.send(
            method, path.format(**VALUES), to="management", key=key, content=content,
            headers=headers, **options,
        )  # fmt: skip
        assert answer.status_code < 500, (content[:500], answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code
            assert "Traceback" not in answer.text
        return answer.status_code

    return one


@pytest.mark.parametrize(("method", "path", "schema"), TAKING, ids=NAMES)
def test_a_body_that_conforms_is_taken_or_refused_in_words(send, method, path, schema) -> None:
    @calm
    @given(body=conforming(schema))
    def one(body: Any) -> None:
        assert send(method, path, json.dumps(body).encode()) in (200, 201, 400, 404, 409, 413, 422)

    one()


@pytest.mark.parametrize(("method", "path", "schema"), TAKING, ids=NAMES)
def test_json_that_does_not_conform_is_refused(send, method, path, schema) -> None:
    @calm
    @given(body=anything, conforming_body=conforming(schema), name=texts)
    def one(body: Any, conforming_body: dict[str, Any], name: str) -> None:
        assert send(method, path, json.dumps(conforming_body | {f"?{name}": body}).encode()) in (
            400, 413,
        )  # fmt: skip
        mixed = dict.fromkeys(conforming_body, body)
        assert send(method, path, json.dumps(mixed).encode()) < 500

    one()


@pytest.mark.parametrize(("method", "path", "schema"), TAKING, ids=NAMES)
def test_bytes_that_are_no_json_are_refused(send, method, path, schema) -> None:
    @calm
    @given(body=st.binary(max_size=100))
    def one(body: bytes) -> None:
        assert send(method, path, b"{{" + body) == 400

    one()


@pytest.mark.parametrize(("method", "path", "schema"), TAKING, ids=NAMES)
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"7", b'""', b"\xff\xfe", b"{}}"])
def test_a_body_that_is_no_object_is_refused(send, method, path, schema, body: bytes) -> None:
    assert send(method, path, body) == 400


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("root/prepare", {"replace_online": 0}, "replace_online: Expected `bool`, got `int`"),
        ("root/prepare", {"threshold": "1"}, "threshold: Expected `int | null`, got `str`"),
        ("root/prepare", {"days": True}, "days: Expected `int`, got `bool`"),
        ("api-keys", {"name": 7, "role": "viewer"}, "name: Expected `str`, got `int`"),
        (
            "domains/a.test/pins",
            {"pins": [{"sha256": "A", "backup": "true"}]},
            "pins[0].backup: Expected `bool`, got `str`",
        ),
    ],
)
def test_a_member_is_what_it_says_and_nothing_that_it_might_mean(
    two_accounts, assert_problem, path, body, detail
) -> None:
    answer = two_accounts.send(
        "POST", f"/v1/accounts/acme/{path}", to="management", key=two_accounts.key(), json=body
    )
    assert assert_problem(answer, 400)["detail"] == detail


@pytest.mark.parametrize(("method", "path", "schema"), TAKING, ids=NAMES)
def test_deep_nesting_is_refused(send, method, path, schema) -> None:
    name = next(
        iter(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"])
    )
    for opening in (b"[", b'{"a":'):
        assert send(method, path, b'{"%s":' % name.encode() + opening * 30_000) == 400
        closing = b"]" if opening == b"[" else b"}"
        whole = opening * 30_000 + (b"" if opening == b"[" else b"1") + closing * 30_000
        assert send(method, path, b'{"%s":%s}' % (name.encode(), whole)) == 400


@pytest.mark.parametrize(("method", "path"), SMALL)
def test_a_body_is_bounded(send, method, path) -> None:
    def pieces():
        for _ in range(260):
            yield b" " * 1024

    assert send(method, path, b" " * (256 * 1024)) == 400
    # A server that stops reading may end the connection before its answer is read.
    for body in (b" " * (256 * 1024 + 1), pieces()):
        with contextlib.suppress(httpx.TransportError):
            assert send(method, path, body) == 413
    assert send(method, path, b" ") == 400


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "x"])
def test_the_content_type_of_a_body_is_json_whatever_it_says(send, kind: str) -> None:
    path = "/v1/accounts/{account}/domains/{pattern}/pins"
    assert send("POST", path, b"pins=1", headers={"content-type": kind}) == 400


READING = [
    (method.upper(), path, [p["name"] for p in operation.get("parameters", ())])
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if operation.get("parameters") and "requestBody" not in operation
]


@pytest.mark.parametrize(
    ("method", "path", "names"), READING, ids=[" ".join(r[:2]) for r in READING]
)
def test_parameters_of_any_kind_are_taken_or_refused_in_words(
    two_accounts, method, path, names
) -> None:
    key = two_accounts.key()
    values = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80) | st.text(
        string.printable, min_size=1, max_size=600
    )

    @calm
    @given(found=st.fixed_dictionaries(dict.fromkeys(names, values)))
    def one(found: dict[str, str]) -> None:
        inner = {n: quote(v, safe="") for n, v in found.items() if f"{{{n}}}" in path}
        inner["account"] = "acme"
        query = {n: v for n, v in found.items() if n not in inner}
        answer = two_accounts.send(
            method, path.format(**inner), to="management", key=key, params=query
        )
        assert answer.status_code in (200, 400, 404, 405, 409, 422), answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"

    one()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200), ("limit=1", 200), ("limit=1000", 200), ("limit=0", 400), ("limit=1001", 400),
        ("limit=x", 400), ("limit=1.5", 400), ("limit=" + "9" * 400, 400), ("stream=main", 200),
        ("stream=other", 404), ("stream=" + "s" * 64, 400), ("limit=1&limit=2", 200),
        ("unknown=1", 200),
    ],
)  # fmt: skip
def test_the_limits_of_a_listing(two_accounts, query: str, status: int) -> None:
    path = f"/v1/accounts/acme/configs?{query}"
    answer = two_accounts.send("GET", path, to="management", key=two_accounts.key("viewer"))
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "version", ["0", "999999", "x", "-1", "1.0", "+1", "٣", "9" * 17, "latest "]
)
def test_a_version_that_is_not_there_is_refused(two_accounts, assert_problem, version) -> None:
    path = f"/v1/accounts/acme/configs/{version}"
    answer = two_accounts.send("GET", path, to="management", key=two_accounts.key("viewer"))
    assert answer.status_code in (404, 422)
    assert_problem(answer, answer.status_code)
