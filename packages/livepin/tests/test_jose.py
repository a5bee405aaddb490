"""JWS with ES256 alone: the RFC's own examples, and headers that try to choose for themselves."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from livepin.errors import MalformedError
from livepin.jose import (
    Jws,
    PrivateKey,
    PublicKey,
    b64url_decode,
    b64url_encode,
    parse_compact,
    parse_general,
    sign_compact,
    sign_general,
)

TYP = "livepin-test+jws"
KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
# The first multiple of the base point whose x begins with a zero byte.
SMALL = PrivateKey(ec.derive_private_key(379, ec.SECP256R1()))
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

# RFC 7515, appendix A.3: the key, and the JWS whose header is {"alg":"ES256"}.
RFC_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC_INPUT = (
    b"eyJhbGciOiJFUzI1NiJ9"
    b".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
    b"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
RFC_SIGNATURE = (
    b"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)


def header(**changes: Any) -> dict[str, Any]:
    base = {"alg": "ES256", "kid": KEY.public.kid, "typ": TYP}
    return {name: value for name, value in (base | changes).items() if value is not ...}


def encoded(value: object) -> bytes:
    return b64url_encode(json.dumps(value).encode())


def compact(protected: bytes, payload: bytes = b"{}", key: PrivateKey = KEY) -> bytes:
    signing_input = protected + b"." + b64url_encode(payload)
    return signing_input + b"." + b64url_encode(key.sign(signing_input))


# -- base64url ---------------------------------------------------------------------------------


@given(st.binary())
def test_bytes_survive_base64url(data: bytes) -> None:
    text = b64url_encode(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert b64url_decode(text) == data


@pytest.mark.parametrize(
    "text",
    [b"A", b"AAAAA", b"AA==", b"AAA=", b"A+AA", b"A/AA", b"AA\nA", b" AAA", b"AB", b"AAB", b"\xff"]
    + [b"AAAA" + bytes([c]) + b"AAA" for c in b"=+/.~ \0"],
)
def test_what_is_no_canonical_base64url_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedError):
        b64url_decode(text)


@given(st.binary(max_size=12) | st.text(alphabet="ABZaz09-_=+/", max_size=12).map(str.encode))
def test_only_one_text_stands_for_some_bytes(text: bytes) -> None:
    try:
        value = b64url_decode(text)
    except MalformedError:
        return
    assert b64url_encode(value) == text


# -- keys --------------------------------------------------------------------------------------


def test_the_signature_of_rfc_7515_is_verified() -> None:
    key = PublicKey.from_jwk(RFC_JWK)
    signature = b64url_decode(RFC_SIGNATURE)
    assert key.verifies(signature, RFC_INPUT)
    assert not key.verifies(signature, RFC_INPUT + b"A")
    assert not KEY.public.verifies(signature, RFC_INPUT)


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    # Section 3: the required members in lexicographic order, without white space.
    text = f'{{"crv":"P-256","kty":"EC","x":"{RFC_JWK["x"]}","y":"{RFC_JWK["y"]}"}}'
    expected = base64.urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode()
    key = PublicKey.from_jwk(dict(reversed(RFC_JWK.items())) | {"use": "sig"})
    assert key.kid == expected == "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"


def test_a_jwk_holds_the_required_members_in_order() -> None:
    jwk = PublicKey.from_jwk(RFC_JWK | {"kid": "mine", "use": "sig", "d": "secret"}).jwk()
    assert list(jwk) == ["crv", "kty", "x", "y"]
    assert jwk == RFC_JWK


def test_a_key_survives_its_jwk() -> None:
    again = PublicKey.from_jwk(KEY.public.jwk())
    assert again.jwk() == KEY.public.jwk()
    assert again.kid == KEY.public.kid
    assert len(again.kid) == 43


def test_coordinates_keep_their_leading_zeros() -> None:
    assert _x(SMALL) < 1 << 248
    assert len(SMALL.public.jwk()["x"]) == 43
    assert PublicKey.from_jwk(SMALL.public.jwk()).kid == SMALL.public.kid


@pytest.mark.parametrize("size", [31, 33, 64])
def test_a_coordinate_of_another_length_is_refused_though_the_point_is_the_same(size: int) -> None:
    jwk = SMALL.public.jwk() | {"x": b64url_encode(_x(SMALL).to_bytes(size, "big")).decode()}
    with pytest.raises(MalformedError, match="of 32 bytes"):
        PublicKey.from_jwk(jwk)


def _x(key: PrivateKey) -> int:
    return key.public.key.public_numbers().x


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "RSA"},
        {"kty": "OKP"},
        {"kty": None},
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"crv": ["P-256"]},
        {"x": None},
        {"x": 1},
        {"x": ""},
        {"x": "\u00e4" * 43},
        {"x": RFC_JWK["x"] + "="},
        {"x": RFC_JWK["x"][:-1] + "V"},
        {"x": b64url_encode(b"\1" * 31).decode()},
        {"x": b64url_encode(b"\1" * 33).decode()},
        {"x": RFC_JWK["y"]},
        {"x": "A" * 43, "y": "A" * 43},
        {"x": b64url_encode(b"\xff" * 32).decode()},
    ],
)
def test_what_is_no_p_256_key_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        PublicKey.from_jwk(RFC_JWK | changes)


@given(data=st.data())
def test_a_mangled_jwk_is_a_key_or_is_refused(data: st.DataObject, mangled) -> None:
    jwk = data.draw(mangled(RFC_JWK).filter(lambda found: isinstance(found, dict)))
    try:
        found = PublicKey.from_jwk(jwk)
    except MalformedError:
        return
    assert found.jwk().items() <= jwk.items()


def test_a_private_key_survives_its_pkcs8_form() -> None:
    again = PrivateKey.from_pkcs8(KEY.pkcs8())
    assert again.public.kid == KEY.public.kid
    assert KEY.public.verifies(again.sign(b"data"), b"data")


def test_a_private_key_never_prints_itself() -> None:
    number = KEY.key.private_numbers().private_value
    for text in (repr(KEY), str(KEY), f"{KEY}"):
        assert text == f"PrivateKey({KEY.public.kid})"
        assert str(number) not in text
        assert f"{number:x}" not in text


def pkcs8(key: Any, password: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, how)


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"no key",
        KEY.pkcs8()[:-1],
        pkcs8(KEY.key, b"passphrase"),
        pkcs8(ec.generate_private_key(ec.SECP384R1())),
        pkcs8(ec.generate_private_key(ec.SECP256K1())),
        pkcs8(ed25519.Ed25519PrivateKey.generate()),
        pkcs8(rsa.generate_private_key(65537, 1024)),
        KEY.pkcs8().replace(bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d0209")),
    ],
    ids=lambda _: "der",  # the keys differ in each run, the names of the tests must not
)
def test_what_is_no_p_256_private_key_is_refused(der: bytes) -> None:
    with pytest.raises(MalformedError, match="PKCS#8"):
        PrivateKey.from_pkcs8(der)


@given(data=st.data())
def test_a_damaged_private_key_is_a_key_or_is_refused(data: st.DataObject, damaged) -> None:
    try:
        found = PrivateKey.from_pkcs8(data.draw(damaged(KEY.pkcs8())))
    except MalformedError:
        return
    assert found.public.verifies(found.sign(b"data"), b"data")


# -- signatures --------------------------------------------------------------------------------


@given(st.binary(max_size=50))
def test_a_signature_is_64_bytes_and_holds_for_its_data_alone(data: bytes) -> None:
    signature = KEY.sign(data)
    assert len(signature) == 64
    assert KEY.public.verifies(signature, data)
    assert not KEY.public.verifies(signature, data + b"\0")
    assert not OTHER.public.verifies(signature, data)


def number(value: int) -> bytes:
    return value.to_bytes(32, "big")


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\0" * 64,
        number(0) + number(1),
        number(1) + number(0),
        number(ORDER) + number(ORDER),
        number(1) + number(ORDER),
        number(ORDER) + number(1),
        b"\xff" * 64,
        KEY.sign(b"data")[:-1],
        KEY.sign(b"data") + b"\0",
        b"\0" + KEY.sign(b"data"),
        KEY.key.sign(b"data", ec.ECDSA(hashes.SHA256())),
    ],
    ids=[
        "empty",
        "zeros",
        "r is 0",
        "s is 0",
        "both the order",
        "s is the order",
        "r is the order",
        "ones",
        "short",
        "long",
        "shifted",
        "DER",
    ],
)
def test_a_signature_of_another_form_holds_for_nothing(signature: bytes) -> None:
    assert not KEY.public.verifies(signature, b"data")


@given(st.binary(min_size=64, max_size=64))
def test_no_made_up_signature_holds(signature: bytes) -> None:
    assert not KEY.public.verifies(signature, b"data")


def test_a_signature_counts_only_for_the_kid_that_it_names() -> None:
    raw = sign_compact(b"{}", typ=TYP, signer=KEY)
    (signature,) = parse_compact(raw, typ=TYP).signatures
    assert signature.verified_by(KEY.public)
    assert not signature.verified_by(OTHER.public)
    lying = compact(encoded(header(kid=OTHER.public.kid)))
    (signature,) = parse_compact(lying, typ=TYP).signatures
    assert not signature.verified_by(KEY.public)
    assert not signature.verified_by(OTHER.public)


# -- parsing -----------------------------------------------------------------------------------


@given(st.binary(max_size=60))
def test_a_payload_survives_both_serialisations(payload: bytes) -> None:
    found = parse_compact(sign_compact(payload, typ=TYP, signer=KEY), typ=TYP)
    assert found.payload == payload
    assert [s.verified_by(KEY.public) for s in found.signatures] == [True]
    both = parse_general(sign_general(payload, typ=TYP, signers=[KEY, OTHER]), typ=TYP)
    assert both.payload == payload
    assert [s.kid for s in both.signatures] == [KEY.public.kid, OTHER.public.kid]
    for signature, key in zip(both.signatures, (KEY, OTHER), strict=True):
        assert signature.verified_by(key.public)


REFUSED_HEADERS = [
    header(alg="none"),
    header(alg="HS256"),
    header(alg="ES384"),
    header(alg="es256"),
    header(alg=["ES256"]),
    header(alg=...),
    header(typ="livepin-other+jws"),
    header(typ="LIVEPIN-TEST+JWS"),
    header(typ="application/" + TYP),
    header(typ=...),
    header(kid=...),
    header(kid=1),
    header(kid=None),
    header(crit=[]),
    header(crit=["b64"], b64=False),
    header(jwk=KEY.public.jwk()),
    header(jku="https://evil.example/jwks.json"),
    header(x5u="https://evil.example/chain.pem"),
    header(x5c=["AAAA"]),
    header(x={"a": [[[[[[[1]]]]]]]}),
    header(x="a" * 800),
    [header()],
    "ES256",
    None,
]


@pytest.mark.parametrize("value", REFUSED_HEADERS, ids=lambda _: "header")
def test_a_header_that_is_not_as_expected_is_refused(value: object) -> None:
    protected = encoded(value)
    with pytest.raises(MalformedError):
        parse_compact(compact(protected), typ=TYP)
    each = {"protected": protected.decode(), "signature": "AAAA"}
    general = {"payload": "e30", "signatures": [each]}
    with pytest.raises(MalformedError):
        parse_general(json.dumps(general).encode(), typ=TYP)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}x",
        b'{"alg":"none","alg":"ES256"',
        json.dumps(header())[:-1].encode() + b',"alg":"ES256"}',
        b"\xff" + json.dumps(header()).encode(),
    ],
    ids=lambda _: "text",
)
def test_a_header_that_two_parsers_could_read_differently_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_compact(compact(b64url_encode(text)), typ=TYP)


def test_a_header_may_hold_what_this_version_does_not_know() -> None:
    raw = compact(encoded(header(cty="json", x={"a": 1})))
    assert parse_compact(raw, typ=TYP).signatures[0].verified_by(KEY.public)


GOOD = sign_compact(b'{"a":1}', typ=TYP, signer=KEY)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b".",
        b"..",
        b"...",
        GOOD + b".",
        b"." + GOOD,
        GOOD + b".AAAA",
        GOOD + b"=",
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.rpartition(b".")[0],
        GOOD.replace(b".", b"..", 1),
        b"A" * 10_000_000,
        b"." * 1_000_000,
    ],
    ids=lambda raw: raw[:8].decode() + f"-{len(raw)}",
)
def test_what_is_no_compact_jws_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_compact(raw, typ=TYP)


def general(**changes: Any) -> bytes:
    members = json.loads(sign_general(b"{}", typ=TYP, signers=[KEY])) | changes
    return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()


SIGNED = json.loads(general())["signatures"][0]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        GOOD,
        general(payload=...),
        general(payload=None),
        general(payload=1),
        general(payload="e3="),
        general(payload="\u00e4"),
        general(signatures=...),
        general(signatures=None),
        general(signatures={}),
        general(signatures=[]),
        general(signatures=[SIGNED] * 33),
        general(signatures=["x"]),
        general(signatures=[None]),
        general(signatures=[SIGNED | {"header": {"kid": "x"}}]),
        general(signatures=[SIGNED | {"header": {}}]),
        general(signatures=[SIGNED | {"x": 1}]),
        general(signatures=[{"signature": "AAAA"}]),
        general(signatures=[{"protected": SIGNED["protected"]}]),
        general(signatures=[SIGNED | {"protected": 1}]),
        general(signatures=[SIGNED | {"signature": None}]),
        general(signatures=[SIGNED | {"signature": "\u00e4"}]),
        general(signatures=[SIGNED | {"signature": "AAAAA"}]),
        general(signatures=[SIGNED, SIGNED | {"protected": "e30"}]),
        general(header={"kid": "x"}),
        general(protected=SIGNED["protected"]),
        general(x=1),
        general()[:-1] + b',"payload":"e30"}',
        general(x=[[[[[[[[1]]]]]]]]),
    ],
    ids=lambda _: "raw",
)
def test_what_is_no_general_jws_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_general(raw, typ=TYP)


def test_up_to_32_signatures_are_read() -> None:
    assert len(parse_general(general(signatures=[SIGNED] * 32), typ=TYP).signatures) == 32


def intact(found: Jws) -> bool:
    return found.payload == b'{"a":1}' and all(s.verified_by(KEY.public) for s in found.signatures)


@given(data=st.data())
def test_a_damaged_compact_jws_is_refused_or_no_longer_verified(
    data: st.DataObject, damaged
) -> None:
    raw = data.draw(damaged(GOOD))
    try:
        found = parse_compact(raw, typ=TYP)
    except MalformedError:
        return
    assert intact(found) is (raw == GOOD)


@given(data=st.data())
def test_a_damaged_general_jws_is_refused_or_no_longer_verified(
    data: st.DataObject, damaged, mangled
) -> None:
    valid = sign_general(b'{"a":1}', typ=TYP, signers=[KEY])
    members = mangled(json.loads(valid)).map(lambda each: json.dumps(each).encode())
    raw = data.draw(damaged(valid) | members)
    try:
        found = parse_general(raw, typ=TYP)
    except MalformedError:
        return
    if intact(found):
        kept = json.loads(raw)
        assert kept["payload"] == json.loads(valid)["payload"]
        assert all(each in json.loads(valid)["signatures"] for each in kept["signatures"])


@given(st.binary() | st.text(alphabet="ey.AB-_=", max_size=30).map(str.encode))
def test_any_bytes_are_refused(raw: bytes) -> None:
    for parse in (parse_compact, parse_general):
        with pytest.raises(MalformedError):
            parse(raw, typ=TYP)
