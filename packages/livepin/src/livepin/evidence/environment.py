"""What the environment says of TLS: names of variables, never their values.

Most of it is ordinary: companies have proxies and authorities of their own. None of it changes a
pinned connection; all of it is what somebody in the middle needs first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from .finding import Finding, Signal

_PRELOAD_FILE = "/etc/ld.so.preload"
_LONGEST = 64 * 1024  # bytes
_VARIABLES: dict[str, Signal] = {
    "SSL_CERT_FILE": "ca_override",
    "SSL_CERT_DIR": "ca_override",
    "REQUESTS_CA_BUNDLE": "ca_override",
    "CURL_CA_BUNDLE": "ca_override",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": "ca_override",
    "OPENSSL_CONF": "ca_override",
    "OPENSSL_MODULES": "ca_override",
    "OPENSSL_ENGINES": "ca_override",
    "HTTP_PROXY": "proxy",
    "HTTPS_PROXY": "proxy",
    "ALL_PROXY": "proxy",
    "SSLKEYLOGFILE": "key_log",
}
_PRELOADS = ("LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES")


def variables() -> Iterator[Finding]:
    """Give the variables that direct TLS elsewhere, or have its secrets written down."""
    for name, value in list(os.environ.items()):
        signal = _VARIABLES.get(name.upper())
        if signal is not None and value:
            yield Finding.of(signal, name)


def preloaded() -> Iterator[Finding]:
    """Give what had libraries loaded before all others."""
    started = _started_with()
    for name in _PRELOADS:
        if os.environ.get(name) or started.get(name):
            yield Finding.of("preloaded_library", name)
    if _content(_PRELOAD_FILE).strip():
        yield Finding.of("preloaded_library", _PRELOAD_FILE)


def _started_with() -> dict[str, bytes]:
    """Return the environment that this process was started with, where that is to be had.

    What was loaded may have removed its variable since.
    """
    parts = (each.partition(b"=") for each in _content("/proc/self/environ").split(b"\0"))
    return {name.decode("ascii", "replace"): value for name, _, value in parts}


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - it is read before each token
            return file.read(_LONGEST)
    except OSError:
        return b""
