"""Listeners: real ports, real TLS, and words where it cannot listen."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from livepin.errors import ConfigurationError
from livepin_server.listener import Listener, available_port


async def hello(_scope: Any, proto: Any) -> None:
    """Answer with a word."""
    proto.response_str(200, [], "hello")


@pytest.fixture
def make(opened) -> Callable[..., Listener]:
    """Make a listener with the TLS identity of a data folder."""

    def one(app: Any = hello, host: str = "127.0.0.1", port: int = 0, **options: Any) -> Listener:
        identity = opened.identity
        return Listener(
            app, host, port, interface="rsgi", certificate=identity.certificate,
            key=identity.key, most_connections=16, **options,
        )  # fmt: skip

    return one


def within(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine, for a minute at most."""
    asyncio.run(asyncio.wait_for(main(), 60))


def ask(host: str, port: int, context: ssl.SSLContext) -> bytes:
    """Return the answer to a request."""
    with socket.create_connection((host, port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            found = b""
            while more := sock.recv(4096):
                found += more
            return found


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::", "localhost"])
def test_a_listener_answers_where_it_says(opened, make, host: str) -> None:
    context = ssl.create_default_context(cadata=opened.identity.ca)

    async def main() -> None:
        listener = make(host=host)
        await listener.start()
        target = "::1" if ":" in host else "127.0.0.1"
        assert (await asyncio.to_thread(ask, target, listener.port, context)).endswith(b"hello")
        await listener.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(ask, target, listener.port, context)

    within(main)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(opened, make, version) -> None:
    context = ssl.create_default_context(cadata=opened.identity.ca)
    context.minimum_version = context.maximum_version = version

    async def main() -> None:
        listener = make()
        await listener.start()
        found = await asyncio.to_thread(ask, "127.0.0.1", listener.port, context)
        assert found.endswith(b"hello")
        await listener.stop()

    within(main)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused(opened, make) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=opened.identity.ca)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    async def main() -> None:
        listener = make()
        await listener.start()
        with pytest.raises(ssl.SSLError, match=r"(?i)alert|version|protocol"):
            await asyncio.to_thread(ask, "127.0.0.1", listener.port, context)
        await listener.stop()

    within(main)


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]
)
def test_a_port_in_use_is_said_with_what_to_do(host: str, family: int) -> None:
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            available_port(host, port)
    assert str(caught.value) == f"cannot listen on {host}:{port}: Address already in use"
    assert caught.value.hint == "is another server running? choose another port in livepin.toml"


@pytest.mark.parametrize("host", ["192.0.2.1", "nobody.invalid", "256.1.1.1", "fe80::zz"])
def test_an_address_that_is_not_this_machines_is_said(host: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"cannot listen on {host}:8443: ")):
        available_port(host, 8443)


def test_nobody_can_take_the_port_before_it_is_listened_on(make) -> None:
    async def main() -> None:
        listener = make()
        with pytest.raises(OSError, match="Address already in use"):
            socket.create_server(("127.0.0.1", listener.port))
        with pytest.raises(ConfigurationError, match="Address already in use"):
            make(port=listener.port)  # as of a second server, which would share it
        await listener.stop()

    within(main)


def test_a_port_that_was_let_go_is_not_mistaken_for_ours(make) -> None:
    async def main() -> None:
        listener = make()
        await listener.stop()
        with socket.create_server(("127.0.0.1", listener.port)):
            with pytest.raises(ConfigurationError, match=r"cannot listen on 127\.0\.0\.1:"):
                await listener.start()

    within(main)


def test_two_listeners_of_one_port_are_refused(make) -> None:
    async def main() -> None:
        first = make()
        await first.start()
        with pytest.raises(ConfigurationError, match="Address already in use"):
            make(port=first.port)
        await first.stop()

    within(main)


def test_stopping_what_never_started_lets_go_of_the_port(make) -> None:
    async def main() -> None:
        listener = make()
        await listener.ended()
        await listener.stop()
        assert available_port("127.0.0.1", listener.port) == listener.port

    within(main)


def test_a_request_under_way_is_finished_when_stopping(opened, make) -> None:
    context = ssl.create_default_context(cadata=opened.identity.ca)

    async def main() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_scope: Any, proto: Any) -> None:
            begun.set()
            await go_on.wait()
            proto.response_str(200, [], "finished")

        listener = make(slow)
        await listener.start()
        asking = asyncio.create_task(asyncio.to_thread(ask, "127.0.0.1", listener.port, context))
        await begun.wait()
        stopping = asyncio.create_task(listener.stop())
        await asyncio.sleep(0)
        go_on.set()
        assert (await asking).endswith(b"finished")
        await stopping
        await listener.ended()

    within(main)


def test_a_request_that_never_ends_does_not_keep_the_server_from_stopping(opened, make) -> None:
    context = ssl.create_default_context(cadata=opened.identity.ca)

    async def main() -> None:
        begun = asyncio.Event()

        async def endless(_scope: Any, _proto: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

        listener = make(endless, stop_time=0.1)
        await listener.start()
        with socket.create_connection(("127.0.0.1", listener.port)) as plain:
            sock = await asyncio.to_thread(context.wrap_socket, plain, server_hostname="127.0.0.1")
            with sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await begun.wait()
                await asyncio.wait_for(listener.stop(), 5)

    within(main)
