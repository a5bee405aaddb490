"""A token that no platform signed: no signature, its key as a secret, or a key that it brings."""

from __future__ import annotations

import base64
import hmac
import json
import random

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from livepin.jose import b64url_encode
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.workload import MAX_TOKEN, read_kid, verify_workload
from minted_requests import asked
from minted_workload import Issuer, evidence

ASKED = asked()


@pytest.fixture(scope="module", params=["github", "spiffe", "oidc"])
def issuer(request):
    return Issuer(request.param)


@pytest.fixture(scope="module")
def keys(issuer):
    return issuer.workload().key_source()


@pytest.fixture
def verify(issuer, keys):
    def one(token):
        found = evidence(token)
        verify_workload(found, ASKED, issuer.workload(), keys.named(read_kid(found)))

    return one


@pytest.fixture
def refused(verify):
    """Give the check that refuses a token."""

    def one(token):
        with pytest.raises(EvidenceError) as caught:
            verify(token)
        assert str(caught.value).isprintable()
        return caught.value.check

    return one


def unsigned(issuer, **header):
    """Return what is to be signed."""
    parts = {"kid": issuer.kid, "typ": "JWT"} | header, issuer.claims()
    return b".".join(b64url_encode(json.dumps(each).encode()) for each in parts).decode()


def test_without_a_signature(issuer, refused):
    for name in ("none", "None", "NONE"):
        assert refused(unsigned(issuer, alg=name) + ".") == "algorithm"
    assert refused(unsigned(issuer, alg=issuer.algorithm) + ".") == "signature"
    assert refused(unsigned(issuer) + ".") == "header"


def test_with_the_public_key_as_the_secret_of_hs256(issuer, refused):
    public = issuer.key.public_key()
    forms = Encoding.PEM, Encoding.DER
    secrets = [public.public_bytes(each, PublicFormat.SubjectPublicKeyInfo) for each in forms]
    for secret in [*secrets, issuer.jwks(), b""]:
        text = unsigned(issuer, alg="HS256")
        value = hmac.digest(secret, text.encode(), "sha256")
        assert refused(f"{text}.{b64url_encode(value).decode()}") == "algorithm"


def test_by_a_key_of_ones_own(issuer, refused):
    other = Issuer(issuer.profile)
    payload = json.dumps(issuer.claims()).encode()
    assert refused(other.token()) == "signature"
    assert refused(other.signed(payload, kid="key-2")) == "key"
    jwk = other.jwk()
    for header in ({"jwk": jwk}, {"jku": "https://evil.example/jwks"}, {"x5c": ["MIIB"]}):
        assert refused(other.signed(payload, **header)) == "header"


def test_with_an_extension_that_changes_what_is_signed(issuer, refused):
    head = unsigned(issuer, alg=issuer.algorithm, b64=False, crit=["b64"]).partition(".")[0]
    rest = issuer.token().partition(".")[2]
    assert refused(f"{head}.{rest}") == "header"


def test_a_huge_token(issuer, refused):
    assert refused(issuer.token(more="x" * MAX_TOKEN)) == "size"
    assert refused("." * MAX_TOKEN) == "malformed"
    bomb = b64url_encode(b'{"a":' * 2000).decode()
    assert refused(f"{bomb}.e30.AAAA") in {"malformed", "header"}


def test_one_changed_character(issuer, refused):
    token, chance = issuer.token(), random.Random(6)
    letters = base64.urlsafe_b64encode(bytes(range(256))).decode().rstrip("=")
    for at in chance.sample(range(len(token)), 60):
        other = chance.choice([each for each in letters if each != token[at]])
        assert refused(token[:at] + other + token[at + 1 :])


def test_no_sense_at_all_ends_in_a_refusal(issuer, refused):
    token, chance = issuer.token(), random.Random(6)
    for _ in range(100):
        at, size = chance.randrange(len(token)), chance.randint(1, 40)
        new = chance.choice(["", token[at : at + size] * 2, ".", "A" * size, "é\0"])
        changed = token[:at] + new + token[at + size :]
        assert changed == token or refused(changed)  # an A may take the place of another


@pytest.mark.parametrize("name", ["aud", "sub", "iat", "exp", "kubernetes.io"])
def test_members_of_any_kind_end_in_a_refusal(name):
    """Signed by the platform, as far as one can be made to sign anything."""
    issuer = Issuer("kubernetes", algorithm="ES256")
    keys = issuer.workload().key_source().named(issuer.kid)
    for odd in [None, True, -1, -1e300, -(10**30), "", "x", [], [[]], [None], {}, {"a": {}}]:
        found = evidence(issuer.token(**{name: odd}))
        with pytest.raises(EvidenceError):
            verify_workload(found, ASKED, issuer.workload(), keys)
