"""The name that TLS verifies is the host that was asked for, where that host is listed.

Pins are found by the verified name. A library that takes another one for it, to be put beside the
URL, would let a listed host be judged by the pins of another host, or by none.
"""

from __future__ import annotations

from livepin.client import Client
from livepin.errors import ConfigurationError, MalformedError
from livepin.hostnames import normalise


def check_server_name(pins: Client, host: str, server_name: str | None) -> None:
    """Refuse to verify another name than `host`, if the config lists `host`.

    Raises:
        ConfigurationError: it is listed, or is written in a way that cannot be compared.
    """
    if server_name is None:
        return
    try:
        if normalise(server_name) == normalise(host) or pins.domain(host) is None:
            return
    except MalformedError as exc:
        raise ConfigurationError(f"{host} or {server_name} is no host name: {exc}") from exc
    raise ConfigurationError(
        f"{host} is listed, and cannot be verified as {server_name}",
        hint="leave the server's host name to the URL",
    )
