"""What a backend says in one line, and what becomes of requests."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from livepin import tokens
from livepin.errors import ConfigurationError
from livepin.jose import b64url_encode
from livepin.middleware.check import RefusedError, Request, TokenCheck, encoded
from livepin.middleware.keys import FixedKeys
from livepin.testing import FakeClock, TokenIssuer
from livepin.tokens import Algorithm, Claims, SigningKey

HOST = "api.example.com"
SECRET = bytes(range(64))
FIELD = "Livepin-Token"
BEARER = "Bearer user"


def request(method: str = "GET", path: str = "/", **fields: Any) -> Request:
    """Return a request; a field with a list comes several times."""
    named = {name.replace("_", "-").lower(): value for name, value in fields.items()}
    values = {name: [v] if isinstance(v, str) else v for name, v in named.items()}
    return Request(method=method, path=path, values=lambda name: values.get(name.lower(), []))


@pytest.fixture
def check(issuer: TokenIssuer, clock: FakeClock) -> Any:
    """Make a check with the issuer's keys, unless it is given others."""

    def make(**options: Any) -> TokenCheck:
        keys = {} if "secret" in options else {"jwks": issuer.jwks()}
        return TokenCheck(**({"audience": HOST, "clock": clock} | keys | options))

    return make


def refused(check: TokenCheck, found: Request, status: int = 401) -> str:
    with pytest.raises(RefusedError) as caught:
        check.check(found)
    assert caught.value.status == status
    return caught.value.reason


# -- where keys come from ------------------------------------------------------------------------


def test_keys_are_those_of_bytes_or_of_a_file(
    check: Any, issuer: TokenIssuer, tmp_path: Path
) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(issuer.jwks())
    for jwks in (issuer.jwks(), file, str(file), FixedKeys(issuer.jwks())):
        found = check(jwks=jwks).check(request(livepin_token=issuer.token()))
        assert found.audience == HOST


def test_a_secret_is_base64_and_a_token_may_name_it_as_it_likes(
    check: Any, issuer: TokenIssuer
) -> None:
    text = b64url_encode(SECRET).decode()
    for kid in ("", "hs", "another"):
        token = issuer.token(key=SigningKey(kid, Algorithm.HS256, SECRET))
        assert check(secret=text).check(request(livepin_token=token)).audience == HOST


def test_while_a_secret_is_changed_both_are_good(check: Any, issuer: TokenIssuer) -> None:
    made = check(secret=[SECRET, SECRET[::-1]])
    for secret in (SECRET, SECRET[::-1]):
        token = issuer.token(key=SigningKey("hs", Algorithm.HS256, secret))
        assert made.check(request(livepin_token=token)).audience == HOST
    old = issuer.token(key=SigningKey("hs", Algorithm.HS256, SECRET), audience="other")
    assert refused(made, request(livepin_token=old)) == "audience"
    another = issuer.token(key=SigningKey("hs", Algorithm.HS256, bytes(64)))
    assert refused(made, request(livepin_token=another)) == "signature"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"jwks": None}, "expected jwks, or secret"),
        ({"jwks": b"{}", "secret": SECRET}, "not both"),
        ({"secret": ""}, "at least 32 bytes"),
        ({"secret": []}, "expected a secret, found none"),
        ({"secret": "not base64!"}, "the secret cannot be used"),
        ({"secret": SECRET, "credential": "x"}, "for a JWKS with a URL"),
        ({"jwks": b'{"keys":[]}'}, "found none"),
        ({"jwks": b"nothing"}, "the JWKS cannot be used"),
        ({"jwks": "no/such/file"}, "cannot be read"),
        ({"ca": "PEM"}, "for a JWKS with a URL"),
        ({"jwks": "http://pins.example.com/jwks.json"}, "expected the https URL"),
        ({"jwks": "https://pins.example.com/", "credential": "two words"}, "a credential of"),
        ({"jwks": "https://pins.example.com/", "ca": "ca.pem"}, "in PEM"),
        ({"audience": ""}, "expected audience as text"),
        ({"audience": [HOST]}, "expected audience as text"),
        ({"issuer": ""}, "expected issuer as text"),
        ({"header": "Livepin Token"}, "expected header as the name"),
        ({"header": None}, "expected header as the name"),
        ({"bind": ""}, "expected bind as the name"),
        ({"proof": "yes"}, "expected proof as True or False"),
        ({"origin": "api.example.com"}, "expected origin as a URL"),
        ({"origin": "https://api.example.com/"}, "without a closing slash"),
        ({"origin": "https://"}, "expected origin as a URL"),
        ({"exempt": "/healthz"}, "expected exempt as a list"),
        ({"exempt": ["healthz"]}, "expected exempt as a list"),
        ({"exempt": [None]}, "expected exempt as a list"),
    ],
)
def test_what_is_set_up_wrongly_is_refused_at_the_start(
    check: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check(**options)


@pytest.mark.parametrize("secret", ["s3cret!!", "c2hvcnQ="])
def test_a_secret_stands_in_no_error(check: Any, secret: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(secret=secret)
    assert secret not in repr(caught.value) + repr(caught.value.__cause__)


# -- what becomes of requests ------------------------------------------------------------------


def test_a_token_says_who_asks(check: Any, issuer: TokenIssuer) -> None:
    claims = issuer.claims()
    token = tokens.issue(claims, issuer.key)
    made = check()
    for _ in range(3):
        assert made.check(request(livepin_token=token)) == claims


def test_another_field_may_carry_it(check: Any, issuer: TokenIssuer) -> None:
    made = check(header="X-Token")
    assert isinstance(made.check(request(x_token=issuer.token())), Claims)
    assert refused(made, request(livepin_token=issuer.token())) == "missing"


def test_another_issuer_is_refused(check: Any, issuer: TokenIssuer) -> None:
    made = check(issuer=issuer.issuer)
    assert isinstance(made.check(request(livepin_token=issuer.token())), Claims)
    assert refused(made, request(livepin_token=issuer.token(issuer="another"))) == "issuer"


def test_a_bound_token_comes_with_what_it_is_bound_to(check: Any, issuer: TokenIssuer) -> None:
    made = check(bind="Authorization")
    token = issuer.token(bound_to=BEARER.encode())
    assert isinstance(made.check(request(livepin_token=token, authorization=BEARER)), Claims)
    odd = "Bearer \xfc"
    bound = issuer.token(bound_to=b"Bearer \xfc")
    assert isinstance(made.check(request(livepin_token=bound, authorization=odd)), Claims)


def test_a_proof_is_for_the_audience_unless_said_otherwise(check: Any, issuer: TokenIssuer) -> None:
    for origin in (None, "http://localhost:8000/v2"):
        made, token = check(proof=True, origin=origin), issuer.token()
        proof = issuer.proof(token, "POST", f"{origin or 'https://' + HOST}/a/b")
        found = made.check(request("POST", "/a/b", livepin_token=token, dpop=proof))
        assert found.thumbprint == issuer.installation.public.kid


def test_paths_are_exempt_exactly(check: Any) -> None:
    made = check(exempt=["/healthz", "/"])
    assert made.is_exempt("/healthz")
    assert made.is_exempt("/")
    for path in ("/healthz/", "/healthz/x", "//healthz", "/x", "/HEALTHZ", "/healthz?x", ""):
        assert not made.is_exempt(path)


def test_a_path_is_encoded_as_in_a_url() -> None:
    assert encoded("/a b/\xfc/~x") == "/a%20b/%C3%BC/~x"
    assert encoded(b"/\xfc%2F") == "/%FC%252F"


def test_whatever_stands_in_the_field_is_taken_or_refused(
    check: Any, issuer: TokenIssuer, damaged: Any
) -> None:
    made, token = check(proof=True), issuer.token()
    proof = issuer.proof(token, "GET", f"https://{HOST}/")

    @given(damaged(token.encode()), damaged(proof.encode()))
    def play(one: bytes, other: bytes) -> None:
        for fields in ((one, proof.encode()), (token.encode(), other), (one, other)):
            values = dict(zip(("livepin_token", "dpop"), fields, strict=True))
            found = request(**{name: value.decode("latin-1") for name, value in values.items()})
            try:
                outcome: object = made.check(found).audience
            except RefusedError as exc:
                outcome = exc.status
            assert outcome in (HOST, 401)

    play()


# -- what is told, and to whom -----------------------------------------------------------------


def test_the_log_has_a_word_and_the_kid_and_no_token(
    check: Any, issuer: TokenIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "livepin.middleware")
    told: list[RefusedError] = []
    made = check(bind="Authorization", on_refused=told.append)
    token = issuer.token(bound_to=b"another")
    assert refused(made, request(livepin_token=token, authorization=BEARER)) == "binding"
    assert caplog.messages == [f"refused: binding, kid '{issuer.key.kid}'"]
    assert [(each.reason, each.kid) for each in told] == [("binding", issuer.key.kid)]
    assert token.rpartition(".")[2] not in repr(told) + str(told[0])
    assert BEARER not in caplog.text


def test_a_kid_forges_no_line_of_the_log(
    check: Any, issuer: TokenIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "livepin.middleware")
    kid = "\n2026 root logged in \u202e" + "x" * 200
    token = issuer.token(key=SigningKey(kid, Algorithm.HS256, SECRET))
    assert refused(check(), request(livepin_token=token)) == "unknown-key"
    (line,) = caplog.messages
    assert line.isascii()
    assert "\n" not in line
    assert len(line) < 150


def test_the_answer_says_nothing_of_why() -> None:
    answers = {
        (each.status, each.body(), tuple(each.headers()))
        for each in (RefusedError(reason, "k") for reason in ("expired", "signature", "missing"))
    }
    ((status, body, headers),) = answers
    assert status == 401
    assert json.loads(body) == {"title": "Unauthorized", "status": 401}
    assert ("WWW-Authenticate", "Livepin-Token") in headers


def test_what_is_no_fault_of_the_clients_is_503() -> None:
    for reason in ("no-keys", "full"):
        found = RefusedError(reason, "")
        assert found.status == 503
        assert json.loads(found.body()) == {"title": "Service Unavailable", "status": 503}
        assert dict(found.headers())["Retry-After"] == "5"
        assert "WWW-Authenticate" not in dict(found.headers())
