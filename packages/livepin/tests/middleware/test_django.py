"""Django: its settings, its threads and its event loops."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from livepin.errors import ConfigurationError
from livepin.testing import TokenIssuer

pytest.importorskip("django", reason="the livepin wheel alone brings no django")

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

MIDDLEWARE = "livepin.middleware.django.TokenMiddleware"


def view(request: HttpRequest) -> HttpResponse:
    claims = request.livepin  # type: ignore[attr-defined]
    return HttpResponse("nobody" if claims is None else claims.installation)


async def aview(request: HttpRequest) -> HttpResponse:
    return view(request)


@pytest.fixture(autouse=True)
def configured(issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of a project; other tests of the process may have made it already."""
    if not settings.configured:
        settings.configure()
    urls = types.ModuleType("livepin_urls_of_tests")
    urls.urlpatterns = [path("", view), path("healthz", view), path("a", aview)]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    options = {
        "LIVEPIN_AUDIENCE": issuer.audience,
        "LIVEPIN_JWKS": issuer.jwks(),
        "LIVEPIN_EXEMPT": ["/healthz"],
    }
    with override_settings(
        ROOT_URLCONF=urls.__name__, MIDDLEWARE=[MIDDLEWARE], ALLOWED_HOSTS=["*"], **options
    ):
        yield


@pytest.fixture
def issuer() -> TokenIssuer:
    """Who issues tokens by the real clock: Django's settings have none."""
    return TokenIssuer("api.example.com")


def by_wsgi(where: str = "/", **fields: str) -> tuple[int, dict[str, str], str]:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": where,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.input": io.BytesIO(),
        **{"HTTP_" + name.upper(): value for name, value in fields.items()},
    }
    started: list[Any] = []
    body = WSGIHandler()(environ, lambda *args: started.extend(args))
    status, headers = started
    text = b"".join(body).decode()
    return int(status.split()[0]), {name.lower(): v for name, v in headers}, text


def by_asgi(where: str = "/", **fields: str) -> tuple[int, dict[str, str], str]:
    headers = [(n.replace("_", "-").encode(), v.encode()) for n, v in fields.items()]
    sent: list[Any] = []

    async def main() -> None:
        waiting = [{"type": "http.request"}]

        async def receive() -> Any:
            return waiting.pop() if waiting else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": where,
            "query_string": b"",
            "headers": headers,
        }
        await ASGIHandler()(scope, receive, send)

    asyncio.run(main())
    found = {name.decode().lower(): v.decode() for name, v in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(each["body"] for each in sent[1:]).decode()


ask = pytest.mark.parametrize("ask", [by_wsgi, by_asgi], ids=["threads", "asyncio"])


@ask
@pytest.mark.parametrize("where", ["/", "/a"])
def test_the_view_is_told_who_asks(ask: Any, where: str, issuer: TokenIssuer) -> None:
    token = issuer.token()
    status, _, body = ask(where, livepin_token=token)
    assert (status, body) == (200, issuer.claims().installation)


@ask
def test_a_request_without_a_token_does_not_reach_it(ask: Any, issuer: TokenIssuer) -> None:
    for fields in ({}, {"livepin_token": "x"}, {"livepin_token": issuer.token(audience="other")}):
        status, headers, body = ask(**fields)
        assert status == 401
        assert headers["www-authenticate"] == "Livepin-Token"
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body) == {"title": "Unauthorized", "status": 401}


@ask
def test_an_exempt_path_needs_none(ask: Any) -> None:
    assert ask("/healthz")[::2] == (200, "nobody")
    assert ask("/healthz/")[0] == 401


@ask
def test_every_setting_is_an_argument(ask: Any, issuer: TokenIssuer) -> None:
    with override_settings(
        LIVEPIN_BIND="Authorization", LIVEPIN_HEADER="X-Token", LIVEPIN_PROOF=True
    ):
        token = issuer.token(bound_to=b"Bearer user")
        proof = issuer.proof(token, "GET", "https://api.example.com/")
        fields = {"x_token": token, "authorization": "Bearer user"}
        assert ask(**fields, dpop=proof)[0] == 200
        assert ask(**fields)[0] == 401
        assert ask(x_token=token, dpop=proof)[0] == 401


@ask
def test_without_keys_it_answers_503(ask: Any, issuer: TokenIssuer, closed_port: int) -> None:
    with override_settings(LIVEPIN_JWKS=f"https://localhost:{closed_port}/"):
        status, headers, _ = ask(livepin_token=issuer.token())
    assert (status, headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"LIVEPIN_BINDS": "Authorization"}, "there is no setting LIVEPIN_BINDS"),
        ({"LIVEPIN_CLOCK": None}, "there is no setting LIVEPIN_CLOCK"),
        ({"LIVEPIN_JWKS": None}, "expected jwks, or secret"),
        ({"LIVEPIN_PROOF": "True"}, "expected proof as True or False"),
    ],
)
def test_a_setting_that_is_wrong_is_an_error_at_the_start(
    options: dict[str, Any], said: str
) -> None:
    with override_settings(**options), pytest.raises(ConfigurationError, match=said):
        by_wsgi()


def test_without_an_audience_nothing_starts() -> None:
    with override_settings():
        del settings.LIVEPIN_AUDIENCE
        with pytest.raises(ConfigurationError, match="expected the setting LIVEPIN_AUDIENCE"):
            by_wsgi()
