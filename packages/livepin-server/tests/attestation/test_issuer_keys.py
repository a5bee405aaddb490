"""Keys of issuers: which of a JWKS are taken, and where it comes from over real TLS."""

from __future__ import annotations

import json

import pytest
from asking import asked
from livepin.errors import ConfigurationError, MalformedError
from livepin.middleware.keys import INTERVAL
from livepin.testing import RecordingServer, make_authority, make_chain
from livepin.tokens import MAX_JWKS
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.issuer_keys import MAX_KEYS, FetchedKeys, GivenKeys, parse
from livepin_server.attestation.workload import read_kid, verify_workload
from minting_workload import Issuer, evidence


@pytest.fixture(scope="module")
def ec():
    return Issuer("spiffe")


@pytest.fixture(scope="module")
def rsa():
    return Issuer("github")


def jwks(*keys, **members):
    return json.dumps({"keys": keys, **members}).encode()


def test_a_key_has_the_algorithms_of_its_type(ec, rsa):
    found = parse(jwks(ec.jwk(kid="e", alg=...), rsa.jwk(kid="r", alg=...)))
    assert found["e"].algorithms == ("ES256",)
    assert found["r"].algorithms == ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
    for name, curve in [("ES384", "P-384"), ("ES512", "P-521")]:
        issuer = Issuer("spiffe", algorithm=name)
        assert issuer.jwk()["crv"] == curve
        assert parse(jwks(issuer.jwk(alg=...)))["key-1"].algorithms == (name,)


def test_or_the_one_that_it_says(rsa):
    assert parse(rsa.jwks())["key-1"].algorithms == ("RS256",)


def test_what_a_trust_bundle_of_spiffe_says(ec):
    """Its X.509 authorities stand in the same set, and it counts as it goes."""
    keys = ec.jwk(use="jwt-svid", alg=...), ec.jwk(use="x509-svid", kid=..., x5c=["MIIB"])
    assert list(parse(jwks(*keys, spiffe_sequence=12, spiffe_refresh_hint=600))) == ["key-1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": ...},
        {"kid": ""},
        {"kid": "k" * 257},
        {"kid": 1},
        {"use": "enc"},
        {"use": []},
        {"alg": "HS256"},
        {"alg": "RS256"},
        {"alg": []},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "OKP"},
        {"kty": []},
        {"crv": "secp256k1"},
        {"crv": []},
        {"crv": "P-384"},
        {"x": "AAAA"},
        {"x": 1},
        {"y": ...},
    ],
)
def test_others_are_left_out(ec, rsa, changes):
    assert list(parse(jwks(ec.jwk(**changes), rsa.jwk(kid="r")))) == ["r"]


@pytest.mark.parametrize(
    "changes",
    [
        {"n": "AQAB"},  # too short to be safe
        {"n": "_" * 1400},  # too long to be verified by whoever asks
        {"e": "_" * 64},
        {"e": "AA"},
        {"e": ...},
        {"n": "A=="},
        {"n": 1},
    ],
)
def test_so_are_rsa_keys_that_are_none(ec, rsa, changes):
    assert list(parse(jwks(rsa.jwk(**changes), ec.jwk(kid="e")))) == ["e"]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b" " * (MAX_JWKS + 1), "at most"),
        (b"[" * 9 + b"]" * 9, "at most 8 levels"),
        (b"[]", "a JSON object"),
        (b"{}", "the member keys"),
        (b'{"keys": [1]}', "the member keys"),
        (jwks(*[{}] * (MAX_KEYS + 1)), "at most 64 keys"),
    ],
)
def test_what_is_no_jwks_is_refused(raw, why):
    with pytest.raises(MalformedError, match=why):
        parse(raw)


def test_one_name_for_two_keys_is_refused(ec, rsa):
    with pytest.raises(MalformedError, match="'key-1' twice"):
        parse(jwks(ec.jwk(), rsa.jwk()))


def test_given_keys_stay(ec):
    keys = GivenKeys(ec.jwks())
    assert keys.fetching("other") is None
    assert [each.kid for each in keys.named("key-1")] == ["key-1"]
    assert keys.named("other") == ()
    with pytest.raises(MalformedError, match="found none"):
        GivenKeys(b'{"keys": []}')


# -- fetched ---------------------------------------------------------------------------------------


class Ticks:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def chain():
    return make_chain("localhost")


@pytest.fixture
def served(chain, ec):
    """Serve what `body` is."""
    state = {"body": ec.jwks(), "status": 200}
    respond = lambda *_: (state["status"], {"Location": "https://localhost/"}, state["body"])  # noqa: E731
    with RecordingServer(chain, respond=respond) as server:
        state["url"] = f"https://localhost:{server.port}/openid/v1/jwks"
        state["server"] = server
        yield state


def fetched(keys, kid):
    waiting = keys.fetching(kid)
    if waiting is not None:
        waiting.result(timeout=30)
    return keys.named(kid)


def test_the_keys_of_a_platform_are_fetched_with_its_own_authority(served, chain, ec):
    keys = FetchedKeys(served["url"], ca=chain.authority.pem)
    found = evidence(ec.token())
    named = fetched(keys, read_kid(found))
    attested = verify_workload(found, asked(), ec.workload(), named)
    assert attested.said["subject"] == "spiffe://example.org/ns/shop/checkout"
    assert keys.fetching("key-1") is None
    assert served["server"].requests == 1


def test_a_new_key_is_fetched_once_a_minute_at_most(served, chain, ec):
    ticks = Ticks()
    keys = FetchedKeys(served["url"], ca=chain.authority.pem, clock=ticks)
    assert fetched(keys, "key-1")
    served["body"] = jwks(ec.jwk(), ec.jwk(kid="key-2"))
    for _ in range(20):
        assert fetched(keys, "key-2") == ()
    assert served["server"].requests == 1
    ticks.now += INTERVAL
    assert fetched(keys, "key-2")
    assert served["server"].requests == 2


@pytest.mark.parametrize(
    ("status", "body"), [(302, b""), (200, b"{}"), (200, b'{"keys": []}'), (503, b"")]
)
def test_an_answer_without_keys_is_none(served, chain, status, body):
    served |= {"status": status, "body": body}
    keys = FetchedKeys(served["url"], ca=chain.authority.pem)
    with pytest.raises(EvidenceError, match=r"^keys: expected keys from https://localhost"):
        fetched(keys, "key-1")
    assert served["server"].requests == 1, "no redirect is followed"


def test_a_server_of_another_authority_is_asked_nothing(served):
    keys = FetchedKeys(served["url"], ca=make_authority("Another CA").pem)
    with pytest.raises(EvidenceError, match=r"^keys: "):
        fetched(keys, "key-1")
    assert served["server"].requests == 0


def test_keys_come_over_https_alone():
    with pytest.raises(ConfigurationError):
        FetchedKeys("http://localhost/jwks")
