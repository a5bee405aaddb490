"""The token request: by its own key, bounded, and nothing that could be read in two ways."""

from __future__ import annotations

import contextlib
import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin.documents.token_request import MAX_SIZE, TYP, TokenRequest, evidence_nonce
from livepin.errors import VerificationError
from livepin.jose import PrivateKey, b64url_encode, sign_compact

KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
BIND = sha256(b"Bearer user").digest()


def members(**changes: Any) -> dict[str, Any]:
    base = {
        "account": "acme",
        "app": "com.example.app",
        "key": KEY.public.jwk(),
        "challenge": "c" * 43,
        "stream": "main",
        "root_version": 1,
        "config_version": 7,
        "hosts": [{"host": "api.example.com", "bind": b64url_encode(BIND).decode()}],
        "evidence": [{"format": "files", "digest": "x"}],
    }
    return {name: value for name, value in (base | changes).items() if value is not ...}


def raw(signer: PrivateKey = KEY, typ: str = TYP, **changes: Any) -> bytes:
    return sign_compact(json.dumps(members(**changes)).encode(), typ=typ, signer=signer)


def refused(raw: bytes) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        TokenRequest.read(raw)
    return caught.value


def test_a_request_is_read() -> None:
    found = TokenRequest.read(raw())
    assert (found.account, found.app, found.stream) == ("acme", "com.example.app", "main")
    assert (found.key.kid, found.challenge) == (KEY.public.kid, "c" * 43)
    assert (found.root_version, found.config_version) == (1, 7)
    assert found.hosts == {"api.example.com": BIND}
    assert found.evidence == ({"format": "files", "digest": "x"},)


def test_what_may_be_absent() -> None:
    found = TokenRequest.read(raw(challenge=..., stream=..., hosts=..., evidence=...))
    assert (found.challenge, found.stream, found.hosts, found.evidence) == (None, "main", {}, ())
    hosts = [{"host": "api.example.com"}, {"host": "192.0.2.1"}]
    found = TokenRequest.read(raw(hosts=hosts))
    assert found.hosts == {"api.example.com": None, "192.0.2.1": None}


@pytest.mark.parametrize("challenge", [None, "c" * 43])
def test_a_request_survives_being_signed(challenge: str | None) -> None:
    request = TokenRequest(
        account="acme",
        app="app",
        key=KEY.public,
        challenge=challenge,
        stream="canary",
        root_version=2,
        config_version=3,
        hosts={"api.example.com": BIND, "example.org": None},
    )
    assert TokenRequest.read(request.signed(KEY)) == request


def test_a_request_by_another_key_is_refused() -> None:
    assert refused(raw(signer=OTHER)).rule == 2
    header, payload, _ = raw().split(b".")
    signature = b64url_encode(OTHER.sign(header + b"." + payload))
    assert refused(b".".join((header, payload, signature))).rule == 3


def test_a_tampered_request_is_refused() -> None:
    header, _, signature = raw().split(b".")
    payload = b64url_encode(json.dumps(members(app="another")).encode())
    assert refused(b".".join((header, payload, signature))).rule == 3


@pytest.mark.parametrize("typ", ["JWT", "livepin-override+jws", "dpop+jwt"])
def test_what_was_signed_as_something_else_is_no_request(typ: str) -> None:
    assert refused(raw(typ=typ)).rule == 2


def test_a_request_that_is_too_large_is_refused_before_it_is_parsed() -> None:
    evidence = [{"format": "files", "digest": "x" * MAX_SIZE}]
    assert refused(raw(evidence=evidence)).rule == 1
    assert refused(b"." * (MAX_SIZE + 1)).rule == 1
    nested: Any = "deep"
    for _ in range(8):
        nested = [nested]
    assert refused(raw(evidence=[{"format": "files", "digest": nested}])).rule == 1


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("account", "Acme"),
        ("account", ...),
        ("app", ""),
        ("app", "a" * 129),
        ("app", "com.example.app\n"),
        ("app", "a b"),
        ("app", 1),
        ("key", {}),
        ("key", ...),
        ("key", "key"),
        ("key", {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        ("challenge", "c" * 129),
        ("challenge", None),
        ("stream", "Main"),
        ("root_version", 0),
        ("config_version", 2**53),
        ("config_version", "7"),
        ("hosts", "api.example.com"),
        ("hosts", ["api.example.com"]),
        ("hosts", [{"host": "API.example.com"}]),
        ("hosts", [{"host": "*.example.com"}]),
        ("hosts", [{"host": ""}]),
        ("hosts", [{}]),
        ("hosts", [{"host": "api.example.com"}] * 2),
        ("hosts", [{"host": f"h{number}.example.com"} for number in range(33)]),
        ("hosts", [{"host": "api.example.com", "bind": None}]),
        ("hosts", [{"host": "api.example.com", "bind": "AAAA"}]),
        ("hosts", [{"host": "api.example.com", "bind": "="}]),
        ("hosts", [{"host": "api.example.com", "bind": "\u00e4"}]),
        ("hosts", [{"host": "api.example.com", "critical": ["new"]}]),
        ("evidence", {}),
        ("evidence", ["files"]),
        ("evidence", [{}]),
        ("evidence", [{"format": 1}]),
        ("evidence", [{"format": "files"}] * 17),
        ("critical", ["new"]),
    ],
)
def test_a_member_that_is_not_as_described_is_refused(member: str, value: Any) -> None:
    assert refused(raw(**{member: value})).rule in (2, 4)


@given(st.binary(max_size=200))
def test_rubbish_is_refused(data: bytes) -> None:
    refused(data)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5),
       st.sampled_from(sorted(members())))  # fmt: skip
def test_any_value_of_a_member_is_taken_or_refused(value: Any, member: str) -> None:
    with contextlib.suppress(VerificationError):
        TokenRequest.read(raw(**{member: value}))


def test_an_evidence_nonce_binds_challenge_installation_and_app() -> None:
    nonce = evidence_nonce("AQID", "thumbprint", "shop")
    parts = b"livepin-evidence-nonce", b"AQID", b"thumbprint", b"shop"
    framed = b"".join(len(each).to_bytes(4, "big") + each for each in parts)
    assert nonce == sha256(framed).digest()
    others = ("AQI", "Dthumbprint", "shop"), ("AQID", "thumbprints", "hop"), ("", "", "shop")
    assert nonce not in [evidence_nonce(*each) for each in others]
