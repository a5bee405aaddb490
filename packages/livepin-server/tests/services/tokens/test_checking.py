"""What a token is, for people."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin import jsontext, tokens
from livepin_server.errors import InvalidError, NotFoundError
from livepin_server.services.audit.log import Wanted
from livepin_server.services.tokens.model import DomainTokensChange, NewExample, NewTokenKey

HOST = "api.example.com"


@pytest.fixture
def check(protected):
    def one(token, bound_to=None):
        bind = None if bound_to is None else tokens.binding(bound_to)
        found = protected.tokens.check("acme", token, bind)
        return found.taken, found.reason, found.decoy, found.key

    return one


@pytest.fixture
def example(protected, intent):
    def one(**wanted):
        return protected.tokens.example("acme", NewExample(host=HOST, **wanted), intent).token

    return one


def test_what_a_backend_takes(check, example, answer):
    assert check(answer().tokens[HOST].token) == (True, None, False, "main")
    assert check(example()) == (True, None, False, "main")


def test_a_decoy_also_once_it_has_ended(check, example, clock):
    text = example(valid=False)
    assert check(text) == (False, "signature", True, "main")
    clock.advance(hours=1)
    assert check(text) == (False, "signature", True, "main")


def test_one_that_has_ended_and_one_of_tomorrow(check, example, clock):
    text = example()
    clock.advance(minutes=6)
    assert check(text)[1] == "expired"
    clock.advance(days=-1)
    assert check(text)[1] == "early"


def test_one_of_another_account_or_nobody(check, example):
    header, payload, signature = example().split(".")
    flipped = "A" if signature[0] != "A" else "B"
    assert check(f"{header}.{payload}.{flipped}{signature[1:]}") == (
        False, "signature", False, "main",
    )  # fmt: skip
    parts = ("e30", "e30.e30", "e30.e30.AAAA", "e30.e30.AAAA.AAAA", f"e30.e30.{'A' * 8192}")
    deep = tokens.b64url_encode(b'{"a":' + b"[" * 5_000).decode()
    for text in ("", "x", "a.b.c", "\u00e4.b.c", "x" * 9000, *parts, f"{deep}.e30.AAAA"):
        assert check(text)[:3] == (False, "malformed", False)


def test_a_binding(check, example):
    bind = tokens.binding(b"abc")
    assert check(example(bind=bind), b"abc")[0]
    assert check(example(bind=bind), b"abd")[1] == "binding"
    assert check(example(), b"abc")[1] == "binding"


@pytest.fixture
def secret(protected, intent):
    new = NewTokenKey(name="s", algorithm="HS256", domain=HOST)
    protected.token_keys.add("acme", new, intent)
    protected.token_settings.change_domain("acme", HOST, DomainTokensChange(key="s"), intent)


@pytest.fixture
def approov(protected, secret, intent):
    change = DomainTokensChange(profile="approov")
    protected.token_settings.change_domain("acme", HOST, change, intent)


def test_a_token_by_a_secret_is_held_to_all_that_it_says(check, example, secret, clock):
    text = example()
    assert check(text) == (True, None, False, "s")
    assert check(example(valid=False)) == (False, "signature", True, "s")
    clock.advance(days=-1)
    assert check(text) == (False, "early", False, "s")


def test_the_other_profile(check, example, approov, clock):
    bind = tokens.binding(b"abc")
    text = example(bind=bind)
    assert check(text, b"abc") == (True, None, False, "s")
    assert check(text) == (True, None, False, "s")
    assert check(text, b"abd") == (False, "binding", False, "s")
    assert check(example(valid=False)) == (False, "signature", True, "s")
    header, payload, _ = text.split(".")
    assert check(f"{header}.{payload}.AAAA") == (False, "signature", False, None)
    assert check(f"{header}.{payload}.!") == (False, "signature", False, None)
    # The first reason stands, whatever else is right.
    assert check(f"{header}.{payload}.AAAA", b"abc") == (False, "signature", False, None)
    clock.advance(seconds=294)
    assert check(text, b"abc") == (True, None, False, "s")
    clock.advance(seconds=1)
    for bound_to in (None, b"abc", b"abd"):
        assert check(text, bound_to) == (False, "expired", False, "s")
    assert check(f"{header}.{payload}.AAAA") == (False, "signature", False, None)


def test_an_example_is_in_the_log_and_its_domain_must_ask_for_tokens(protected, example, intent):
    example()
    entry = protected.audit.log("acme", Wanted()).items[0].entry
    assert (entry.action, entry.target, entry.after) == ("tokens.example", HOST, {"valid": True})
    with pytest.raises(NotFoundError, match="no domain of main"):
        protected.tokens.example("acme", NewExample(host="x.example.com"), intent)
    with pytest.raises(InvalidError, match="bind"):
        protected.tokens.example("acme", NewExample(host=HOST, bind="A" * 42 + "B"), intent)
    with pytest.raises(InvalidError):
        protected.tokens.example("acme", NewExample(host="*.example.com"), intent)
    with pytest.raises(NotFoundError, match="there is no stream"):
        protected.tokens.example("acme", NewExample(host=HOST, stream="canary"), intent)


def test_an_issue_that_is_none_is_long_ago(check, example):
    """A signature that is none brings claims that are anything."""
    assert timedelta(minutes=5) == tokens.LIFETIME
    header = example().split(".")[0]
    for issued in ("x", None, True, [], 1.5, -1, 2**33, 10**30):
        payload = tokens.b64url_encode(jsontext.dump({"iat": issued})).decode()
        assert check(f"{header}.{payload}.{'A' * 86}") == (False, "signature", False, "main")
    assert check("eyJhbGciOiJFUzI1NiIsImtpZCI6IngifQ.eyJpYXQiOiJ4In0.AAAA")[1] == "unknown-key"
