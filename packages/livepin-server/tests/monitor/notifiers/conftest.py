"""What tests of notifiers share: receivers of their own on loopback, and requests to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from livepin.testing import FakeClock, RecordingServer, make_chain
from livepin_server.monitor.notifiers.calling import Calling

CHAIN = make_chain("localhost")
CA = CHAIN.authority.pem


class Receiver:
    """An HTTPS server that remembers what it was sent, and answers as it is told to."""

    def __init__(self) -> None:
        self.answer: Any = (200, {}, b"ok")
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.server = RecordingServer(CHAIN, post=self._post)
        self.url = f"https://localhost:{self.server.port}/hook"

    def _post(self, path: str, headers: dict[str, str], body: bytes) -> Any:
        self.got.append((path, headers, json.loads(body)))
        self.raw = body
        return self.answer() if callable(self.answer) else self.answer


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver."""
    found = Receiver()
    with contextlib.closing(found.server):
        yield found


@pytest.fixture
def calling(clock: FakeClock) -> Calling:
    """What makes requests."""
    return Calling(clock=clock)


@pytest.fixture
def tell() -> Callable[[Any, Any], None]:
    """Tell a notice by a notifier."""
    return lambda notifier, posted: asyncio.run(notifier.tell(posted))
