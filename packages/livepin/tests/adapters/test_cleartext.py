"""No cleartext to a listed host, in any mode, however the host is written."""

from __future__ import annotations

import pytest
from livepin.adapters.cleartext import check_cleartext
from livepin.documents import Mode
from livepin.errors import CleartextError
from livepin.pins import Pin
from livepin.testing import DeliverySimulator

PIN = Pin(bytes(32))


@pytest.fixture
def listed(simulator: DeliverySimulator) -> DeliverySimulator:
    simulator.pin("api.example.com", PIN)
    simulator.pin("*.example.org", PIN)
    simulator.pin("127.0.0.1", PIN)
    simulator.pin("xn--bcher-kva.example", PIN)
    return simulator


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("scheme", ["http", "ws", "ftp", ""])
def test_cleartext_is_refused_in_every_mode(
    simulator: DeliverySimulator, mode: Mode, scheme: str
) -> None:
    simulator.pin("api.example.com", PIN, mode=mode)
    with simulator.client() as pins, pytest.raises(CleartextError, match="without TLS") as caught:
        check_cleartext(pins, scheme, "api.example.com")
    assert caught.value.host == "api.example.com"
    assert caught.value.hint == "use https://api.example.com"


@pytest.mark.parametrize(
    "host",
    [
        "API.Example.com",
        "api.example.com.",
        "a.b.example.org",
        "bücher.example",
        "::ffff:127.0.0.1",
    ],
)
def test_each_spelling_is_the_same_host(listed: DeliverySimulator, host: str) -> None:
    with listed.client() as pins, pytest.raises(CleartextError):
        check_cleartext(pins, "http", host)


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f.1", "2130706433", "fe80::1%eth0", "api.example.com..", "faß.example"]
)
def test_what_resolvers_read_and_livepin_cannot_compare_is_refused(
    listed: DeliverySimulator, host: str
) -> None:
    with listed.client() as pins, pytest.raises(CleartextError, match="no domain can be found"):
        check_cleartext(pins, "http", host)


@pytest.mark.parametrize("host", ["example.org", "www.example.com", "localhost", "10.0.0.1"])
def test_hosts_that_no_domain_covers_may_speak_cleartext(
    listed: DeliverySimulator, host: str
) -> None:
    with listed.client() as pins:
        check_cleartext(pins, "http", host)


@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_tls_is_left_to_the_pinned_context(listed: DeliverySimulator, scheme: str) -> None:
    with listed.client() as pins:
        check_cleartext(pins, scheme, "api.example.com")
        check_cleartext(pins, scheme, "127.1")
