"""The backend of the demonstration: once it is told to, it takes requests by their token alone."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from livepin.middleware.check import RefusedError, Request, TokenCheck
from livepin.tokens import HEADER

Answered = tuple[int, dict[str, str], bytes]


class Backend:
    """What the second API answers.

    `token` is that of the last request that it took, of `installation`; `refused` is why it refused
    the last one that it did. Its clock is ahead by `ahead`.
    """

    def __init__(self) -> None:
        self.check: TokenCheck | None = None
        self.token = self.installation = self.refused = ""
        self.ahead = timedelta()

    def now(self) -> datetime:
        """Return what its clock says."""
        return datetime.now(timezone.utc) + self.ahead

    def respond(self, path: str, headers: dict[str, str]) -> Answered:
        """Answer a request; field names are in lower case."""
        if self.check is not None:
            try:
                claims = self.check.check(_request_of(path, headers))
            except RefusedError as exc:
                self.refused = exc.reason
                return exc.status, dict(exc.headers()), exc.body()
            self.installation = claims.installation
            self.token = headers[HEADER.lower()]
        return 200, {}, b"ok"


def _request_of(path: str, headers: dict[str, str]) -> Request:
    def values(name: str) -> list[str]:
        return [headers[name.lower()]] if name.lower() in headers else []

    return Request(method="GET", path=path, values=values)
