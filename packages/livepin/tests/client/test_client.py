"""The client as apps hold it: real TLS servers, changing pins, threads, event loops and forks."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import http.client
import json
import logging
import os
import select
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from livepin.client import Answer, Client, FileStore, Request
from livepin.client.sources import load_bootstrap
from livepin.documents import Mode, Stale
from livepin.errors import (
    ConfigurationError,
    FetchError,
    MalformedError,
    PinMismatchError,
    PinningError,
    UnlistedHostError,
    VerificationError,
)
from livepin.pins import Pin
from livepin.testing import (
    Chain,
    DeliverySimulator,
    RecordingServer,
    assert_pinned,
)

HOST = "localhost"
SOON = 0.3  # seconds until a late pin is published


def silent(server: RecordingServer) -> bool:
    """Tell, once the client is gone, that no application byte reached the server."""
    server.wait_closed()
    return bytes(server.received) == b""


def get(pins: Client, port: int, host: str = HOST) -> int:
    connection = http.client.HTTPSConnection(host, port, timeout=10, context=pins.context())
    try:
        connection.request("GET", "/", headers={"Authorization": "Bearer s3cret"})
        return connection.getresponse().status
    finally:
        connection.close()


def soon(step: Callable[..., object], *args: object) -> threading.Timer:
    timer = threading.Timer(SOON, step, args)
    timer.start()
    return timer


class Recorder:
    """A fetcher that keeps requests, and lets a simulator answer them."""

    def __init__(self, simulator: DeliverySimulator) -> None:
        self.requests: list[Request] = []
        self.arrived = threading.Condition()
        self._simulator = simulator

    def fetch(self, request: Request) -> Answer:
        with self.arrived:
            self.requests.append(request)
            self.arrived.notify_all()
        return self._simulator.fetch(request)

    def wait_for(self, path: str, count: int = 1, timeout: float = 10.0) -> list[Request]:
        with self.arrived:
            found = self.arrived.wait_for(lambda: self._asked(path)[count - 1 :], timeout)
            assert found, f"{path} was not asked for {count} times"
            return self._asked(path)

    def _asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if path in request.url]


# -- after an emergency certificate change -----------------------------------------------------


def test_the_very_first_request_succeeds_when_the_pin_comes_late(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)
    with simulator.client(ca=authority.pem) as pins:
        soon(simulator.pin, HOST, other.pin)
        assert get(pins, server.port) == 200
    assert server.connections == 1


def test_who_waits_for_a_late_pin_passes_all_caches(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    fetcher = Recorder(simulator)
    with simulator.client(ca=authority.pem, fetcher=fetcher) as pins:
        pins.refresh()
        [usual] = fetcher.wait_for("/config/")
        assert "Cache-Control" not in usual.headers
        soon(simulator.pin, HOST, other.pin)
        assert get(pins, serve(other).port) == 200
        asked = fetcher.wait_for("/config/")
        assert any(each.headers.get("Cache-Control") == "no-cache" for each in asked)


def test_thirty_threads_are_healed_together(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)
    outcomes: list[int] = []
    with simulator.client(ca=authority.pem) as pins:
        threads = [
            threading.Thread(target=lambda: outcomes.append(get(pins, server.port)))
            for _ in range(30)
        ]
        soon(simulator.pin, HOST, other.pin)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert outcomes == [200] * 30
    assert server.connections == 30
    assert len(simulator.fetched) < 10


@pytest.mark.usefixtures("quick_healing")
def test_an_attacker_is_refused_although_delivery_answers(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)
    with simulator.client(ca=authority.pem) as pins:
        for _ in range(2):
            with pytest.raises(PinMismatchError):
                get(pins, server.port)
        assert get(pins, serve(chain).port) == 200
    assert silent(server)


def test_the_traffic_of_other_hosts_goes_on_while_one_waits(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    simulator.pin("127.0.0.1", chain.pin)
    waiting, going_on = serve(other), serve(chain)
    done = threading.Event()
    with simulator.client(ca=authority.pem) as pins:
        thread = threading.Thread(target=lambda: get(pins, waiting.port) == 200 and done.set())
        thread.start()
        requests = 0
        while not (waiting.handshakes and requests >= 3):
            assert get(pins, going_on.port, "127.0.0.1") == 200
            requests += 1
        assert not done.is_set()
        simulator.pin(HOST, other.pin)
        assert done.wait(timeout=10)
        thread.join(timeout=10)


def test_a_blocking_handshake_on_an_event_loop_does_not_wait(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)

    async def run() -> float:
        start = time.monotonic()
        with pytest.raises(PinMismatchError):
            get(pins, server.port)
        return time.monotonic() - start

    with simulator.client(ca=authority.pem) as pins:
        assert asyncio.run(run()) < 2
    assert silent(server)


@pytest.mark.parametrize("kind", ["socket", "buffers"])
def test_a_handshake_that_must_not_block_does_not_wait(
    simulator: DeliverySimulator,
    authority: Any,
    chain: Chain,
    other: Chain,
    serve: Any,
    kind: str,
) -> None:
    """Event loops other than asyncio's have such handshakes too."""
    simulator.pin(HOST, chain.pin)
    server = serve(other)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with simulator.client(ca=authority.pem) as pins:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            if kind == "socket":
                tls: Any = pins.context().wrap_socket(
                    sock, server_hostname=HOST, do_handshake_on_connect=False
                )
                tls.setblocking(False)
            else:
                tls = pins.context().wrap_bio(incoming, outgoing, server_hostname=HOST)
            start = time.monotonic()
            while True:
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    if kind == "socket":
                        assert select.select([tls], [], [], 10)[0]
                    else:
                        sock.sendall(outgoing.read())
                        incoming.write(sock.recv(65536))
                except PinMismatchError:
                    break
            assert time.monotonic() - start < 2
            if kind == "socket":
                tls.close()
    assert silent(server)


async def mismatch_of(pins: Client, port: int) -> PinMismatchError:
    with pytest.raises(PinMismatchError) as caught:
        await asyncio.open_connection("127.0.0.1", port, ssl=pins.context(), server_hostname=HOST)
    return caught.value


def test_a_handshake_that_may_not_wait_fetches_newer_pins_for_the_next(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)

    async def again() -> None:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=pins.context(), server_hostname=HOST
        )
        writer.close()
        await writer.wait_closed()

    with simulator.client(ca=authority.pem, push=False) as pins:
        pins.refresh()
        asyncio.run(mismatch_of(pins, serve(other).port))  # has newer pins looked for, in vain
        simulator.pin(HOST, other.pin)
        assert pins.wait_for(simulator.version, timeout=10)
        asyncio.run(again())


async def longest_lag(until: asyncio.Future[Any]) -> float:
    longest = 0.0
    while not until.done():
        start = time.monotonic()
        await asyncio.sleep(0.005)
        longest = max(longest, time.monotonic() - start)
    return longest


def test_fifty_tasks_wait_for_newer_pins_and_the_event_loop_goes_on(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)

    async def run() -> None:
        error = await mismatch_of(pins, server.port)
        healed = asyncio.gather(*(pins.aheal(error) for _ in range(50)))
        lag = asyncio.ensure_future(longest_lag(healed))
        loop = asyncio.get_running_loop()
        # Names are looked up on the loop's own executor: it must not be full of waiting heals.
        for _ in range(10):
            await asyncio.wait_for(loop.getaddrinfo("localhost", 443), timeout=5)
        assert not healed.done()
        soon(simulator.pin, HOST, other.pin)
        assert await healed == [True] * 50
        assert await lag < SOON

    with simulator.client(ca=authority.pem) as pins:
        asyncio.run(run())
    assert len(simulator.fetched) < 10


def test_a_task_that_is_cancelled_does_not_take_the_others_with_it(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)

    async def run() -> None:
        error = await mismatch_of(pins, server.port)
        first, second = (asyncio.ensure_future(pins.aheal(error)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        simulator.pin(HOST, other.pin)
        assert await second
        assert first.cancelled()

    with simulator.client(ca=authority.pem) as pins:
        asyncio.run(run())


def test_other_libraries_may_wait_for_newer_pins_in_a_thread_too(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    with simulator.client(ca=authority.pem) as pins:
        error = asyncio.run(mismatch_of(pins, serve(other).port))
        soon(simulator.pin, HOST, other.pin)
        assert pins.heal(error)


@pytest.mark.usefixtures("quick_healing")
def test_a_task_is_told_when_no_newer_pin_comes(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)

    async def run() -> None:
        assert not await pins.aheal(await mismatch_of(pins, server.port))

    with simulator.client(ca=authority.pem) as pins:
        asyncio.run(run())
    assert silent(server)


# -- when pins change --------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_healing")
def test_idle_connections_that_no_longer_match_are_closed_and_others_kept(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    simulator.pin("127.0.0.1", chain.pin)
    server = serve(chain)
    with simulator.client(ca=authority.pem) as pins:
        by_host = {
            host: http.client.HTTPSConnection(host, server.port, context=pins.context(), timeout=10)
            for host in (HOST, "127.0.0.1")
        }
        for connection in by_host.values():
            connection.request("GET", "/")
            connection.getresponse().read()
        assert pins.status().open_connections == 2
        before = server.requests
        simulator.pin(HOST, other.pin)
        pins.refresh()
        by_host["127.0.0.1"].request("GET", "/")
        assert by_host["127.0.0.1"].getresponse().read() == b"ok"
        with pytest.raises(PinMismatchError):
            by_host[HOST].request("GET", "/")
        assert server.requests == before + 1
        for connection in by_host.values():
            connection.close()
        assert pins.status().open_connections == 0


def test_pins_are_refreshed_by_themselves_while_a_connection_is_open(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.refresh_interval = dt.timedelta(seconds=1)
    simulator.pin(HOST, chain.pin)
    server = serve(chain)
    with simulator.client(ca=authority.pem) as pins:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            with pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
                simulator.pin(HOST, other.pin)
                assert pins.wait_for(simulator.version, timeout=10)
                assert tls.gettimeout() == 10
    assert silent(server)


@pytest.mark.parametrize("ends", ["the pin", "the grace period"])
def test_an_open_connection_ends_with_its_pin_although_no_newer_config_comes(
    simulator: DeliverySimulator,
    authority: Any,
    chain: Chain,
    other: Chain,
    serve: Any,
    quick_healing: None,
    ends: str,
) -> None:
    simulator.refresh_interval = dt.timedelta(seconds=1)
    if ends == "the pin":
        over = simulator.clock.now + dt.timedelta(hours=1)
        simulator.pin(HOST, Pin(chain.pin.sha256, not_after=over), other.pin)
    else:
        simulator.pin(HOST, chain.pin, stale=Stale.REFUSE)
    server = serve(chain)
    with simulator.client(ca=authority.pem) as pins:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            with pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
                simulator.clock.advance(days=60)
                with contextlib.suppress(ConnectionResetError):  # how Python 3.13 puts it
                    assert tls.recv(1) == b""  # until it is shut down
                # Which error depends on how far the shut-down has come.
                with pytest.raises(PinningError):
                    tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert silent(server)


def test_a_wanted_connection_refreshes_pins_that_are_old(
    simulator: DeliverySimulator, authority: Any, chain: Chain, serve: Any
) -> None:
    simulator.refresh_interval = dt.timedelta(seconds=1)
    simulator.pin(HOST, chain.pin)
    fetcher = Recorder(simulator)
    server = serve(chain)
    with simulator.client(ca=authority.pem, fetcher=fetcher) as pins:
        assert get(pins, server.port) == 200
        fetcher.wait_for("/config/")
        time.sleep(1.1)  # the interval itself; there is no shorter one
        assert get(pins, server.port) == 200
        fetcher.wait_for("/config/", 2)


# -- reports -----------------------------------------------------------------------------------


def test_a_mismatch_that_is_only_reported_is_sent_to_the_service(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin, mode=Mode.REPORT)
    server = serve(other)
    fetcher = Recorder(simulator)
    with simulator.client(ca=authority.pem, fetcher=fetcher, reports=True) as pins:
        for _ in range(3):
            assert get(pins, server.port) == 200
        [sent] = fetcher.wait_for("/v1/acme/reports")
        assert sent.context is pins._updater.delivery_context()
    assert sent.body is not None
    report = json.loads(sent.body)
    assert report == {
        "host": HOST,
        "chain": [str(other.pin), str(authority.pin)],
        "root_version": simulator.root_version,
        "config_version": simulator.version,
        "at": int(simulator.clock().timestamp()),
        "stream": "main",
    }


@pytest.mark.usefixtures("quick_healing")
def test_a_refused_mismatch_is_reported_and_logged_once(
    simulator: DeliverySimulator,
    authority: Any,
    chain: Chain,
    other: Chain,
    serve: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)
    fetcher = Recorder(simulator)
    with caplog.at_level(logging.WARNING, "livepin"):
        with simulator.client(ca=authority.pem, fetcher=fetcher, reports=True) as pins:
            for _ in range(2):
                with pytest.raises(PinMismatchError):
                    get(pins, server.port)
            fetcher.wait_for("/v1/acme/reports")
    assert sum("no pinned key" in record.getMessage() for record in caplog.records) == 1
    assert silent(server)


def test_reports_that_cannot_be_sent_are_dropped(
    simulator: DeliverySimulator,
    authority: Any,
    chain: Chain,
    other: Chain,
    serve: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    simulator.pin(HOST, chain.pin, mode=Mode.REPORT)
    simulator.reachable = False
    fetcher = Recorder(simulator)
    with caplog.at_level(logging.DEBUG, "livepin"):
        with simulator.client(ca=authority.pem, fetcher=fetcher, reports=True) as pins:
            assert get(pins, serve(other).port) == 200
            fetcher.wait_for("/v1/acme/reports")
    assert any("a report could not be sent" in record.getMessage() for record in caplog.records)


# -- what apps ask a client --------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["api.example.com", "API.Example.Com.", "api.example.com."])
def test_a_domain_is_found_in_any_spelling(simulator: DeliverySimulator, asked: str) -> None:
    simulator.pin("api.example.com", Pin(bytes(32)))
    with simulator.client() as pins:
        found = pins.domain(asked)
        assert found is not None
        assert found.pattern == "api.example.com"
        assert pins.domain("www.example.com") is None


def test_assert_pinned_fails_unless_pins_are_enforced(simulator: DeliverySimulator) -> None:
    simulator.pin("api.example.com", Pin(bytes(32)))
    simulator.pin("*.test.example", Pin(bytes(32)), mode=Mode.REPORT)
    simulator.pin("off.example", Pin(bytes(32)), mode=Mode.OFF)
    with simulator.client() as pins:
        assert_pinned(pins, "API.example.com")
        for host, words in [
            ("www.example.com", "no domain of the config covers it"),
            ("a.test.example", "its mode is report"),
            ("off.example", "its mode is off"),
        ]:
            with pytest.raises(AssertionError, match=words):
                assert_pinned(pins, host)


def test_pins_are_given_to_other_layers_as_base64(
    simulator: DeliverySimulator, chain: Chain, other: Chain
) -> None:
    now = simulator.clock()
    simulator.pin("api.example.com", chain.pin, Pin(other.pin.sha256, now + dt.timedelta(days=1)))
    simulator.pin("*.example.com", other.pin, Pin(None), mode=Mode.REPORT)
    simulator.pin("off.example.com", other.pin, mode=Mode.OFF)
    texts = {each: str(each.pin).removeprefix("sha256/") for each in (chain, other)}
    with simulator.client() as pins:
        assert pins.pins() == pins.pins("public-key-sha256")
        assert pins.pins() == {"api.example.com": [texts[chain]], "*.example.com": [texts[other]]}
        simulator.clock.advance(days=2)  # type: ignore[attr-defined]
        assert pins.pins()["api.example.com"] == [texts[chain], texts[other]]
        with pytest.raises(ConfigurationError, match="public-key-sha256"):
            pins.pins("public-key-sha512")


def test_no_pin_in_force_is_never_an_empty_list_to_other_layers(
    simulator: DeliverySimulator, chain: Chain
) -> None:
    later = simulator.clock() + dt.timedelta(days=9)
    simulator.pin("api.example.com", Pin(chain.pin.sha256, later))
    with simulator.client() as pins:
        assert pins.pins() == {"api.example.com": ["A" * 43 + "="]}


def test_status_tells_what_is_trusted_and_how_the_client_fares(
    simulator: DeliverySimulator,
) -> None:
    simulator.pin("api.example.com", Pin(bytes(32)))
    with simulator.client() as pins:
        status = pins.status()
        assert (status.account, status.stream) == ("acme", "main")
        assert (status.root_version, status.version, status.domains) == (1, 2, 1)
        assert status.issued == simulator.clock()
        assert status.expires == simulator.clock() + dt.timedelta(days=14)
        assert not status.stale
        assert not status.clock_wrong
        assert not status.push
        assert status.last_refresh is None
        assert status.last_error is None
        assert status.store_problem is None
        pins.refresh()
        assert 0 <= (pins.status().last_refresh or 0) < 60
        simulator.clock.advance(days=15)  # type: ignore[attr-defined]
        assert pins.status().stale
        simulator.clock.advance(days=-100)  # type: ignore[attr-defined]
        assert pins.status().clock_wrong


def test_a_refresh_raises_what_kept_it_from_newer_pins(simulator: DeliverySimulator) -> None:
    with simulator.client() as pins:
        simulator.reachable = False
        with pytest.raises(FetchError, match="no network"):
            pins.refresh()
        assert pins.status().last_error_rule is None
        assert "no network" in (pins.status().last_error or "")
        simulator.reachable = True
        good = simulator.publish()
        simulator.config = simulator.sign(simulator.document(), key=simulator.keys["root"])
        with pytest.raises(VerificationError):
            asyncio.run(pins.arefresh())
        assert pins.status().last_error_rule == 2
        assert pins.status().version == simulator.version - 1
        simulator.config = good
        asyncio.run(pins.arefresh())
        assert pins.status().last_error is None


def test_a_refresh_is_not_answered_by_what_was_fetched_before_it(
    simulator: DeliverySimulator,
) -> None:
    """An update that is under way may hold the config that is being replaced just now."""

    class Slow:
        fetched, release = threading.Event(), threading.Event()

        def fetch(self, request: Request) -> Answer:
            answer = simulator.fetch(request)
            self.fetched.set()
            assert self.release.wait(timeout=10)
            return answer

    slow = Slow()
    with simulator.client(fetcher=slow) as pins:
        first = threading.Thread(target=pins.refresh)
        first.start()
        assert slow.fetched.wait(timeout=10)
        simulator.publish()
        second = threading.Thread(target=pins.refresh)
        second.start()
        threading.Timer(0.05, slow.release.set).start()
        for thread in (first, second):
            thread.join(timeout=10)
        assert pins.status().version == simulator.version


def test_a_client_waits_for_a_version(simulator: DeliverySimulator) -> None:
    with simulator.client() as pins:
        assert pins.wait_for(simulator.version, timeout=0)
        assert not pins.wait_for(simulator.version + 1, timeout=0.01)
        simulator.publish()
        soon(pins.refresh)
        assert pins.wait_for(simulator.version, timeout=10)


@pytest.mark.parametrize("form", ["object", "path", "text path", "bytes", "json", "one string"])
def test_a_bootstrap_may_come_in_each_of_its_forms(
    simulator: DeliverySimulator, tmp_path: Path, form: str
) -> None:
    bootstrap = simulator.bootstrap()
    path = tmp_path / "bootstrap.json"
    path.write_bytes(bootstrap.to_json())
    source: Any = {
        "object": bootstrap,
        "path": path,
        "text path": str(path),
        "bytes": bootstrap.to_json(),
        "json": bootstrap.to_json().decode(),
        "one string": bootstrap.to_text(),
    }[form]
    assert load_bootstrap(source) == bootstrap


def test_a_bootstrap_that_cannot_be_read_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the bootstrap") as caught:
        Client(tmp_path / "none.json")
    assert "livepin bootstrap" in (caught.value.hint or "")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(MalformedError):
        Client(tmp_path / "broken.json")


def test_unlisted_is_one_of_two_words(simulator: DeliverySimulator) -> None:
    with pytest.raises(ConfigurationError, match="found 'allow'"):
        simulator.client(unlisted="allow")


def test_unlisted_hosts_are_refused_where_that_is_wanted(
    simulator: DeliverySimulator, authority: Any, chain: Chain, serve: Any
) -> None:
    server = serve(chain)
    with simulator.client(ca=authority.pem, unlisted="refuse") as pins:
        with pytest.raises(UnlistedHostError):
            get(pins, server.port)
    assert silent(server)
    with simulator.client(ca=authority.pem) as pins:
        assert get(pins, server.port) == 200
        assert pins.status().unlisted_hosts == (HOST,)


def test_a_store_outlives_the_client(simulator: DeliverySimulator, tmp_path: Path) -> None:
    bootstrap, path = simulator.bootstrap(), tmp_path / "state"
    options: dict[str, Any] = {"clock": simulator.clock, "fetcher": simulator, "push": False}
    with Client(bootstrap, store=path, **options) as pins:
        simulator.publish()
        pins.refresh()
    for store in (str(path), FileStore(path)):
        with Client(bootstrap, store=store, **options) as pins:
            assert pins.status().version == simulator.version
    with Client(bootstrap, **options) as pins:
        assert pins.status().version == simulator.version - 1


def test_connections_stay_pinned_after_close(
    simulator: DeliverySimulator, authority: Any, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(chain)
    pins = simulator.client(ca=authority.pem)
    pins.close()
    pins.close()
    assert get(pins, server.port) == 200
    simulator.pin(HOST, other.pin)
    pins.refresh()
    before = server.requests
    with pytest.raises(PinMismatchError):
        asyncio.run(_connect(pins, server.port))
    assert server.requests == before


async def _connect(pins: Client, port: int) -> None:
    await asyncio.open_connection("127.0.0.1", port, ssl=pins.context(), server_hostname=HOST)


# -- forks -------------------------------------------------------------------------------------

FORK = """
    import http.client, logging, os, signal, sys, tempfile, threading
    from livepin.client import FileStore
    from livepin.errors import PinMismatchError
    from livepin.testing import DeliverySimulator, RecordingServer, make_authority, make_chain

    class SlowStore(FileStore):
        entered, release = threading.Event(), threading.Event()

        def save(self, data):
            self.entered.set()
            self.release.wait(30)
            super().save(data)

    def get(port, host="localhost"):
        connection = http.client.HTTPSConnection(host, port, timeout=10, context=pins.context())
        connection.request("GET", "/")
        return connection.getresponse().status

    logging.disable(logging.CRITICAL)
    authority = make_authority()
    chain, other = (make_chain("localhost", "127.0.0.1", authority=authority) for _ in range(2))
    simulator = DeliverySimulator()
    simulator.pin("localhost", chain.pin)
    good, evil = RecordingServer(chain), RecordingServer(other)
    store = SlowStore(os.path.join(tempfile.mkdtemp(), "state"))
    pins = simulator.client(ca=authority.pem, store=store, reports=True)
    assert get(good.port) == 200
    simulator.publish()
    refresh = threading.Thread(target=pins.refresh)
    refresh.start()
    assert store.entered.wait(10)  # a thread of the parent holds the locks of trust and store
    held, release = threading.Event(), threading.Event()

    def hold():
        with pins._judge._lock:
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)  # and another one that of the warnings
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        store.release.set()
        assert pins.wait_for(1, timeout=0)
        assert get(good.port) == 200
        assert get(good.port, "127.0.0.1") == 200  # unlisted, so it is noted and warned about
        simulator.pin("localhost", other.pin)
        pins.refresh()
        assert pins.status().version == simulator.version
        assert get(evil.port) == 200  # whose key is the pinned one now, in the child
        try:
            pins.context()._healer = None
            get(good.port)
        except PinMismatchError:
            os._exit(42)
        os._exit(1)
    store.release.set()
    _, status = os.waitpid(child, 0)
    release.set()
    refresh.join(10)
    assert not refresh.is_alive()
    assert get(good.port) == 200
    print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_goes_on_pinned_whatever_its_parents_threads_held() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORK)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("42", "")
