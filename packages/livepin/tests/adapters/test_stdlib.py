"""The standard library's `urllib.request` and `http.client`, pinned."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from typing import Any

import pytest
from livepin.adapters import stdlib
from livepin.documents import Mode
from livepin.errors import CleartextError, PinMismatchError, find
from livepin.testing import Authority, Chain, DeliverySimulator, RecordingServer

QUICK = pytest.mark.usefixtures("quick_healing")
HOST = "localhost"


def silent(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


@QUICK
def test_an_opener_is_pinned(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    good, evil = serve(chain), serve(other)
    with simulator.client(ca=authority.pem) as pins:
        opener = stdlib.opener(pins)
        with opener.open(f"https://{HOST}:{good.port}/", b"card=4111", timeout=10) as answer:
            assert answer.read() == b"ok"
        with pytest.raises(urllib.error.URLError) as caught:
            opener.open(f"https://{HOST}:{evil.port}/", b"card=4111", timeout=10)
    assert isinstance(find(caught.value), PinMismatchError)
    assert b"card=4111" in good.received
    assert silent(evil)


@QUICK
def test_a_connection_is_pinned(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    good, evil = serve(chain), serve(other)
    with simulator.client(ca=authority.pem) as pins:
        connection = stdlib.https_connection(pins, HOST, good.port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
        connection = stdlib.https_connection(pins, HOST, evil.port, timeout=10)
        with pytest.raises(PinMismatchError):
            connection.request("GET", "/")
    assert silent(evil)


def test_a_late_pin_heals_the_first_request(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)
    with simulator.client(ca=authority.pem) as pins:
        threading.Timer(0.1, simulator.pin, (HOST, other.pin)).start()
        stdlib.opener(pins).open(f"https://{HOST}:{server.port}/", timeout=10).close()
    assert server.connections == 1


@QUICK
def test_a_redirect_to_another_host_is_judged_by_that_hosts_pins(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    simulator.pin("127.0.0.1", chain.pin)
    evil = serve(other)
    location = {"Location": f"https://127.0.0.1:{evil.port}/"}
    good = serve(chain, respond=lambda *_: (302, location, b""))
    with simulator.client(ca=authority.pem) as pins, pytest.raises(OSError) as caught:
        stdlib.opener(pins).open(f"https://{HOST}:{good.port}/", timeout=10)
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert error.host == "127.0.0.1"
    assert silent(evil)


@pytest.mark.parametrize("scheme", ["http", "ftp"])
@pytest.mark.parametrize("mode", list(Mode))
def test_cleartext_to_a_listed_host_is_refused_before_it_connects(
    simulator: DeliverySimulator, mode: Mode, scheme: str
) -> None:
    simulator.pin("api.example.com", simulator.delivery_pins[0], mode=mode)
    with simulator.client() as pins, pytest.raises(CleartextError):
        stdlib.opener(pins).open(f"{scheme}://API.example.com/", timeout=10)


@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_redirect_to_cleartext_is_refused(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any, scheme: str
) -> None:
    simulator.pin(HOST, chain.pin)
    location = {"Location": f"{scheme}://{HOST}/"}
    server = serve(chain, respond=lambda *_: (302, location, b""))
    with simulator.client(ca=authority.pem) as pins, pytest.raises(CleartextError):
        stdlib.opener(pins).open(f"https://{HOST}:{server.port}/", timeout=10)


@QUICK
def test_other_handlers_may_be_added_and_do_not_take_over(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    evil = serve(other)
    with simulator.client(ca=authority.pem) as pins:
        opener = stdlib.opener(
            pins, urllib.request.HTTPCookieProcessor(), urllib.request.HTTPSHandler()
        )
        with pytest.raises(OSError, match="no pinned key"):
            opener.open(f"https://{HOST}:{evil.port}/", timeout=10)
    assert silent(evil)


@QUICK
@pytest.mark.parametrize("presented", ["chain", "other"])
def test_a_proxy_is_tunnelled_through(
    simulator: DeliverySimulator,
    authority: Authority,
    chain: Chain,
    serve: Any,
    tunnel: Any,
    request: pytest.FixtureRequest,
    presented: str,
) -> None:
    simulator.pin("api.example.com", chain.pin)
    server = serve(request.getfixturevalue(presented))
    proxy = urllib.request.ProxyHandler({"https": tunnel.url, "http": tunnel.url})
    with simulator.client(ca=authority.pem) as pins:
        opener = stdlib.opener(pins, proxy)
        url = f"https://api.example.com:{server.port}/"
        if presented == "chain":
            opener.open(url, timeout=10).close()
        else:
            with pytest.raises(OSError, match="no pinned key"):
                opener.open(url, timeout=10)
            assert silent(server)
        with pytest.raises(CleartextError):
            opener.open("http://api.example.com/", timeout=10)
    [asked] = tunnel.asked
    assert asked.startswith(f"CONNECT api.example.com:{server.port} ")


def test_an_unlisted_host_may_speak_cleartext(simulator: DeliverySimulator, tunnel: Any) -> None:
    with simulator.client() as pins, pytest.raises(urllib.error.HTTPError, match="501") as caught:
        stdlib.opener(pins).open(tunnel.url, timeout=10)
    caught.value.close()


def test_each_request_of_a_kept_connection_has_its_token(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any
) -> None:
    """The one of its moment: the last has ended."""
    simulator.pin(HOST, chain.pin, token=True)
    simulator.token_lives = 5
    good = serve(chain)
    with simulator.client(ca=authority.pem) as pins:
        connection = stdlib.https_connection(pins, HOST, good.port)
        for _ in range(2):
            connection.request("POST", "/", b"x", {"X-Own": "1"})
            assert connection.getresponse().read() == b"ok"
        connection.close()
    good.wait_closed()
    heads = bytes(good.received).decode().split("POST / ")[1:]
    found = [line for head in heads for line in head.split("\r\n") if "Livepin-Token" in line]
    assert len({*found}) == 2
    assert good.connections == 1
    assert bytes(good.received).count(b"X-Own: 1") == 2


def test_a_connection_through_a_tunnel_has_the_token_of_its_end(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any, tunnel: Any
) -> None:
    simulator.pin("api.example.com", chain.pin, token=True)
    good = serve(chain)
    host, port = tunnel.url.removeprefix("http://").split(":")
    with simulator.client(ca=authority.pem) as pins:
        connection = stdlib.https_connection(pins, host, int(port))
        connection.set_tunnel("api.example.com", good.port)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"
        connection.close()
        token = pins.token("api.example.com").value
    assert f"Livepin-Token: {token}\r\n".encode() in bytes(good.received)
    assert len(tunnel.asked) == 1
