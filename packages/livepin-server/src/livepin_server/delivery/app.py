"""The delivery application, for RSGI: a dictionary look-up for documents, a few routes beside."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from livepin.documents import token_request
from livepin.errors import VerificationError

from livepin_server.errors import ForbiddenError, UnavailableError
from livepin_server.telemetry.metrics import Metrics
from livepin_server.web.limits import RateLimit, origin
from livepin_server.web.problems import BODY_UNREAD, CONTENT_TYPE, encoded, problem

from .claims import Claims
from .credentials import Credentials
from .events import Events
from .overrides import Overrides
from .reports import MAX_SIZE, Reports
from .snapshot import Document, Snapshot
from .tokens import TokenDesk

_ACCOUNT = re.compile(r"/v1/([a-z0-9-]{1,63})/(events|reports|token|jwks\.json)\Z")
_PROBLEM_HEADERS = [
    ("content-type", CONTENT_TYPE),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
]
_EVENT_HEADERS = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),
]
_TOKEN_HEADERS = [
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
]
_JWKS_HEADERS = [
    ("content-type", "application/jwk-set+json"),
    ("vary", "authorization"),
    ("x-content-type-options", "nosniff"),
]
_SOON, _LATER = ("retry-after", "1"), ("retry-after", "60")
_REPORT_COST = 10  # requests
_TOKEN_COST = 4
_GUESS_COST = 9  # so that guessing is slow; a backend comes every five minutes
_JWKS_AGE = "max-age=300"
_NO_TOKENS = "no tokens are issued here"
# A quality of zero refuses. Bounded: who sends the header is nobody's friend.
_GZIP = re.compile(
    r"(?:^|,)\s*gzip\s*(?:;\s*q=(?:1(?:\.0{0,3})?|0\.[0-9]{0,2}[1-9][0-9]{0,2})\s*)?(?:,|$)",
    re.IGNORECASE,
)
_HELD = re.compile(r'(?:W/)?"([0-9]{1,16})\.([0-9]{1,16})"\Z')


class DeliveryApp:
    """Answers clients. `ready` says whether the snapshot is loaded."""

    def __init__(
        self,
        snapshot: Snapshot,
        events: Events,
        reports: Reports,
        claims: Claims,
        overrides: Overrides,
        metrics: Metrics,
        *,
        limit: RateLimit,
        tokens: TokenDesk | None = None,
        credentials: Credentials | None = None,
        body_time: float = 10.0,
    ) -> None:
        self.ready = False
        self._snapshot = snapshot
        self._events = events
        self._reports = reports
        self._claims = claims
        self._overrides = overrides
        self._metrics = metrics
        self._limit = limit
        self._tokens = tokens
        self._credentials = credentials
        self._body_time = body_time  # seconds for a whole body
        self._count = {status: metrics.requests.labels("delivery", status) for status in _STATUSES}

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """Answer one request."""
        if scope.proto != "http":
            proto.close(400)
            return
        address = origin(scope.client.rpartition(":")[0])
        if not self._limit.allow(address):
            self._refuse(proto, 429, "too many requests from this address", self._retry(1))
            return
        document = self._snapshot.get(scope.path) or self._overrides.get(scope.path)
        if document is not None:
            self._send(scope, proto, document)
        else:
            await self._other(scope, proto, address)

    def _send(self, scope: Any, proto: Any, document: Document) -> None:
        if scope.method not in ("GET", "HEAD"):
            self._refuse(proto, 405, "expected GET", ("allow", "GET, HEAD"))
            return
        headers = scope.headers
        held = headers.get("if-none-match")
        if document.stream is not None:
            match = _HELD.match(held) if held else None
            said = match[2] if match else "none"
            self._metrics.fetched(document.account, document.stream, said, document.version)
            if match and int(said) > document.version:
                self._claims.note(document.account, document.stream, int(match[1]), int(said))
        if held is not None and held.removeprefix("W/") == document.etag:
            self._count[304].inc()
            proto.response_empty(304, document.headers)
            return
        self._count[200].inc()
        packed = document.compressed if _takes_gzip(headers.get("accept-encoding", "")) else None
        body = document.raw if packed is None else packed
        fields = document.headers if packed is None else document.compressed_headers
        if scope.method == "HEAD":
            proto.response_empty(200, [*fields, ("content-length", str(len(body)))])
        else:
            proto.response_bytes(200, fields, body)

    async def _other(self, scope: Any, proto: Any, address: str) -> None:
        if scope.path in ("/healthz", "/readyz"):
            self._health(scope.path, proto)
            return
        match = _ACCOUNT.match(scope.path)
        if match is None or self._snapshot.versions(match[1]) is None:
            self._refuse(proto, 404, "there is nothing at this path")
        elif match[2] == "events":
            await self._stream(scope, proto, match[1], address)
        elif match[2] == "jwks.json":
            await self._jwks(scope, proto, match[1], address)
        elif scope.method != "POST":
            self._refuse(proto, 405, "expected POST", ("allow", "POST"))
        elif match[2] == "token":
            await self._token(scope, proto, match[1], address)
        else:
            await self._report(scope, proto, match[1], address)

    def _health(self, path: str, proto: Any) -> None:
        if path == "/readyz" and not self.ready:
            self._refuse(proto, 503, "the documents are not loaded yet", _SOON)
        else:
            proto.response_bytes(200, [("content-type", "text/plain")], b"ok\n")

    async def _stream(self, scope: Any, proto: Any, account: str, address: str) -> None:
        if scope.method != "GET":
            self._refuse(proto, 405, "expected GET", ("allow", "GET"))
        elif not self._events.has_room(address):
            self._refuse(proto, 503, "there are too many event streams", _LATER)
        else:
            self._count[200].inc()
            transport = proto.response_stream(200, _EVENT_HEADERS)
            await self._events.run(account, address, transport)

    async def _report(self, scope: Any, proto: Any, account: str, address: str) -> None:
        # A report costs more than a document, and only misbehaving clients send many.
        if not self._limit.allow(address, cost=_REPORT_COST):
            self._refuse(
                proto, 429, "too many reports from this address", self._retry(_REPORT_COST)
            )
            return
        body = await self._body(scope, proto, MAX_SIZE)
        if body is None:
            return
        try:
            self._reports.take(account, body, streams=self._snapshot.versions(account) or ())
        except msgspec.DecodeError as exc:
            self._refuse(proto, 400, f"not a report: {exc}")
        else:
            self._count[202].inc()
            proto.response_empty(202, [("cache-control", "no-store")])

    async def _token(self, scope: Any, proto: Any, account: str, address: str) -> None:
        if not self._limit.allow(address, cost=_TOKEN_COST):
            self._refuse(
                proto, 429, "too many requests from this address", self._retry(_TOKEN_COST)
            )
            return
        if self._tokens is None:
            self._refuse(proto, 503, _NO_TOKENS, _LATER)
            return
        body = await self._body(scope, proto, token_request.MAX_SIZE)
        if body is None:
            return
        try:
            answer = await self._tokens.answer(account, body)
        except VerificationError as exc:
            self._refuse(proto, 400, f"not a token request: {exc.reason}")
        except UnavailableError as exc:
            self._refuse(proto, 503, str(exc), _SOON)
        else:
            self._count[200].inc()
            proto.response_bytes(200, _TOKEN_HEADERS, answer)

    async def _jwks(self, scope: Any, proto: Any, account: str, address: str) -> None:
        given = scope.headers.get("authorization")
        if scope.method not in ("GET", "HEAD"):
            self._refuse(proto, 405, "expected GET", ("allow", "GET, HEAD"))
            return
        if self._tokens is None:
            self._refuse(proto, 503, _NO_TOKENS, _LATER)
            return
        if given is not None and not self._limit.allow(address, cost=_GUESS_COST):
            self._refuse(
                proto, 429, "too many credentials from this address", self._retry(_GUESS_COST)
            )
            return
        try:
            if given is not None:
                await self._require(given, account, address)
            body = self._tokens.jwks(account, restricted=given is not None)
        except ForbiddenError as exc:
            self._refuse(proto, 401, str(exc), ("www-authenticate", "Bearer"))
        except UnavailableError as exc:
            self._refuse(proto, 503, str(exc), _SOON)
        else:
            self._send_jwks(scope, proto, body, "public" if given is None else "private")

    def _send_jwks(self, scope: Any, proto: Any, body: bytes, kept_by: str) -> None:
        self._count[200].inc()
        fields = [*_JWKS_HEADERS, ("cache-control", f"{kept_by}, {_JWKS_AGE}")]
        if scope.method == "HEAD":
            proto.response_empty(200, [*fields, ("content-length", str(len(body)))])
        else:
            proto.response_bytes(200, fields, body)

    async def _require(self, given: str, account: str, address: str) -> None:
        if self._credentials is None:
            raise ForbiddenError("no credential opens this JWK Set")
        await self._credentials.require(given, account, address)

    async def _body(self, scope: Any, proto: Any, most: int) -> bytes | None:
        """Return the body, or None where the request was refused for it."""
        try:
            async with asyncio.timeout(self._body_time):
                return await _bounded(scope, proto, most)
        except TimeoutError:
            self._refuse(proto, 408, f"expected the body within {self._body_time:.0f} s")
        except OverflowError:
            self._refuse(proto, 413, f"expected at most {most} bytes")
        return None

    def _refuse(self, proto: Any, status: int, detail: str, *headers: tuple[str, str]) -> None:
        self._count[status].inc()
        body = encoded(problem(status, detail))
        closing = [("connection", "close")] if status in BODY_UNREAD else []
        proto.response_bytes(status, [*_PROBLEM_HEADERS, *headers, *closing], body)

    def _retry(self, cost: int) -> tuple[str, str]:
        return "retry-after", str(cost * self._limit.pause)


def _takes_gzip(accepted: str) -> bool:
    """Tell whether an Accept-Encoding names gzip, and not to refuse it."""
    return _GZIP.search(accepted) is not None


_STATUSES = (200, 202, 304, 400, 401, 404, 405, 408, 413, 429, 503)


async def _bounded(scope: Any, proto: Any, most: int) -> bytes:
    """Return the body; `OverflowError` as soon as it is too large."""
    declared = scope.headers.get("content-length")
    if declared is not None:
        if not declared.isdecimal() or int(declared) > most:
            raise OverflowError
        whole: bytes = await proto()  # the listener takes no more than was declared
        return whole
    body = b""
    async for chunk in proto:
        body += chunk
        if len(body) > most:
            raise OverflowError
    return body
