"""A tester whose whole traffic goes through mitmproxy: the override gets through to him alone.

Livepin's own channel is refused there, as it must be. What is left is the recovery channel, through
mitmproxy too; no domain here asks for tokens.
"""

from __future__ import annotations

import contextlib
import http.client
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from livepin.client import Client, HTTPFetcher, healing
from livepin.documents import Mode
from livepin.errors import PinMismatchError
from livepin.testing import Chain, DeliverySimulator, RecordingServer

if TYPE_CHECKING:
    from conftest import Mitmproxy

HOST, OTHER = "api.example.com", "other.example.com"


@pytest.fixture
def api(chain: Chain) -> Iterator[RecordingServer]:
    with RecordingServer(chain) as running:
        yield running


@pytest.fixture
def devices(
    simulator: DeliverySimulator,
    chain: Chain,
    mitmproxy: Mitmproxy,
    trusted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[str], Client]]:
    """Start the app on a device behind mitmproxy; all of them trust its CA."""
    monkeypatch.setattr(healing, "DEADLINE", 5.0)

    def respond(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return simulator.respond(path.removeprefix("/copy"), headers)

    with RecordingServer(chain, respond=respond) as delivery, contextlib.ExitStack() as stack:
        url = f"https://{mitmproxy.before(delivery.port)}"
        simulator.urls, simulator.recovery_urls = (url,), (f"{url}/copy",)
        simulator.ca, simulator.delivery_pins = trusted, (chain.pin,)
        simulator.pin(OTHER, chain.pin)

        def start(name: str) -> Client:
            pins = simulator.client(ca=trusted, fetcher=HTTPFetcher(), store=tmp_path / name)
            assert pins.installation_thumbprint  # each has a key, and asks
            return stack.enter_context(pins)

        yield start


def pay(pins: Client, mitmproxy: Mitmproxy, host: str, port: int, secret: str) -> int:
    """Send a secret to an API, as a device that is set to use mitmproxy does."""
    proxy = urlsplit(mitmproxy.proxy)
    connection = http.client.HTTPSConnection(
        proxy.hostname or "", proxy.port, context=pins.context(), timeout=20
    )
    connection.set_tunnel(host, port)
    with contextlib.closing(connection):
        connection.request("POST", "/pay", secret.encode())
        return connection.getresponse().status


def test_the_override_unpins_the_tester_at_one_host_and_nobody_else(
    mitmproxy: Mitmproxy,
    simulator: DeliverySimulator,
    devices: Callable[[str], Client],
    api: RecordingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tester, secret = devices("tester"), f"card-{uuid.uuid4()}"
    simulator.override(tester.installation_thumbprint, HOST, mode=Mode.OFF)

    mark = mitmproxy.mark()
    assert pay(tester, mitmproxy, HOST, api.port, secret) == 200  # the first request succeeds
    sight = mitmproxy.seen_since(mark)
    own = f"/copy/v1/acme/override/{tester.installation_thumbprint}"
    heads = [each[:2] for each in sight.read if isinstance(each, list)]
    assert heads == [["GET", "/copy/v1/acme/config/main"], ["GET", own], ["POST", "/pay"]]
    assert secret in sight.log
    api.wait_closed()
    assert secret.encode() in api.received

    monkeypatch.setattr(healing, "DEADLINE", 0.5)
    for pins, host in ((tester, OTHER), (devices("another"), HOST)):
        received, mark = len(api.received), mitmproxy.mark()
        with pytest.raises(PinMismatchError) as caught:
            pay(pins, mitmproxy, host, api.port, secret)
        assert str(mitmproxy.pin) in caught.value.chain
        sight = mitmproxy.seen_since(mark)
        assert "/pay" not in str(sight.read)
        assert secret not in sight.log
        api.wait_closed()
        assert len(api.received) == received


def test_when_it_is_ended_the_tester_is_pinned_again(
    mitmproxy: Mitmproxy,
    simulator: DeliverySimulator,
    devices: Callable[[str], Client],
    api: RecordingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tester = devices("tester")
    simulator.override(tester.installation_thumbprint, HOST, mode=Mode.OFF)
    assert pay(tester, mitmproxy, HOST, api.port, "mine") == 200
    simulator.end_override(tester.installation_thumbprint)
    tester.refresh()
    assert tester.status().override is None
    api.wait_closed()
    received = len(api.received)
    monkeypatch.setattr(healing, "DEADLINE", 0.2)
    with pytest.raises(PinMismatchError):
        pay(tester, mitmproxy, HOST, api.port, "mine")
    api.wait_closed()
    assert len(api.received) == received
