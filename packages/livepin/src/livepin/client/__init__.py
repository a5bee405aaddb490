"""The client SDK: everything of `livepin` that does I/O for an app."""

from .client import Client
from .context import PinnedContext
from .fetcher import Answer, Fetcher, HTTPFetcher, Request
from .overrides import OverrideInForce
from .status import Status
from .store import FileStore, MemoryStore, Store
from .token_fetcher import TokenState
from .tokens import Token

__all__ = [
    "Answer",
    "Client",
    "Fetcher",
    "FileStore",
    "HTTPFetcher",
    "MemoryStore",
    "OverrideInForce",
    "PinnedContext",
    "Request",
    "Status",
    "Store",
    "Token",
    "TokenState",
]
