"""Django, with threads and with asyncio.

    MIDDLEWARE = ["livepin.middleware.django.TokenMiddleware", ...]
    LIVEPIN_AUDIENCE = "api.example.com"
    LIVEPIN_JWKS = "https://pins.example.com/v1/acme/jwks.json"

Each argument of `TokenCheck` is a setting of that name after `LIVEPIN_`. What the token says is
`request.livepin`, None on exempt paths.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from livepin.errors import ConfigurationError

from .check import RefusedError, Request, TokenCheck, encoded
from .wsgi import values_of

_PREFIX = "LIVEPIN_"
_SETTINGS = frozenset(inspect.signature(TokenCheck).parameters) - {"clock"}


class TokenMiddleware:
    """Lets requests through that a `TokenCheck` made of the settings takes.

    Raises:
        ConfigurationError: the settings make none; or one is unknown, as it may be misspelt.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._check = TokenCheck(**_options())
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        """Pass a request on with its claims, or refuse it."""
        if self._is_async:
            return self._call(request)
        request.livepin = None
        if not self._check.is_exempt(request.path_info):
            try:
                request.livepin = self._check.check(_request(request))
            except RefusedError as exc:
                return _answer(exc)
        found: HttpResponse = self._get_response(request)
        return found

    async def _call(self, request: HttpRequest) -> HttpResponse:
        request.livepin = None
        if not self._check.is_exempt(request.path_info):
            try:
                request.livepin = await self._check.acheck(_request(request))
            except RefusedError as exc:
                return _answer(exc)
        found: HttpResponse = await self._get_response(request)
        return found


def _options() -> dict[str, Any]:
    named = [name for name in dir(settings) if name.startswith(_PREFIX)]
    found = {name.removeprefix(_PREFIX).lower(): getattr(settings, name) for name in named}
    unknown = sorted(found.keys() - _SETTINGS)
    if unknown:
        # To overlook a misspelt LIVEPIN_BIND would be to go without a binding.
        raise ConfigurationError(f"there is no setting {_PREFIX}{unknown[0].upper()}")
    if "audience" not in found:
        raise ConfigurationError("expected the setting LIVEPIN_AUDIENCE")
    return found


def _request(request: HttpRequest) -> Request:
    return Request(
        method=request.method or "",
        path=encoded(request.path),
        values=lambda name: values_of(request.META, name),
    )


def _answer(exc: RefusedError) -> HttpResponse:
    return HttpResponse(exc.body(), status=exc.status, headers=dict(exc.headers()))


__all__ = ["TokenMiddleware"]
