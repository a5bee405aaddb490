"""A system that starts no more threads: connections stay pinned, and nothing waits for ever."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from livepin.client import HTTPFetcher, Request
from livepin.client.healing import Healing
from livepin.errors import FetchError, PinMismatchError
from livepin.testing import Chain, DeliverySimulator

HOST = "localhost"


@pytest.fixture
def no_threads() -> Iterator[None]:
    """Ask for stacks that no system has: each start of a thread fails as it does under load."""
    before = threading.stack_size(1 << 46)
    yield
    threading.stack_size(before)


def test_a_task_that_waits_for_newer_pins_is_told_that_none_come(no_threads: None) -> None:
    healing = Healing(lambda _: None, threading.Condition())
    error = PinMismatchError(
        "no pinned key", host=HOST, chain=("leaf",), expected=(), config_version=1, config_age=0
    )
    for _ in range(2):
        assert healing.start(error, lambda: False).result(timeout=0) is False


def test_a_document_that_cannot_be_timed_is_not_fetched(no_threads: None) -> None:
    request = Request(
        url="http://127.0.0.1:9", context=None, max_bytes=1, max_compressed=1, timeout=1, headers={}
    )
    with pytest.raises(FetchError, match="thread"):
        HTTPFetcher().fetch(request)


def test_a_connection_is_made_and_the_next_one_starts_the_refresh(
    simulator: DeliverySimulator, chain: Chain, serve
) -> None:
    server = serve(chain)
    simulator.pin(HOST, chain.pin)
    with simulator.client(ca=chain.authority.pem, push=True) as pins:
        before = threading.stack_size(1 << 46)
        try:
            pins.context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)
        finally:
            threading.stack_size(before)
        simulator.publish()
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            with pins.context().wrap_socket(sock, server_hostname=HOST):
                assert pins.wait_for(simulator.version, timeout=10)
