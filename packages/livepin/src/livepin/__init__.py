"""Livepin: dynamic TLS certificate pinning, enforced in the app, delivered by its owner.

    pins = livepin.Client("bootstrap.json", store="livepin-state.json")
    context = pins.context()      # an ssl.SSLContext, for any library that takes one

`livepin.adapters` has what single HTTP libraries need beyond that, `livepin.inject` pins a process
that nobody wants to change, `livepin.testing` has what your tests need. Every failure is a
`LivepinError`; `livepin.find` gets it out of what an HTTP library wrapped around it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    CleartextError,
    ConfigurationError,
    FetchError,
    LivepinError,
    MalformedError,
    PinMismatchError,
    PinningError,
    RollbackError,
    StaleConfigError,
    StoreError,
    TokenUnavailableError,
    UnlistedHostError,
    UnverifiedChainError,
    VerificationError,
    find,
)

if TYPE_CHECKING:
    from .bootstrap import Bootstrap
    from .client import Client, FileStore, PinnedContext, Status, Token, TokenState
    from .injection import inject
    from .pins import Pin, PinSet

__version__ = "0.1.0"

# Loaded when first asked for: a backend that checks a token needs no TLS client.
_LATER = {
    "Bootstrap": "bootstrap",
    "Client": "client",
    "FileStore": "client",
    "Pin": "pins",
    "PinSet": "pins",
    "PinnedContext": "client",
    "Status": "client",
    "Token": "client",
    "TokenState": "client",
    "inject": "injection",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'livepin' has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)


__all__ = [
    "Bootstrap",
    "CleartextError",
    "Client",
    "ConfigurationError",
    "FetchError",
    "FileStore",
    "LivepinError",
    "MalformedError",
    "Pin",
    "PinMismatchError",
    "PinSet",
    "PinnedContext",
    "PinningError",
    "RollbackError",
    "StaleConfigError",
    "Status",
    "StoreError",
    "Token",
    "TokenState",
    "TokenUnavailableError",
    "UnlistedHostError",
    "UnverifiedChainError",
    "VerificationError",
    "find",
    "inject",
]
