"""Mismatch reports from clients: unauthenticated hints, counted and logged, never acted on."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Annotated

import msgspec

from livepin_server.telemetry.metrics import Metrics

from .claims import Claims

MAX_SIZE = 16 * 1024  # bytes
_NO_STREAM = "?"  # which no stream is called

logger = logging.getLogger("livepin.reports")

_Fingerprint = Annotated[str, msgspec.Meta(pattern=r"^sha256/[A-Za-z0-9+/]{43}=$(?!\n)")]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A mismatch as a client saw it; members that are not known are ignored."""

    host: Annotated[str, msgspec.Meta(max_length=255)]
    chain: Annotated[list[_Fingerprint], msgspec.Meta(min_length=1, max_length=16)]
    config_version: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    at: Annotated[int, msgspec.Meta(ge=0, le=253402300799)]
    stream: Annotated[str, msgspec.Meta(max_length=63)] = "main"
    root_version: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)] | None = None


class Reports:
    """Takes reports in."""

    def __init__(self, metrics: Metrics, claims: Claims) -> None:
        self._metrics = metrics
        self._claims = claims

    def take(self, account: str, body: bytes, *, streams: Collection[str]) -> None:
        """Count and log one report; of `streams`, those of the account, each is counted apart.

        Raises:
            msgspec.DecodeError: not a report.
        """
        try:
            report = msgspec.json.decode(body, type=Report)
        except RecursionError as exc:
            raise msgspec.DecodeError("it is nested too deeply") from exc
        stream = report.stream if report.stream in streams else _NO_STREAM
        self._metrics.reports.labels(account, stream).inc()
        if report.root_version is not None:
            self._claims.note(account, report.stream, report.root_version, report.config_version)
        # As members, not as text: what a stranger wrote must not look like our own words.
        logger.info("a client reports a mismatch", extra={"account": account, **_members(report)})


def _members(report: Report) -> dict[str, object]:
    return {f"report_{name}": value for name, value in msgspec.to_builtins(report).items()}
