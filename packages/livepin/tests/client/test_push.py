"""Listening for events over real TLS: hints, bounded and never trusted."""

from __future__ import annotations

import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable

import pytest
from livepin.client import push as push_module
from livepin.client.backoff import Backoff
from livepin.client.push import PushListener
from livepin.testing import RecordingServer, make_chain

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
PATH = "/v1/acme/events"


def event(
    version: object, root_version: object = 1, stream: object = "main", **others: object
) -> bytes:
    data = {"stream": stream, "root_version": root_version, "version": version, **others}
    return b"event: config\ndata: " + json.dumps(data).encode() + b"\n\n"


class Service:
    """What an events service says to each connection, and what it was asked."""

    def __init__(self, *said: bytes, head: bytes = HEAD + b"\r\n", stay: bool = True) -> None:
        self.heads: list[bytes] = []
        self.times: list[float] = []
        self.gone = threading.Event()
        self._said, self._head, self._stay = said, head, stay

    def __call__(self, sock: socket.socket) -> None:
        self.times.append(time.monotonic())
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                return  # gone before it asked
            data += more
        self.heads.append(data)
        sock.sendall(self._head)
        for each in self._said:
            sock.sendall(each)
        if self._stay:
            try:
                sock.recv(1)
            finally:
                self.gone.set()


class Listening:
    """A listener, what it holds, and how often it was told to fetch."""

    def __init__(
        self,
        delivery,
        url: str,
        known: int = 5,
        learns: bool = True,
        fails: Exception | None = None,
    ) -> None:
        self.known, self.fetches = known, 0
        self.fetched = threading.Event()
        self._learns, self._fails = learns, fails
        self.listener = PushListener(
            delivery.updater(),
            url=lambda: url + PATH,
            stream="main",
            known=lambda: (1, self.known),
            newer=self._newer,
        )

    def _newer(self) -> None:
        self.fetches += 1
        if self._fails is not None:
            raise self._fails
        if self._learns:
            self.known = 7
        self.fetched.set()


@pytest.fixture
def listen(delivery, odd_server, monkeypatch) -> Callable[..., tuple[Listening, Service]]:
    """Start a service that says something, and a listener of it."""
    monkeypatch.setattr(push_module, "_SPREAD", 0.01)
    monkeypatch.setattr(push_module, "_FIRST_PAUSE", 0.1)
    started = []

    def start(service: Service, *, tls: bool = True, **options: object):
        server = odd_server(service, tls=tls)
        listening = Listening(delivery, f"https://localhost:{server.port}", **options)
        started.append(listening.listener)
        listening.listener.start()
        return listening

    yield start
    for listener in started:
        listener.stop()
        assert not (listener._thread and listener._thread.is_alive())


def eventually(condition, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_an_event_of_a_newer_version_leads_to_a_fetch(listen) -> None:
    service = Service(event(5), event(7), b": beat\n\n")
    listening = listen(service)
    assert listening.fetched.wait(10)
    assert listening.listener.connected.is_set()
    listening.listener.stop()
    assert not listening.listener.connected.is_set()
    assert listening.fetches == 1
    assert service.heads[0].startswith(b"GET /v1/acme/events HTTP/1.1\r\n")
    assert b"Accept: text/event-stream\r\n" in service.heads[0]


def test_an_event_of_a_newer_root_leads_to_a_fetch(listen) -> None:
    assert listen(Service(event(1, root_version=2)), learns=False).fetched.wait(10)


def test_a_chunked_stream_is_read(listen) -> None:
    data = event(7)
    chunk = b"%x\r\n%s\r\n" % (len(data), data)
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    assert listen(Service(chunk[:9], chunk[9:], head=head)).fetched.wait(10)


def test_whatever_goes_wrong_it_listens_again(listen, caplog) -> None:
    """Who ended silently would leave the app to its refresh interval for good."""
    listening = listen(Service(event(7)), fails=KeyError("a fetcher of the app's own"))
    eventually(lambda: listening.fetches >= 2)
    assert not caplog.records


GARBAGE = [
    b"data:\n",
    b"data: garbage\n",
    b"data: \xff\xfe\n",
    b"data: null\n",
    b"data: 7\n",
    b'data: "main"\n',
    b"data: [1, 2]\n",
    b"data: {}\n",
    b"data: " + b"[" * 4000 + b"\n",
    b"data: " + b'{"a":' * 700 + b"\n",
    b'data: {"stream":"main","root_version":1,"version":Infinity}\n',
    b'data: {"stream":"main","root_version":1,"version":1e999}\n',
    b'data: {"stream":"main","root_version":1,"version":' + b"9" * 4000 + b"\n",
    b'data: {"stream":"main","root_version":1,"version":7,"version":8}\n',
    event("7"),
    event(7.5),
    event(True, root_version=True),
    event(None),
    event([7]),
    event({"a": 1}),
    event(7, stream="canary"),
    event(7, stream=None),
    event(7, root_version=0),
    event(5),
    event(4),
    event(-1),
    b"Data: x\nid: 7\nretry: 1\n\n",
    b"\n\r\n\n",
]


def test_garbage_is_passed_over(listen) -> None:
    listening = listen(Service(*GARBAGE, event(7)))
    assert listening.fetched.wait(10)
    assert (listening.fetches, len(GARBAGE)) == (1, 28)
    assert listening.listener.connected.is_set()


def test_an_endless_line_takes_no_memory(listen) -> None:
    line = b"data: " + b"x" * (8 << 20)
    service = Service(line, b"\n", event(7))
    tracemalloc.start()
    try:
        assert listen(service).fetched.wait(20)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_a_chunk_of_a_negative_size_takes_no_memory(listen) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n"
    service = Service(b": beat\n" * (1 << 20), event(7), head=head)
    tracemalloc.start()
    try:
        assert listen(service).fetched.wait(20)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_a_flood_of_events_of_one_version_is_one_fetch(listen) -> None:
    listening = listen(Service(*[event(7)] * 500, event(7, stream="end"), stay=False))
    assert listening.fetched.wait(10)
    eventually(lambda: not listening.listener.connected.is_set())
    assert listening.fetches == 1


def test_an_event_is_not_lost_when_an_older_update_was_under_way(listen) -> None:
    """The update that was joined may have asked before the publish: ask once more, not for ever."""
    service = Service(event(7), stay=False)
    listening = listen(service, learns=False)
    eventually(lambda: listening.fetches == 2)
    eventually(lambda: not listening.listener.connected.is_set())
    assert listening.fetches == 2 * len(service.heads)


def pauses(asked: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return what was asked before a fetch: other threads ask for other reasons."""
    return [each for each in asked if each[0] == 0]


def test_a_fleet_is_spread_by_jitter(listen, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(push_module, "_SPREAD", 0.5)
    monkeypatch.setattr(
        push_module.chance, "uniform", lambda low, high: asked.append((low, high)) or high
    )
    service = Service(event(7))
    listening = listen(service)
    assert listening.fetched.wait(10)
    assert pauses(asked) == [(0, 0.5)]
    assert time.monotonic() - service.times[0] >= 0.5


@pytest.mark.parametrize(
    ("said", "spread"),
    [(4, 4), (0, 0), (-7, 0), (10**9, 10), (2.5, 0.5), (True, 0.5), ("4", 0.5), (None, 0.5)],
)
def test_the_service_may_say_how_widely_a_fleet_spreads(
    listen, monkeypatch: pytest.MonkeyPatch, said: object, spread: float
) -> None:
    asked = []
    monkeypatch.setattr(push_module, "_SPREAD", 0.5)
    monkeypatch.setattr(push_module.chance, "uniform", lambda *limits: asked.append(limits) or 0)
    listening = listen(Service(event(7, spread=said)))
    assert listening.fetched.wait(10)
    assert pauses(asked) == [(0, spread)]


def test_what_was_fetched_meanwhile_is_not_fetched_again(
    listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening: Listening | None = None

    def meanwhile(low: float, high: float) -> float:
        if listening is not None and low == 0:
            listening.known = 7
        return 0

    monkeypatch.setattr(push_module.chance, "uniform", meanwhile)
    listening = listen(Service(event(7), event(8)))
    eventually(lambda: listening.fetches >= 2)
    listening.listener.stop()
    assert listening.fetches == 2  # of version 8, which it did not learn by the first


def test_who_is_stopped_before_its_turn_does_not_fetch(
    listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Event()
    monkeypatch.setattr(push_module, "_SPREAD", 60.0)
    monkeypatch.setattr(push_module.chance, "uniform", lambda _low, high: waiting.set() or high)
    listening = listen(Service(event(7)))
    assert waiting.wait(10)
    began = time.monotonic()
    listening.listener.stop()
    assert time.monotonic() - began < 4
    assert listening.fetches == 0


# -- connecting again --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "service",
    [
        Service(stay=False),
        Service(stay=False, head=b"HTTP/1.1 503 X\r\nRetry-After: 0\r\n\r\n"),
        Service(stay=False, head=b"HTTP/1.1 307 X\r\nLocation: /elsewhere\r\n\r\n"),
        Service(stay=False, head=b"\0garbage\r\n\r\n"),
        Service(stay=False, head=b""),
    ],
    ids=["hangs-up", "full", "redirect", "garbage", "nothing"],
)
def test_the_pauses_between_connections_grow(listen, service: Service) -> None:
    listen(service)
    eventually(lambda: len(service.heads) >= 4)
    gaps = [after - before for before, after in zip(service.times, service.times[1:], strict=False)]
    for gap, least in zip(gaps[:3], (0.05, 0.1, 0.2), strict=True):
        assert gap >= least
    assert {head.split(b" ")[1] for head in service.heads} == {PATH.encode()}


def test_a_stream_that_lasted_is_connected_to_again_at_once(
    listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_module, "_SILENCE", 0.02)
    service = Service()
    listen(service)
    eventually(lambda: len(service.times) >= 7)
    # With growing pauses, six would take 3.15 seconds at least.
    assert service.times[6] - service.times[0] < 3


def test_a_stream_that_falls_silent_is_given_up(listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_module, "_SILENCE", 0.05)
    service = Service(event(5))
    listen(service)
    assert service.gone.wait(10)
    eventually(lambda: len(service.heads) >= 2)


@pytest.mark.parametrize("first", [0.1, 2.0])
def test_a_pause_about_doubles_up_to_the_longest(first: float) -> None:
    backoff = Backoff(first)
    for _ in range(2):
        base = first
        for _ in range(2000):
            assert base / 2 <= backoff.pause(300.0) <= base
            base = min(2 * base, 300.0)
        backoff.reset()


def test_a_pause_is_never_longer_than_the_longest_of_now() -> None:
    backoff = Backoff(2.0)
    assert backoff.pause(1.0) <= 1.0
    for _ in range(20):
        backoff.pause(300.0)
    assert backoff.pause(3.0) <= 3.0
    assert backoff.pause(300.0) <= 6.0


# -- starting and stopping ---------------------------------------------------------------------


def test_it_starts_once_and_never_after_it_was_stopped(listen) -> None:
    service = Service()
    listener = listen(service).listener
    eventually(listener.connected.is_set)
    thread = listener._thread
    listener.start()
    assert listener._thread is thread
    listener.stop()
    listener.stop()
    assert not thread.is_alive()
    assert service.gone.wait(10)
    listener.start()
    assert listener._thread is thread
    assert len(service.heads) == 1


def test_it_can_be_stopped_before_it_was_started(delivery) -> None:
    listener = Listening(delivery, "https://localhost:1").listener
    listener.stop()
    listener.start()
    assert listener._thread is None


@pytest.mark.parametrize("head", [HEAD + b"Connection: close\r\n\r\n", b"", HEAD])
def test_it_stops_at_once_whatever_it_waits_for(listen, head: bytes) -> None:
    service = Service(head=head)
    listening = listen(service)
    eventually(lambda: service.heads)
    if head.endswith(b"\r\n\r\n"):
        eventually(listening.listener.connected.is_set)
    began = time.monotonic()
    listening.listener.stop()
    assert time.monotonic() - began < 4
    assert service.gone.wait(10)


def test_it_stops_in_the_middle_of_a_handshake(listen) -> None:
    shaking, over = threading.Event(), threading.Event()

    def silent(sock: socket.socket) -> None:
        sock.recv(1)
        shaking.set()
        over.wait(10)

    listening = listen(silent, tls=False)
    assert shaking.wait(10)
    began = time.monotonic()
    listening.listener.stop()
    over.set()
    assert time.monotonic() - began < 4


def test_a_man_in_the_middle_of_the_events_gets_no_byte(delivery, listen) -> None:
    attacker = make_chain("localhost", authority=delivery.chain.authority)
    with RecordingServer(attacker) as server:
        listening = Listening(delivery, f"https://localhost:{server.port}")
        listening.listener.start()
        eventually(lambda: server.connections >= 2)
        listening.listener.stop()
        server.wait_closed()
        assert bytes(server.received) == b""
