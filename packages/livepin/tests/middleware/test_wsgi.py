"""What WSGI alone has: paths that are decoded, fields that are joined, environments."""

from __future__ import annotations

from typing import Any

import pytest
from livepin.middleware.check import TokenCheck
from livepin.middleware.wsgi import TokenMiddleware
from livepin.testing import FakeClock, TokenIssuer


@pytest.fixture
def check(issuer: TokenIssuer, clock: FakeClock) -> TokenCheck:
    return TokenCheck(
        audience=issuer.audience,
        jwks=issuer.jwks(),
        clock=clock,
        proof=True,
        exempt=["/ok", "/v1/me"],
    )


def call(check: TokenCheck, **environ: Any) -> tuple[list[str], list[Any]]:
    """Call an app behind the middleware; return the statuses and the environments it was given."""
    statuses: list[str] = []
    given: list[Any] = []

    def app(found: Any, start_response: Any) -> list[bytes]:
        given.append(found)
        start_response("200 OK", [])
        return []

    def start_response(status: str, headers: Any) -> None:
        statuses.append(status)

    base = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    TokenMiddleware(app, check)(base | environ, start_response)
    return statuses, given


def test_an_app_below_a_prefix_has_it_in_its_paths(check: TokenCheck, issuer: TokenIssuer) -> None:
    token = issuer.token()
    proof = issuer.proof(token, "GET", "https://api.example.com/v1/%C3%BC")
    fields = {"HTTP_LIVEPIN_TOKEN": token, "HTTP_DPOP": proof}
    where = {"SCRIPT_NAME": "/v1", "PATH_INFO": "/\xc3\xbc"}
    statuses, given = call(check, **fields, **where)
    assert statuses == ["200 OK"]
    assert given[0]["livepin.token"].audience == issuer.audience
    assert call(check, SCRIPT_NAME="/v1", PATH_INFO="/ok")[0] == ["200 OK"]


def test_a_prefix_exempts_nothing(check: TokenCheck) -> None:
    """Some servers take SCRIPT_NAME from a header; the app routes by what is left."""
    assert call(check, PATH_INFO="/v1/me")[0] == ["200 OK"]
    assert call(check, SCRIPT_NAME="/v1", PATH_INFO="/me")[0] == ["401 Unauthorized"]


def test_the_environment_of_the_server_stays_as_it_was(
    check: TokenCheck, issuer: TokenIssuer
) -> None:
    token = issuer.token()
    environ = {"HTTP_LIVEPIN_TOKEN": token, "livepin.token": "forged"}
    environ["HTTP_DPOP"] = issuer.proof(token, "GET", "https://api.example.com/")
    _, given = call(check, **environ)
    assert given[0]["livepin.token"].id
    assert environ["livepin.token"] == "forged"


def test_without_paths_it_is_the_root(check: TokenCheck, issuer: TokenIssuer) -> None:
    token = issuer.token()
    proof = issuer.proof(token, "GET", "https://api.example.com")
    fields = {"HTTP_LIVEPIN_TOKEN": token, "HTTP_DPOP": proof, "PATH_INFO": ""}
    assert call(check, **fields)[0] == ["200 OK"]
