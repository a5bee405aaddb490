from __future__ import annotations

import json
from typing import Any

import pytest
from livepin.client.token_answer import TokenAnswer
from livepin.errors import LivepinError, MalformedError

HOST = "api.example.com"


def issued(**changes: Any) -> dict[str, Any]:
    return {"header": "Livepin-Token", "token": "a.b.c", "lives": 300} | changes


def answer(**changes: Any) -> bytes:
    members = {
        "challenge": "fresh",
        "tokens": {HOST: issued()},
        "newest": {"root_version": 1, "version": 9},
        "config": "signed.by.owner",
        "override": None,
    }
    found = members | changes
    return json.dumps({name: value for name, value in found.items() if value is not ...}).encode()


def test_an_answer_is_read() -> None:
    found = TokenAnswer.parse(answer(new={"ignored": [1]}))
    assert found.challenge == "fresh"
    assert found.tokens is not None
    assert (found.tokens[HOST].header, found.tokens[HOST].value) == ("Livepin-Token", "a.b.c")
    assert found.tokens[HOST].lives == 300
    assert found.newest == (1, 9)
    assert (found.config, found.override) == (b"signed.by.owner", None)


def test_what_may_be_null_is_null() -> None:
    found = TokenAnswer.parse(answer(tokens=None, config=None, override="signed"))
    assert (found.tokens, found.config, found.override) == (None, None, b"signed")


@pytest.mark.parametrize(
    "changes",
    [
        {"challenge": ...},
        {"challenge": ""},
        {"challenge": 1},
        {"challenge": "x" * 129},
        {"challenge": "a b"},
        {"challenge": "ä"},
        {"tokens": ...},
        {"tokens": []},
        {"tokens": {f"{n}.example.com": issued() for n in range(33)}},
        {"tokens": {HOST: "a.b.c"}},
        {"tokens": {HOST: issued(token="")}},
        {"tokens": {HOST: issued(token="x" * 8193)}},
        {"tokens": {HOST: issued(token="a\r\nHost: evil.example")}},
        {"tokens": {HOST: issued(token="a b")}},
        {"tokens": {HOST: issued(token=None)}},
        {"tokens": {HOST: issued(header="")}},
        {"tokens": {HOST: issued(header="A: b\r\nC")}},
        {"tokens": {HOST: issued(header="A\n")}},
        {"tokens": {HOST: issued(header=None)}},
        {"tokens": {HOST: issued(header="Host")}},
        {"tokens": {HOST: issued(header="TRANSFER-ENCODING")}},
        {"tokens": {HOST: issued(header="Proxy-Authorization")}},
        {"tokens": {HOST: issued(header="x" * 65)}},
        {"tokens": {HOST: issued(lives=0)}},
        {"tokens": {HOST: issued(lives=301)}},
        {"tokens": {HOST: issued(lives=True)}},
        {"tokens": {HOST: issued(lives=1.5)}},
        {"newest": ...},
        {"newest": [1, 2]},
        {"newest": {"root_version": 1}},
        {"newest": {"root_version": 0, "version": 1}},
        {"newest": {"root_version": 1, "version": 2**53}},
        {"config": ...},
        {"config": {}},
        {"config": "x" * 65537},
        {"override": ...},
        {"override": 1},
    ],
    ids=lambda changes: json.dumps({k: str(v)[:50] for k, v in changes.items()})[:70],
)
def test_anything_else_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        TokenAnswer.parse(answer(**changes))


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"null", b"\xff", b"[" * 9 + b"]" * 9, answer()[:-1], b'{"challenge":"a",' * 2],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(LivepinError):
        TokenAnswer.parse(raw)


def test_it_shows_neither_tokens_nor_challenges() -> None:
    assert "a.b.c" not in repr(TokenAnswer.parse(answer()))
    assert "fresh" not in repr(TokenAnswer.parse(answer()))
