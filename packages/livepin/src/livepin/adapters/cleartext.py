"""The one rule that the TLS layer never sees: no cleartext to a listed host, in any mode."""

from __future__ import annotations

from livepin.client import Client
from livepin.errors import CleartextError, MalformedError


def check_cleartext(pins: Client, scheme: str, host: str) -> None:
    """Refuse a request without TLS to a host that the config lists.

    Raises:
        CleartextError: the scheme is not https or wss, and a domain covers the host, or the host
            is written in a way that resolvers read and Livepin cannot compare (`127.1`).
    """
    if scheme in ("https", "wss"):
        return
    try:
        covered = pins.domain(host) is not None
    except MalformedError as exc:
        raise CleartextError(
            f"a request over {scheme or 'no scheme'}, without TLS, to a host that no domain can "
            f"be found for: {exc}",
            host=host,
            hint=exc.hint,
        ) from exc
    if covered:
        raise CleartextError(
            f"a request to {host} over {scheme or 'no scheme'}, without TLS; the host is listed",
            host=host,
            hint=f"use https://{host}",
        )
