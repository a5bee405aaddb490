"""Answers to token requests: who gets what, and that nothing tells a decoy apart."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from datetime import timedelta

import jwt
import msgspec
import pytest
from livepin import tokens
from livepin.jose import PrivateKey
from livepin.tokens import TokenError, TokenKey, verify
from livepin_server.errors import InvalidError
from livepin_server.services.model import DomainSettings, NewDomain
from livepin_server.services.tokens import issuing
from livepin_server.services.tokens.keys import OVERLAP
from livepin_server.services.tokens.model import (
    DomainTokens,
    DomainTokensChange,
    NewTokenKey,
    Rule,
)

HOST = "api.example.com"
BOUND = hashlib.sha256(b"Bearer user").digest()


@pytest.fixture
def check(protected, clock):
    """Verify a token as the backend of its host does."""

    def one(token, host=HOST, **options):
        keys = tokens.parse_jwks(protected.tokens.load("acme").jwks(clock(), restricted=True))
        return verify(token, keys, audience=host, now=clock(), **options)

    return one


@pytest.fixture
def own(installation):
    """The id of the installation."""
    return tokens.installation_id("acme", installation.public.kid)


def test_a_request_gets_a_token_that_the_backend_takes(answer, check, installation, own, clock):
    found = answer(hosts={HOST: BOUND})
    assert found.challenge == "next"
    token = found.tokens[HOST]
    assert (token.header, token.lives) == ("Livepin-Token", 295)
    claims = check(token.token, issuer="https://pins.example.com:8443/v1/acme")
    assert (claims.app, claims.installation) == ("com.example.app", own)
    assert claims.thumbprint == installation.public.kid
    assert claims.config_version == 2
    assert claims.issued == clock() - timedelta(seconds=5)
    assert claims.expires == clock() + timedelta(seconds=295)
    check(token.token, bound_to=b"Bearer user")


def test_two_tokens_are_never_the_same(answer):
    assert answer().tokens[HOST].token != answer().tokens[HOST].token


def test_hosts_that_no_domain_protects_are_left_out(answer, protected, new_pin, intent):
    plain = NewDomain(pattern="plain.example.com", pins=[new_pin(2)])
    protected.domains.add("acme", plain, intent)
    hosts = dict.fromkeys((HOST, "plain.example.com", "unlisted.example.com"))
    assert list(answer(hosts=hosts).tokens) == [HOST]
    assert answer(hosts={}).tokens == {}


def test_a_wildcard_gives_each_host_a_token_of_its_own(answer, protected, check, new_pin, intent):
    wild = NewDomain(pattern="*.example.org", pins=[new_pin(3)], token=True)
    protected.domains.add("acme", wild, intent)
    found = answer(hosts={"a.example.org": None, "b.example.org": None}).tokens
    check(found["a.example.org"].token, "a.example.org")
    with pytest.raises(TokenError):
        check(found["a.example.org"].token, "b.example.org")


def test_a_newer_config_comes_along(answer, protected):
    document = protected.published.documents("acme").configs["main"].raw.decode()
    assert answer(config_version=1).config == document
    assert answer(config_version=2).config is None
    assert answer(config_version=2).newest == issuing.Newest(root_version=1, version=2)
    assert answer(root_version=2, config_version=1).config is None


def test_a_large_config_is_only_told_of(answer, monkeypatch):
    monkeypatch.setattr(issuing, "MAX_INLINE", 100)
    found = answer()
    assert found.config is None
    assert found.newest.version == 2


@pytest.mark.parametrize("verdict", ["block", "fail"])
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "HS256"])
def test_a_decoy_looks_the_same_and_no_backend_takes_it(
    answer, protected, check, own, intent, verdict, algorithm
):
    secret = protected.token_keys.add(
        "acme",
        NewTokenKey(name="k", algorithm=algorithm, domain=HOST if algorithm == "HS256" else None),
        intent,
    )
    protected.token_settings.change_domain("acme", HOST, DomainTokensChange(key="k"), intent)
    good = answer().tokens[HOST]
    protected.installations.decide("acme", own, verdict, intent)
    decoy = answer().tokens[HOST]
    assert (decoy.header, decoy.lives) == (good.header, good.lives)
    assert decoy.token.split(".")[0] == good.token.split(".")[0]
    assert len(decoy.token) == len(good.token)
    says = [json.loads(tokens.b64url_decode(e.token.split(".")[1].encode())) for e in (good, decoy)]
    for each in says:
        del each["jti"]
    assert says[0] == says[1]
    keys = {secret.kid: None}
    if algorithm == "HS256":
        _, raw = protected.token_keys.secret("acme", "k", intent)
        keys = {secret.kid: TokenKey.from_secret(raw, kid=secret.kid)}
    else:
        keys = tokens.parse_jwks(
            protected.tokens.load("acme").jwks(protected.clock(), restricted=True)
        )
    verify(good.token, keys, audience=HOST, now=protected.clock())
    with pytest.raises(TokenError) as caught:
        verify(decoy.token, keys, audience=HOST, now=protected.clock())
    assert caught.value.reason == "signature"


@pytest.fixture
def signed_with(protected, intent):
    """Have tokens of the host be of a kind; return what is loaded, and what its backend holds."""

    def one(kind):
        algorithm = "HS256" if kind == "approov" else kind
        secret = algorithm == "HS256"
        new = NewTokenKey(name="k", algorithm=algorithm, domain=HOST if secret else None)
        made = protected.token_keys.add("acme", new, intent)
        change = DomainTokensChange(key="k", profile="approov" if kind == "approov" else "livepin")
        protected.token_settings.change_domain("acme", HOST, change, intent)
        loaded = protected.tokens.load("acme")
        if secret:
            raw = protected.token_keys.secret("acme", "k", intent)[1]
            return loaded, TokenKey.from_secret(raw, kid=made.kid)
        return loaded, tokens.parse_jwks(loaded.jwks(protected.clock(), restricted=True))[made.kid]

    return one


@pytest.mark.parametrize("kind", ["ES256", "EdDSA", "HS256", "approov"])
def test_a_thousand_tokens_and_decoys_differ_in_nothing_but_what_signs(
    signed_with, request_of, clock, kind
):
    loaded, published = signed_with(kind)
    rule = Rule(verdict="block", expires=None, reason="x", author="x", created=clock())
    apps = [PrivateKey.generate() for _ in range(20)]
    blocked = {tokens.installation_id("acme", each.public.kid): rule for each in apps[::2]}
    loaded, seen, taken = dataclasses.replace(loaded, rules=blocked), set(), []
    for number in range(1_000):
        key = apps[number % len(apps)].public
        answer = loaded.answer(request_of(key=key, hosts={HOST: BOUND}), "next", clock())
        (token,) = answer.tokens.values()
        header, payload, signature = token.token.split(".")
        says = json.loads(tokens.b64url_decode(payload.encode()))
        own, names = tokens.installation_id("acme", key.kid), tuple(says)
        if kind == "approov":
            assert says.pop("did") == base64.b64encode(own[:16].encode()).decode()
        else:
            assert (says.pop("did"), says.pop("cnf")) == (own, {"jkt": key.kid})
        seen.add((token.header, token.lives, header, names, len(says.pop("jti", "")),
                  len(signature), len(msgspec.json.encode(answer)), json.dumps(says)))  # fmt: skip
        by = tokens.b64url_decode(signature.encode())
        taken.append((own, published.verifies(by, f"{header}.{payload}".encode())))
    assert len(seen) == 1
    assert [good for _, good in taken] == [own not in blocked for own, _ in taken]
    assert sum(good for _, good in taken) == 500


def test_what_was_decided_ends(answer, protected, check, own, intent, clock):
    hour = timedelta(hours=1)
    protected.installations.decide("acme", own, "block", intent, expires=clock() + hour)
    with pytest.raises(TokenError):
        check(answer().tokens[HOST].token)
    clock.advance(hours=1)
    check(answer().tokens[HOST].token)
    protected.installations.decide("acme", own, "pass", intent)
    check(answer().tokens[HOST].token)


def test_the_end_of_a_rule_needs_no_reload(protected, request_of, own, intent, clock):
    hour = timedelta(hours=1)
    protected.installations.decide("acme", own, "block", intent, expires=clock() + hour)
    loaded = protected.tokens.load("acme")
    keys = tokens.parse_jwks(loaded.jwks(clock(), restricted=True))
    clock.advance(hours=1)
    token = loaded.answer(request_of(), "next", clock()).tokens[HOST].token
    verify(token, keys, audience=HOST, now=clock())


def test_the_turn_of_the_next_key_needs_no_reload(protected, request_of, answer, intent, clock):
    """Nor does the end of the old one."""
    answer()
    new = protected.token_keys.rotate("acme", "main", intent)
    loaded = protected.tokens.load("acme")
    seen = []
    for step in (timedelta(0), OVERLAP, tokens.LIFETIME + tokens.LEEWAY):
        clock.advance(seconds=step.total_seconds())
        token = loaded.answer(request_of(), "next", clock()).tokens[HOST].token
        published = tokens.parse_jwks(loaded.jwks(clock(), restricted=False))
        verify(token, published, audience=HOST, now=clock())
        seen.append((tokens.key_id(token) == new.kid, len(published)))
    assert seen == [(False, 2), (True, 2), (True, 1)]


def test_what_tokens_say_can_be_set(answer, protected, check, intent):
    change = DomainTokensChange(
        audience="https://api.example.com/", issuer="https://id.example.com", lives=60
    )
    protected.token_settings.change_domain("acme", HOST, change, intent)
    token = answer().tokens[HOST]
    assert token.lives == 55
    claims = check(token.token, "https://api.example.com/", issuer="https://id.example.com")
    assert claims.expires - claims.issued == timedelta(seconds=60)


def test_without_its_key_a_domain_has_no_tokens(protected, request_of, intent, clock):
    protected.token_keys.add("acme", NewTokenKey(name="k"), intent)
    protected.token_settings.change_domain("acme", HOST, DomainTokensChange(key="k"), intent)
    loaded = protected.tokens.load("acme")
    gone = dataclasses.replace(loaded, keys={"main": loaded.keys["k"]})
    assert gone.answer(request_of(), "next", clock()).tokens == {}
    # The server that made it has a clock that is ahead of ours.
    assert loaded._pair("k", clock() - timedelta(seconds=1)) == loaded.keys["k"][0]


@pytest.mark.parametrize("profile", ["livepin", "approov"])
def test_the_secret_of_one_domain_signs_for_no_other(
    protected, request_of, new_pin, intent, clock, profile
):
    """Also where the settings were changed behind the server's back."""
    other = "other.example.com"
    protected.domains.add("acme", NewDomain(pattern=other, pins=[new_pin(2)], token=True), intent)
    protected.token_keys.add("acme", NewTokenKey(name="s", algorithm="HS256", domain=other), intent)
    with pytest.raises(InvalidError, match="alone"):
        protected.token_settings.change_domain("acme", HOST, DomainTokensChange(key="s"), intent)
    stolen = DomainTokens(key="s", profile=profile)
    loaded = dataclasses.replace(
        protected.tokens.load("acme"), settings={HOST: stolen, other: stolen}
    )
    asked = request_of(hosts={HOST: None, other: None})
    assert list(loaded.answer(asked, "next", clock()).tokens) == [other]


def test_tokens_for_a_backend_that_checks_those_of_approov(answer, protected, own, intent, clock):
    """Its published quickstarts: HS256 by the base64 secret, `exp`, and `pay` as base64."""
    new = NewTokenKey(name="s", algorithm="HS256", domain=HOST)
    protected.token_keys.add("acme", new, intent)
    change = DomainTokensChange(key="s", profile="approov")
    protected.token_settings.change_domain("acme", HOST, change, intent)
    _, secret = protected.token_keys.secret("acme", "s", intent)
    token = answer(hosts={HOST: BOUND}).tokens[HOST]
    assert token.header == "Approov-Token"
    assert jwt.get_unverified_header(token.token) == {"alg": "HS256", "typ": "JWT"}
    late = {"verify_exp": False}  # by the clock of this test
    said = jwt.decode(token.token, secret, algorithms=["HS256"], options=late)
    assert said == {
        "exp": int(clock().timestamp()) + 295,
        "did": base64.b64encode(own[:16].encode()).decode(),
        "pay": base64.b64encode(BOUND).decode(),
    }
    assert "pay" not in answer().tokens[HOST].token


def test_what_no_secret_signs_is_never_called_an_approov_token(protected, request_of, clock):
    """Also where the settings were changed behind the server's back."""
    loaded = protected.tokens.load("acme")
    loaded = dataclasses.replace(loaded, settings={HOST: DomainTokens(profile="approov")})
    token = loaded.answer(request_of(), "next", clock()).tokens[HOST]
    assert token.header == "Livepin-Token"
    keys = tokens.parse_jwks(loaded.jwks(clock(), restricted=False))
    verify(token.token, keys, audience=HOST, now=clock())


def test_a_domain_that_asks_for_none_any_more_has_none(answer, protected, intent):
    assert HOST in answer().tokens
    protected.domains.change("acme", HOST, DomainSettings(token=False), "main", intent)
    assert answer().tokens == {}
