"""Tokens: each algorithm, each claim, and what other libraries make of them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from livepin import tokens
from livepin.errors import MalformedError
from livepin.jose import PrivateKey, b64url_decode, b64url_encode
from livepin.jsontext import dump
from livepin.tokens import Algorithm, Claims, SigningKey, TokenError, TokenKey, issue, verify

NOW = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)
SECRET = bytes(range(64))
INSTALLATION = PrivateKey.generate()
KEYS = {
    "ES256": SigningKey("es", Algorithm.ES256, PrivateKey.generate()),
    "EdDSA": SigningKey("ed", Algorithm.EDDSA, Ed25519PrivateKey.generate()),
    "HS256": SigningKey("hs", Algorithm.HS256, SECRET),
}
ALL = {key.kid: key.public() for key in KEYS.values()}
HOST = "api.example.com"

algorithms = pytest.mark.parametrize("algorithm", KEYS)


def claims(**changes: Any) -> Claims:
    base: dict[str, Any] = {
        "issuer": "https://pins.example.com/v1/acme",
        "app": "com.example.app",
        "audience": HOST,
        "issued": NOW - tokens.EARLY,
        "expires": NOW - tokens.EARLY + tokens.LIFETIME,
        "id": "j" * 22,
        "installation": tokens.installation_id("acme", INSTALLATION.public.kid),
        "thumbprint": INSTALLATION.public.kid,
        "config_version": 7,
    }
    return Claims(**(base | changes))


def refused(reason: str, token: str, **options: Any) -> TokenError:
    with pytest.raises(TokenError) as caught:
        check(token, **options)
    assert caught.value.reason == reason
    return caught.value


def check(token: str, **options: Any) -> Claims:
    return verify(token, **({"keys": ALL, "audience": HOST, "now": NOW} | options))


def forged(payload: Any, key: SigningKey = KEYS["ES256"], **header: Any) -> str:
    """Return a token of any header and payload, signed as the key does."""
    members = {"alg": key.algorithm.value, "kid": key.kid, "typ": "JWT"} | header
    parts = [dump({name: value for name, value in members.items() if value is not ...})]
    parts.append(payload if isinstance(payload, bytes) else dump(payload))
    data = b".".join(map(b64url_encode, parts))
    return (data + b"." + b64url_encode(key.sign(data))).decode()


def said(**changes: Any) -> dict[str, Any]:
    found = json.loads(claims().payload()) | changes
    return {name: value for name, value in found.items() if value is not ...}


@algorithms
def test_a_token_is_taken(algorithm: str) -> None:
    expected = claims(binding=tokens.binding(b"Bearer user"))
    token = issue(expected, KEYS[algorithm])
    assert check(token) == expected
    assert check(token, bound_to=b"Bearer user", issuer=expected.issuer) == expected
    assert len(token) < 800


@algorithms
def test_a_token_by_another_key_of_the_same_name_is_refused(algorithm: str) -> None:
    """A decoy."""
    real = KEYS[algorithm]
    others: dict[str, Any] = {
        "ES256": PrivateKey.generate(),
        "EdDSA": Ed25519PrivateKey.generate(),
        "HS256": bytes(64),
    }
    decoy = issue(claims(), SigningKey(real.kid, real.algorithm, others[algorithm]))
    refused("signature", decoy)
    assert len(decoy) == len(issue(claims(), real))
    assert decoy.split(".")[:2] == issue(claims(), real).split(".")[:2]


@algorithms
def test_a_changed_token_is_refused(algorithm: str) -> None:
    header, payload, signature = issue(claims(), KEYS[algorithm]).split(".")
    changed = b64url_encode(claims(app="another").payload()).decode()
    refused("signature", f"{header}.{changed}.{signature}")
    short = b64url_encode(b64url_decode(signature.encode())[:-1]).decode()
    refused("signature", f"{header}.{payload}.{short}")


@pytest.mark.parametrize(
    ("leeway", "late", "outcome"),
    [(0, 294, None), (0, 295, "expired"), (10, 304, None), (10, 305, "expired")],
)
def test_a_token_ends(leeway: int, late: int, outcome: str | None) -> None:
    options = {"now": NOW + timedelta(seconds=late), "leeway": timedelta(seconds=leeway)}
    if outcome is None:
        check(issue(claims(), KEYS["ES256"]), **options)
    else:
        refused(outcome, issue(claims(), KEYS["ES256"]), **options)


def test_a_token_may_end_with_the_last_second_that_there_is() -> None:
    last = datetime.max.replace(microsecond=0, tzinfo=timezone.utc)
    assert check(issue(claims(expires=last), KEYS["ES256"])).expires == last


def test_a_backend_whose_clock_is_a_little_late_takes_it() -> None:
    token, exact = issue(claims(), KEYS["ES256"]), timedelta(0)
    check(token, now=NOW - tokens.EARLY, leeway=exact)
    refused("early", token, now=NOW - tokens.EARLY - timedelta(seconds=1), leeway=exact)
    check(token, now=NOW - tokens.EARLY - tokens.LEEWAY)
    refused("early", token, now=NOW - tokens.EARLY - tokens.LEEWAY - timedelta(seconds=1))


def test_nbf_counts_before_iat() -> None:
    later = int(NOW.timestamp()) + 60
    refused("early", forged(said(nbf=later)))
    check(forged(said(iat=later)))
    refused("early", forged(said(iat=later, nbf=...)))


def test_a_token_for_another_host_or_by_another_issuer_is_refused() -> None:
    token = issue(claims(audience="other.example.com"), KEYS["ES256"])
    refused("audience", token)
    refused("issuer", issue(claims(), KEYS["ES256"]), issuer="https://pins.example.com/v1/other")


def test_a_binding_is_to_the_bytes_and_cannot_be_left_out() -> None:
    bound = issue(claims(binding=tokens.binding(b"Bearer user")), KEYS["ES256"])
    refused("binding", bound, bound_to=b"Bearer other")
    refused("binding", issue(claims(), KEYS["ES256"]), bound_to=b"Bearer user")
    refused("binding", issue(claims(binding=""), KEYS["ES256"]), bound_to=b"")
    check(bound)


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "iat", "exp", "jti", "did", "cnf", "pv"])
@pytest.mark.parametrize("value", [..., None, True, 1.5, [], "\n"])
def test_a_claim_that_is_absent_or_of_another_type_is_refused(name: str, value: Any) -> None:
    refused("malformed", forged(said(**{name: value})))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": "1795435200"}, {"exp": 10**14}, {"exp": -1}, {"exp": 2**53},
        {"aud": [HOST]}, {"cnf": {}}, {"cnf": {"jkt": 1}}, {"pay": None}, {"nbf": "now"},
    ],
)  # fmt: skip
def test_a_claim_beyond_its_bounds_is_refused(changes: dict[str, Any]) -> None:
    refused("malformed", forged(said(**changes)))


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b'{"exp":1,"exp":2}', b"\xff", b"[" * 9 + b"]" * 9]
)
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    refused("malformed", forged(payload))


@pytest.mark.parametrize("token", ["", "..", "a.b", "a.b.c.d", "\u00e4.b.c", "a.b.c", "e30.e30.!"])
def test_what_is_no_token_is_refused(token: str) -> None:
    refused("malformed", token)


def test_a_token_that_is_too_long_is_refused_before_it_is_parsed() -> None:
    assert "8192" in str(refused("malformed", "a" * 8193))


@pytest.mark.parametrize("header", [{"alg": ...}, {"alg": 1}, {"kid": 1}, {"crit": ["exp"]}])
def test_a_header_that_is_not_as_described_is_refused(header: dict[str, Any]) -> None:
    refused("malformed", forged(said(), **header))


def test_a_kid_that_is_not_known_is_told_apart_for_who_reads_the_keys_again() -> None:
    refused("unknown-key", forged(said(), kid="new"))
    refused("unknown-key", forged(said(), kid=...))


def test_a_signature_that_is_no_base64url_is_refused() -> None:
    token = issue(claims(), KEYS["ES256"])
    refused("malformed", token.rpartition(".")[0] + ".=!")


def test_the_key_fixes_the_algorithm() -> None:
    refused("signature", forged(said(), alg="EdDSA"))


def test_a_secret_alone_needs_no_kid() -> None:
    key = KEYS["HS256"]
    alone = {"": TokenKey.from_secret(SECRET)}
    check(forged(said(), key, kid=...), keys=alone)
    refused("unknown-key", forged(said(), key), keys=alone)


@given(st.text(max_size=300))
def test_rubbish_is_refused(token: str) -> None:
    with pytest.raises(TokenError):
        check(token)


@given(st.dictionaries(st.sampled_from(sorted(said())), st.integers() | st.text() | st.none()))
def test_any_claims_are_taken_or_refused(changes: dict[str, Any]) -> None:
    with contextlib.suppress(TokenError):
        check(forged(said(**changes)))


# -- keys ----------------------------------------------------------------------------------------


def test_a_jwk_set_survives() -> None:
    public = [KEYS["ES256"].public(), KEYS["EdDSA"].public()]
    found = tokens.parse_jwks(tokens.jwks(public))
    assert list(found) == ["es", "ed"]
    for algorithm in ("ES256", "EdDSA"):
        check(issue(claims(), KEYS[algorithm]), keys=found)


def test_a_secret_is_in_no_jwk_set() -> None:
    with pytest.raises(MalformedError):
        tokens.jwks([KEYS["HS256"].public()])


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "RSA"}, {"crv": "P-384"}, {"alg": "ES384"}, {"alg": "HS256"}, {"use": "enc"},
        {"kid": ...}, {"kid": 1}, {"kty": "oct", "k": "AAAA"}, {"crv": {}}, {"kty": ["EC"]},
    ],
)  # fmt: skip
def test_keys_for_something_else_are_left_out(changes: dict[str, Any]) -> None:
    jwk = KEYS["ES256"].public().jwk() | changes
    jwk = {name: value for name, value in jwk.items() if value is not ...}
    assert tokens.parse_jwks(dump({"keys": [jwk]})) == {}


@pytest.mark.parametrize(
    "changes",
    [{"x": "AAAA"}, {"x": 1}, {"x": "\u00e4"}, {"x": "="}, {"x": "A" * 44}],
)
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_damaged_key_is_refused(changes: dict[str, Any], algorithm: str) -> None:
    jwk = KEYS[algorithm].public().jwk() | changes
    with pytest.raises(MalformedError):
        tokens.parse_jwks(dump({"keys": [jwk]}))


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[1]}', b" " * 300_000]
)
def test_what_is_no_jwk_set_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        tokens.parse_jwks(raw)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, b64url_encode])
def test_a_secret_is_read_from_either_base64(encode: Any) -> None:
    raw = b"\xfb\xff" * 32
    assert TokenKey.from_secret(encode(raw).decode() + "\n").key == raw


@pytest.mark.parametrize("secret", ["", "A" * 40, "!" * 64, b"", bytes(31), "\u00e4" * 64])
def test_what_is_no_secret_is_refused(secret: str | bytes) -> None:
    with pytest.raises(MalformedError):
        TokenKey.from_secret(secret)


def test_keys_never_print_themselves() -> None:
    text = repr([*KEYS.values(), *ALL.values()])
    assert SECRET.hex() not in text
    assert repr(SECRET)[2:20] not in text
    assert "SigningKey(hs, HS256)" in text


def test_thumbprints() -> None:
    """That of RFC 8037, appendix A.3."""
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "kid": "x",
    }
    key = TokenKey.from_jwk(jwk)
    assert key is not None
    assert tokens.thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert tokens.thumbprint(TokenKey("x", Algorithm.ES256, INSTALLATION.public)) == (
        INSTALLATION.public.kid
    )
    with pytest.raises(MalformedError):
        tokens.thumbprint(KEYS["HS256"].public())


def test_an_installation_has_another_id_in_each_account() -> None:
    kid = INSTALLATION.public.kid
    found = {tokens.installation_id(account, kid) for account in ("acme", "other", "acme")}
    assert len(found) == 2
    assert {len(each) for each in found} == {22}


# -- proofs of possession ------------------------------------------------------------------------

URL = "https://api.example.com/orders"
TOKEN = issue(claims(), KEYS["ES256"])


def proof(key: PrivateKey = INSTALLATION, header: Any = None, **changes: Any) -> str:
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public.jwk()} | (header or {})
    base = {
        "htm": "POST",
        "htu": URL,
        "iat": int(NOW.timestamp()),
        "jti": "p1",
        "ath": tokens.binding(TOKEN.encode()),
    } | changes
    payload = {name: value for name, value in base.items() if value is not ...}
    data = b64url_encode(dump(head)) + b"." + b64url_encode(dump(payload))
    return (data + b"." + b64url_encode(key.sign(data))).decode()


def prove(text: str, **options: Any) -> str:
    base: dict[str, Any] = {"token": TOKEN, "claims": claims(), "method": "POST", "url": URL}
    return tokens.verify_proof(text, **(base | {"now": NOW} | options))


def test_a_proof_is_taken() -> None:
    assert prove(proof()) == "p1"


@pytest.mark.parametrize(
    "text",
    [
        proof(htm="GET"),
        proof(htu="https://other.example.com/orders"),
        proof(iat=int(NOW.timestamp()) - 61),
        proof(iat=int(NOW.timestamp()) + 61),
        proof(iat=...),
        proof(jti=...),
        proof(ath=...),
        proof(ath=tokens.binding(b"another token")),
        proof(key=PrivateKey.generate()),
        proof(header={"typ": "JWT"}),
        proof(header={"alg": "HS256"}),
        proof(header={"alg": "none"}),
        proof(header={"crit": ["exp"]}),
        proof(header={"jwk": None}),
        proof(header={"jwk": INSTALLATION.public.jwk() | {"d": "secret"}}),
        proof()[:-4],
        "a" * 8193,
        "..",
        "",
    ],
)
def test_a_proof_that_is_not_for_this_request_is_refused(text: str) -> None:
    with pytest.raises(TokenError) as caught:
        prove(text)
    assert caught.value.reason == "proof"


def test_a_proof_signed_by_another_than_its_own_key_is_refused() -> None:
    header, payload, _ = proof().split(".")
    other = b64url_encode(PrivateKey.generate().sign(f"{header}.{payload}".encode())).decode()
    with pytest.raises(TokenError):
        prove(f"{header}.{payload}.{other}")


def made(**changes: Any) -> str:
    base: dict[str, Any] = {"method": "POST", "url": URL, "jti": "p2", "now": NOW}
    return tokens.prove(TOKEN, INSTALLATION, **(base | changes))


def test_a_proof_that_is_made_is_taken() -> None:
    assert prove(made()) == "p2"
    assert prove(made(method="GET", url="https://x/"), method="GET", url="https://x/") == "p2"
    for changes in ({"method": "GET"}, {"url": f"{URL}/"}, {"now": NOW - timedelta(seconds=61)}):
        with pytest.raises(TokenError):
            prove(made(**changes))


def test_another_library_reads_the_proof_that_is_made() -> None:
    jwt = pytest.importorskip("jwt", reason="the livepin wheel alone brings no PyJWT")
    text = made()
    header = jwt.get_unverified_header(text)
    key = header.pop("jwk")
    assert header == {"alg": "ES256", "typ": "dpop+jwt"}
    assert {*key} == {"kty", "crv", "x", "y"}
    found = jwt.decode(text, jwt.PyJWK(key), algorithms=["ES256"], options={"verify_iat": False})
    digest = base64.urlsafe_b64encode(hashlib.sha256(TOKEN.encode()).digest()).decode()
    assert found == {
        "jti": "p2",
        "htm": "POST",
        "htu": URL,
        "iat": int(NOW.timestamp()),
        "ath": digest.rstrip("="),
    }
    other = jwt.PyJWK(PrivateKey.generate().public.jwk())
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(text, other, algorithms=["ES256"])


def test_the_time_of_who_issued_a_token_is_read_from_it() -> None:
    assert tokens.issue_time(TOKEN) == NOW


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "e30.b.c",
        forged(said(iat=...), KEYS["ES256"]),
        forged(said(iat="now"), KEYS["ES256"]),
        forged(said(iat=253_402_214_400), KEYS["ES256"]),
        forged(said(iat=2**52), KEYS["ES256"]),
        forged([], KEYS["ES256"]),
    ],
)
def test_a_token_that_says_no_time_is_told(text: str) -> None:
    with pytest.raises(TokenError) as caught:
        tokens.issue_time(text)
    assert caught.value.reason == "malformed"


# -- what middleware needs of a token before and after it was verified ---------------------------


def test_a_token_names_its_key_and_proves_nothing() -> None:
    token = issue(claims(), KEYS["ES256"])
    assert tokens.key_id(token) == "es"
    assert tokens.key_id(f"{token}x") == "es"
    assert tokens.key_id(forged(said(), KEYS["HS256"], kid=...)) == ""


@pytest.mark.parametrize("text", ["", "x", "a.b", "a.b.c.d", "\xfc.b.c", "x" * 8193, "e30.b.c"])
def test_what_is_no_token_names_no_key(text: str) -> None:
    with pytest.raises(TokenError) as caught:
        tokens.key_id(text)
    assert caught.value.reason == "malformed"


def test_a_binding_is_checked_alone() -> None:
    tokens.check_binding(claims(binding=tokens.binding(b"mine")), b"mine")
    for bound in (None, tokens.binding(b"his"), ""):
        with pytest.raises(TokenError) as caught:
            tokens.check_binding(claims(binding=bound), b"mine")
        assert caught.value.reason == "binding"
