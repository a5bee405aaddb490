"""WSGI: Flask, and any other application of PEP 3333.

    app.wsgi_app = TokenMiddleware(app.wsgi_app, TokenCheck(audience=..., jwks=...))

What the token says is `environ["livepin.token"]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .check import RefusedError, Request, TokenCheck, encoded

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


class TokenMiddleware:
    """Lets requests through to `app` that `check` takes."""

    def __init__(self, app: App, check: TokenCheck) -> None:
        self._app = app
        self._check = check

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Pass a request on with its claims, or refuse it."""
        # What the app routes by; SCRIPT_NAME is what some servers let a client say.
        if self._check.is_exempt(_decoded(environ, "PATH_INFO").decode("utf-8", "replace")):
            return self._app(environ, start_response)
        path = _decoded(environ, "SCRIPT_NAME") + _decoded(environ, "PATH_INFO")
        request = Request(
            method=environ["REQUEST_METHOD"],
            path=encoded(path),
            values=lambda name: values_of(environ, name),
        )
        try:
            claims = self._check.check(request)
        except RefusedError as exc:
            start_response(f"{exc.status} {exc.title}", exc.headers())
            return [b"" if request.method == "HEAD" else exc.body()]
        return self._app({**environ, "livepin.token": claims}, start_response)


def values_of(environ: Environ, name: str) -> Sequence[str]:
    """Return the field of a name, none or one: servers join several with a comma.

    So a token that came twice is no token, and a value no longer the one that it is bound to.
    """
    value = environ.get("HTTP_" + name.upper().replace("-", "_"))
    return () if value is None else (value,)


def _decoded(environ: Environ, name: str) -> bytes:
    part: str = environ.get(name, "")
    return part.encode("latin-1")


__all__ = ["TokenMiddleware"]
