"""WSGI and ASGI alike: what passes, what is refused, and what the app is told."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from livepin.testing import TokenIssuer
from livepin.tokens import Algorithm, SigningKey

FIELD = "Livepin-Token"


def test_the_app_is_told_what_the_token_says(backend: Any, issuer: TokenIssuer) -> None:
    made = backend()
    claims = issuer.claims()
    token = issuer.token(id=claims.id)
    reply = made.ask((FIELD, token))
    assert (reply.status, reply.body) == (200, b"ok")
    assert made.seen == [claims]
    assert made.ask((FIELD.lower(), token)).status == 200


def test_a_request_without_a_token_does_not_reach_the_app(backend: Any) -> None:
    made = backend()
    made.refuses("missing")
    made.refuses("missing", method="POST", path="/a/b?c=d")
    made.refuses("malformed", (FIELD, ""))
    made.refuses("malformed", (FIELD, "Bearer x"))
    made.refuses("malformed", (FIELD, "\xfc.\xfc.\xfc"))


def test_an_exempt_path_needs_none_and_is_told_nothing(backend: Any, issuer: TokenIssuer) -> None:
    made = backend(exempt=["/healthz", "/b\xfccher"])
    assert made.ask(path="/healthz").status == 200
    assert made.ask(path="/healthz?deep=1").status == 200
    assert made.ask((FIELD, issuer.token()), path="/healthz").status == 200
    assert made.ask(path="/b%C3%BCcher").status == 200
    assert made.seen == [None] * 4
    for path in ("/healthz/", "/HEALTHZ", "/healthz/../admin", "/admin?/healthz", "/healthz;x"):
        made.refuses("missing", path=path)


def test_what_a_token_is_bound_to_is_read_as_it_came(backend: Any, issuer: TokenIssuer) -> None:
    made = backend(bind="Authorization")
    value = "Bearer \xfc, x=1"
    token = issuer.token(bound_to=value.encode("latin-1"))
    assert made.ask((FIELD, token), ("Authorization", value)).status == 200


@pytest.mark.parametrize("path", ["/", "/a/b", "/a%20b/%C3%BC", "/a+b;c=1/~x"])
def test_a_proof_is_for_the_path_without_its_query(
    backend: Any, issuer: TokenIssuer, path: str
) -> None:
    made, token = backend(proof=True), issuer.token()
    proof = issuer.proof(token, "GET", f"https://api.example.com{path}")
    assert made.ask((FIELD, token), ("DPoP", proof), path=f"{path}?q=1").status == 200


def test_without_keys_it_answers_503(backend: Any, closed_port: int, issuer: TokenIssuer) -> None:
    made = backend(jwks=f"https://localhost:{closed_port}/jwks.json", exempt=["/healthz"])
    for _ in range(2):
        reply = made.ask((FIELD, issuer.token()))
        assert reply.status == 503
        assert reply.headers["retry-after"] == "5"
        assert "www-authenticate" not in reply.headers
    assert made.refused == ["no-keys", "no-keys"]
    assert made.ask(path="/healthz").status == 200
    assert made.seen == [None]


def test_keys_are_fetched_for_the_first_request(
    backend: Any, jwks_server: Any, delivery_chain: Any, issuer: TokenIssuer
) -> None:
    url = f"https://localhost:{jwks_server().port}/v1/acme/jwks.json"
    made = backend(jwks=url, ca=delivery_chain.authority.pem)
    assert made.ask((FIELD, issuer.token())).status == 200
    assert made.ask((FIELD, issuer.token())).status == 200
    assert issuer.fetched == 1


def test_a_jwks_for_backends_is_fetched_with_their_credential(
    backend: Any, jwks_server: Any, delivery_chain: Any, issuer: TokenIssuer
) -> None:
    """Refused tokens cannot be told apart there by anybody else."""
    issuer.keys["ed"] = SigningKey("ed", Algorithm.EDDSA, Ed25519PrivateKey.generate())

    def respond(path: str, headers: dict[str, str]) -> Any:
        if headers.get("authorization") != "Bearer c0de":
            return 401, {}, b""
        return issuer.respond(path, headers)

    url = f"https://localhost:{jwks_server(respond).port}/v1/acme/jwks.json"
    options = {"jwks": url, "ca": delivery_chain.authority.pem}
    assert backend(**options).ask((FIELD, issuer.token())).status == 503
    made = backend(**options, credential="c0de")
    assert made.ask((FIELD, issuer.token())).status == 200
    decoy = SigningKey("ed", Algorithm.EDDSA, Ed25519PrivateKey.generate())
    made.refuses("signature", (FIELD, issuer.token(key=decoy)))


def test_an_answer_to_head_has_no_body(backend: Any) -> None:
    made = backend()
    reply = made.ask(method="HEAD")
    assert reply.status == 401
    assert reply.headers["content-length"] == "37"
