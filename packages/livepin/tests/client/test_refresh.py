"""When a client refreshes by itself, over real sockets: by use, timer and push, after failures."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import json
import logging
import socket
import ssl
import threading
import time

import livepin
import pytest
from livepin.client import client as client_module
from livepin.client import push as push_module
from livepin.client.threads import Background
from livepin.testing import Chain, RecordingServer, make_chain

HOST = "localhost"
CONFIG = "/v1/acme/config/main"


@pytest.fixture(scope="module")
def app_chain() -> Chain:
    return make_chain(HOST)


@pytest.fixture
def app(app_chain: Chain):
    """The app's own service, pinned."""
    with RecordingServer(app_chain) as server:
        yield server


@pytest.fixture
def every(delivery, app_chain):
    """Return a client whose config says to refresh every so many seconds."""
    with contextlib.ExitStack() as stack:

        def make(interval: float, **options: object) -> livepin.Client:
            delivery.simulator.refresh_interval = dt.timedelta(seconds=interval)
            delivery.simulator.pin(HOST, app_chain.pin)
            return stack.enter_context(delivery.client(ca=app_chain.authority.pem, **options))

        yield make


@contextlib.contextmanager
def connected(pins: livepin.Client, server: RecordingServer):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        with pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
            yield tls


def eventually(condition, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


_own: list[Background] = []


def own_threads() -> list[str]:
    """Return the names of the threads of this test's clients; those of others may still begin."""
    return [each.name for each in _own if each.is_alive()]


@pytest.fixture(autouse=True)
def _only_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    _own.clear()
    start = Background.start

    def record(self: Background) -> None:
        starter = threading.current_thread()
        if not isinstance(starter, Background) or starter in _own:
            _own.append(self)
        start(self)

    monkeypatch.setattr(Background, "start", record)


# -- by use ------------------------------------------------------------------------------------


def test_a_client_that_is_not_used_fetches_nothing(delivery, every) -> None:
    pins = every(1)
    assert delivery.paths == []
    assert pins.status().last_refresh is None
    assert own_threads() == []


def test_the_first_connection_starts_a_refresh(delivery, every, app) -> None:
    pins = every(300)
    delivery.publish()
    with connected(pins, app):
        assert pins.wait_for(delivery.simulator.version, timeout=10)
    eventually(lambda: pins.status().last_refresh is not None)
    assert pins.status().last_error is None


def test_within_the_interval_connections_fetch_nothing(delivery, every, app) -> None:
    pins = every(300)
    for _ in range(20):
        with connected(pins, app):
            pass
    eventually(lambda: pins.status().last_refresh is not None)
    for _ in range(20):
        with connected(pins, app):
            pass
    assert delivery.paths == [CONFIG]


def test_a_connection_after_the_interval_refreshes(delivery, every, app) -> None:
    pins = every(1)
    with connected(pins, app):
        pass
    eventually(lambda: len(delivery.paths) == 1)
    time.sleep(1.3)  # the interval, unused: nothing is fetched
    assert len(delivery.paths) == 1
    delivery.publish()
    with connected(pins, app):
        assert pins.wait_for(delivery.simulator.version, timeout=0.9)


def test_a_broken_connection_is_refused_as_tls_libraries_expect(every, app) -> None:
    """Between two judgements it may have been shut down; a ValueError would pass by every retry."""
    pins = every(300)
    for _ in range(20):  # what OpenSSL remembers of the end depends on who was quicker
        with connected(pins, app) as tls:
            tls.sendall(b"GET /1 HTTP/1.1\r\n\r\n")
            assert tls.recv(100).startswith(b"HTTP/1.1 200")
            socket.socket.shutdown(tls, socket.SHUT_RDWR)
            with contextlib.suppress(ConnectionResetError):  # how Python 3.13 puts it
                assert tls.recv(100) == b""
            pins.context()._judge.generation += 1
            with pytest.raises((ssl.SSLError, BrokenPipeError)):
                tls.sendall(b"GET /2 HTTP/1.1\r\n\r\n")
    assert b"/2" not in bytes(app.received)


# -- by timer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("push", [False, True], ids=["no-push", "push-blocked"])
def test_a_publish_reaches_a_kept_open_connection_within_the_interval(
    delivery, every, app, push: bool
) -> None:
    pins = every(1, push=push)
    with connected(pins, app) as tls:
        tls.sendall(b"GET /1 HTTP/1.1\r\n\r\n")
        assert tls.recv(100).startswith(b"HTTP/1.1 200")
        eventually(lambda: pins.status().last_refresh is not None)
        pins.context()._healer = None
        before = bytes(app.received)
        delivery.simulator.pin(HOST, make_chain(HOST).pin)
        began = time.monotonic()
        tls.settimeout(5)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert tls.recv(100) == b""  # it is closed from here
        assert time.monotonic() - began < 2
        assert pins.status().version == delivery.simulator.version
        with pytest.raises(ssl.SSLError):
            tls.sendall(b"GET /2 HTTP/1.1\r\n\r\n")
    assert bytes(app.received) == before
    assert not pins.status().push


def test_the_timer_goes_on_while_the_connection_is_open(delivery, every, app) -> None:
    pins = every(1)
    with connected(pins, app):
        eventually(lambda: len(delivery.paths) >= 3)
    count = len(delivery.paths)
    time.sleep(1.3)  # the interval, with nothing open
    assert len(delivery.paths) <= count + 1
    assert pins.status().open_connections == 0


def test_an_idle_client_does_not_spin(
    delivery, every, app, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = every(1)
    with connected(pins, app):
        pass
    eventually(lambda: pins.status().last_refresh is not None)
    looks = []
    context = pins.context()
    real = type(context).open_connections.fget

    def looked(self) -> int:
        if self is context:  # and not that of another client in this process
            looks.append(1)
        return real(self)

    monkeypatch.setattr(type(context), "open_connections", property(looked))
    start = time.monotonic()
    time.sleep(2.5)  # due after one second, and nobody there
    assert len(looks) <= time.monotonic() - start + 1


def test_a_shorter_interval_counts_at_once(delivery, every, app) -> None:
    pins = every(3600)
    with connected(pins, app):
        eventually(lambda: pins.status().last_refresh is not None)
        delivery.publish(refresh_interval=dt.timedelta(seconds=1))
        pins.refresh()
        delivery.publish()
        assert pins.wait_for(delivery.simulator.version, timeout=5)


# -- after failures ----------------------------------------------------------------------------


def test_a_failed_update_is_tried_again_within_two_seconds(delivery, every, app, caplog) -> None:
    pins = every(3600)
    delivery.answer = lambda _path, _headers: (500, {}, b"")
    with caplog.at_level(logging.WARNING, "livepin"), connected(pins, app):
        eventually(lambda: pins.status().last_error is not None)
        failed = time.monotonic()
        delivery.publish()
        delivery.answer = delivery.simulator.respond
        assert pins.wait_for(delivery.simulator.version, timeout=10)
        assert 0.5 < time.monotonic() - failed < 4
    assert "could not be refreshed" in caplog.text
    assert "found 500" in caplog.text


def test_the_pauses_after_failures_grow_however_many_connect(
    delivery, every, app, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_FIRST_RETRY", 0.2)
    times = []

    def failing(_path: str, _headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        times.append(time.monotonic())
        return 503, {}, b""

    pins = every(3600)
    delivery.answer = failing
    while len(times) < 5:
        with connected(pins, app):
            pass
    gaps = [after - before for before, after in itertools.pairwise(times)]
    for gap, least in zip(gaps, (0.1, 0.2, 0.4, 0.8), strict=False):
        assert gap >= least


def test_a_success_ends_the_pauses(delivery, every, app, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_FIRST_RETRY", 0.1)
    pins = every(1)
    times = []

    def answer(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        times.append(time.monotonic())
        return delivery.simulator.respond(path, headers) if len(times) == 6 else (500, {}, b"")

    delivery.answer = answer
    with connected(pins, app):
        eventually(lambda: len(times) >= 8)
    assert times[6] - times[5] > 0.8  # after the success the whole interval
    assert times[7] - times[6] < 0.45  # after the next failure the first pause, not the sixth


def test_a_retry_never_waits_longer_than_the_interval(delivery, every, app) -> None:
    pins = every(1)
    delivery.answer = lambda _path, _headers: (500, {}, b"")
    began = time.monotonic()
    with connected(pins, app):
        eventually(lambda: len(delivery.paths) >= 4)
    assert time.monotonic() - began < 6  # growing, they would take 7 seconds at least


# -- asked for ---------------------------------------------------------------------------------


def test_a_refresh_may_be_awaited(delivery, every) -> None:
    pins = every(300)
    delivery.publish()
    asyncio.run(pins.arefresh())
    assert pins.status().version == delivery.simulator.version
    delivery.answer = lambda _path, _headers: (500, {}, b"")
    with pytest.raises(livepin.FetchError):
        asyncio.run(pins.arefresh())


def test_waiting_for_a_version_ends_in_time(delivery, every) -> None:
    pins = every(300)
    assert pins.wait_for(delivery.simulator.version, timeout=0.01)
    assert not pins.wait_for(delivery.simulator.version + 1, timeout=0.01)


# -- push --------------------------------------------------------------------------------------


class Service:
    """A delivery service with events, spoken by hand over TLS."""

    def __init__(self, simulator) -> None:
        self._simulator = simulator
        self.streams: list[socket.socket] = []
        self.asked: list[str] = []

    def __call__(self, sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = sock.recv(65536)
            if not more:
                return
            head += more
        lines = head.decode().split("\r\n")
        path = lines[0].split(" ")[1]
        headers = {k.lower(): v.strip() for k, _, v in (each.partition(":") for each in lines[1:])}
        self.asked.append(path)
        if path.endswith("/events"):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            self.streams.append(sock)
            sock.recv(1)
            return
        status, _, body = self._simulator.respond(path, headers)
        sock.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    def tell(self) -> None:
        data = {"stream": "main", "root_version": 1, "version": self._simulator.version}
        for sock in self.streams:
            sock.sendall(b"data: " + json.dumps(data).encode() + b"\n\n")


def test_a_publish_is_enforced_at_once_by_push(delivery, every, app, odd_server) -> None:
    service = Service(delivery.simulator)
    server = odd_server(service, tls=True)
    delivery.publish(urls=(f"https://{HOST}:{server.port}",))
    pins = every(3600, push=True)
    with connected(pins, app) as tls:
        eventually(lambda: service.streams and pins.status().push)
        eventually(lambda: pins.status().last_refresh is not None)
        delivery.simulator.pin(HOST, make_chain(HOST).pin)
        service.tell()
        tls.settimeout(5)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert tls.recv(100) == b""
        assert pins.status().version == delivery.simulator.version
    pins.close()
    assert set(own_threads()) <= {"livepin-fetch"}  # which has told what it fetched, and ends
    eventually(lambda: own_threads() == [])
    assert not pins.status().push


def test_push_and_reports_never_use_the_recovery_channel(
    delivery, every, app, plain_server, odd_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_module, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(push_module, "_LONGEST_PAUSE", 0.02)
    recovery = plain_server(delivery.simulator.respond)
    blocked = odd_server(lambda _sock: None)
    url = f"https://{HOST}:{blocked.port}"
    delivery.publish(urls=(url,), recovery_urls=(recovery.url,))
    pins = every(1, push=True, reports=True)
    pins.context()._healer = None
    delivery.simulator.pin(HOST, make_chain(HOST).pin)
    pins.refresh()
    for _ in range(3):
        with pytest.raises(livepin.PinMismatchError), connected(pins, app):
            pass
    eventually(lambda: blocked.connections >= 10)  # refreshes, reports and attempts to listen
    pins.close()
    assert set(recovery.paths) == {CONFIG}


# -- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("push", [False, True])
def test_close_ends_every_thread(delivery, every, app, push: bool) -> None:
    pins = every(300, push=push, reports=True)
    with connected(pins, app):
        eventually(lambda: pins.status().last_refresh is not None)
        assert "livepin" in own_threads()
        began = time.monotonic()
        pins.close()
        assert time.monotonic() - began < 4
        eventually(lambda: own_threads() == [])
    pins.close()  # again


def test_a_closed_client_stays_pinned_and_starts_no_thread(delivery, every, app) -> None:
    pins = every(300, push=True)
    pins.close()
    with connected(pins, app):
        assert own_threads() == []
    pins.refresh()  # asked for, it still works
    delivery.simulator.pin(HOST, make_chain(HOST).pin)
    pins.refresh()
    pins.context()._healer = None
    with pytest.raises(livepin.PinMismatchError), connected(pins, app):
        pass
    assert {each.name for each in _own} == {"livepin-fetch"}  # of what was asked for


def test_two_clients_do_not_disturb_each_other(delivery, every, app) -> None:
    first, second = every(300), every(300)
    first.close()
    delivery.publish()
    with connected(second, app):
        assert second.wait_for(delivery.simulator.version, timeout=10)
