"""The delivery application before it is ready, and what is no request for it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from livepin.testing import FakeClock
from livepin_server.delivery.app import DeliveryApp
from livepin_server.delivery.claims import Claims
from livepin_server.delivery.events import Events
from livepin_server.delivery.overrides import Overrides
from livepin_server.delivery.reports import Reports
from livepin_server.delivery.snapshot import Snapshot
from livepin_server.services.model import AccountDocuments, ConfigDocument
from livepin_server.telemetry.metrics import Metrics
from livepin_server.web.limits import RateLimit


class Answer:
    """Where an answer is written, in memory; the body of the request never comes."""

    status: int | None = None
    headers: dict[str, str]
    body = b""
    closed: int | None = None

    def response_bytes(self, status: int, headers: Any, body: bytes) -> None:
        """Take an answer."""
        self.status, self.headers, self.body = status, dict(headers), body

    def close(self, status: int) -> None:
        """Take a refusal of what is no HTTP."""
        self.closed = status

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.Event().wait()
        raise StopAsyncIteration


@pytest.fixture
def delivery() -> DeliveryApp:
    """An application whose documents are not loaded yet, but for one account."""
    metrics, snapshot = Metrics(), Snapshot()
    config = ConfigDocument(root_version=1, version=1, raw=b"x")
    snapshot.replace("acme", AccountDocuments(configs={"main": config}, roots={}))
    events = Events(snapshot, metrics, most=1, most_per_address=1)
    limit = RateLimit(1000, 1000)
    claims = Claims(snapshot, metrics)
    overrides = Overrides(metrics, clock=FakeClock())
    return DeliveryApp(
        snapshot, events, Reports(metrics, claims), claims, overrides, metrics, limit=limit,
        body_time=0.02,
    )  # fmt: skip


def ask(app: DeliveryApp, method: str, path: str, proto: str = "http") -> Answer:
    """Ask the application."""
    scope = SimpleNamespace(proto=proto, method=method, path=path, client="192.0.2.1:5", headers={})
    answer = Answer()
    asyncio.run(asyncio.wait_for(app.__rsgi__(scope, answer), 10))
    return answer


def test_it_is_ready_only_once_the_documents_are_loaded(delivery) -> None:
    answer = ask(delivery, "GET", "/readyz")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert json.loads(answer.body)["detail"] == "the documents are not loaded yet"
    assert ask(delivery, "GET", "/healthz").status == 200
    delivery.ready = True
    assert ask(delivery, "GET", "/readyz").status == 200


def test_a_web_socket_is_closed(delivery) -> None:
    answer = ask(delivery, "GET", "/v1/acme/events", proto="ws")
    assert (answer.closed, answer.status) == (400, None)


def test_a_body_that_never_comes_is_not_waited_for(delivery) -> None:
    assert ask(delivery, "POST", "/v1/acme/reports").status == 408
