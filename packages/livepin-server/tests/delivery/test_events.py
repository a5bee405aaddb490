"""Event streams: what they say, when, to whom, and that they leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import ssl
import time
import tracemalloc
from contextlib import ExitStack, suppress

import pytest
from livepin_server.delivery import events as events_module
from livepin_server.delivery.events import Events
from livepin_server.delivery.snapshot import Snapshot
from livepin_server.services.model import AccountDocuments, ConfigDocument, NewDomain
from livepin_server.telemetry.metrics import Metrics

EVENTS = b"GET /v1/acme/events HTTP/1.1\r\nHost: x\r\n\r\n"


class Stream:
    """An open event stream."""

    def __init__(self, server) -> None:
        self.sock = server.connect()
        self.sock.sendall(EVENTS)
        self.text = b""

    def until(self, expected: str) -> str:
        """Read up to a text."""
        while expected.encode() not in self.text:
            more = self.sock.recv(65536)
            assert more, self.text
            self.text += more
        return self.text.decode()

    def rest(self) -> bytes:
        """Read to the end."""
        found = b""
        with suppress(ConnectionError, ssl.SSLError):
            while more := self.sock.recv(65536):
                found += more
        return found

    def close(self) -> None:
        """Go away, without a word."""
        self.sock.close()


def publish(server, new_pin, intent, pattern: str = "api.example.com") -> int:
    """Publish a new version; return its number."""
    new = NewDomain(pattern=pattern, pins=[new_pin()])
    return server.services.domains.add("acme", new, intent).version


def open_streams(server) -> float | None:
    """How many streams the server counts."""
    return server.metrics.registry.get_sample_value("livepin_event_streams")


def test_a_stream_says_the_versions_of_now_first(start_server) -> None:
    stream = Stream(start_server())
    text = stream.until("\n\n\r\n")
    head, _, body = text.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 ")
    for line in ("content-type: text/event-stream", "cache-control: no-store"):
        assert line in head
    assert 'event: config\ndata: {"stream":"main","root_version":1,"version":1}\n\n' in body
    stream.close()


def test_a_large_fleet_is_told_to_spread_its_fetches(
    start_server, new_pin, intent, monkeypatch
) -> None:
    server = start_server()
    streams = [Stream(server) for _ in range(3)]
    for each in streams:
        assert "spread" not in each.until('"version":1}')
    monkeypatch.setattr(events_module, "_FETCHES", 1)
    version = publish(server, new_pin, intent)
    for each in streams:
        each.until(f'"version":{version},"spread":3}}')
        each.close()


def test_a_publish_is_told_within_a_second(start_server, new_pin, intent) -> None:
    server = start_server()
    stream = Stream(server)
    stream.until('"version":1}')
    version = publish(server, new_pin, intent)
    published = time.monotonic()
    stream.until(f'"version":{version}}}')
    assert time.monotonic() - published < 1
    stream.close()


def test_many_clients_are_all_told(start_server, new_pin, intent) -> None:
    server = start_server()
    with ExitStack() as stack:
        streams = [Stream(server) for _ in range(100)]
        for each in streams:
            stack.callback(each.close)
            each.until('"version":1}')
        assert open_streams(server) == 100
        version = publish(server, new_pin, intent)
        for each in streams:
            each.until(f'"version":{version}}}')
    patterns = (f"api{number}.example.com" for number in itertools.count())
    while open_streams(server):  # who has gone is noticed when written to
        publish(server, new_pin, intent, next(patterns))


def test_streams_are_bounded_in_all_and_by_address(start_server) -> None:
    for name in ("max_streams", "max_streams_per_address"):
        server = start_server(**{name: "2"})
        streams = [Stream(server) for _ in range(2)]
        for each in streams:
            each.until('"version":1}')
        answer = server.send("GET", "/v1/acme/events")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert answer.json()["detail"] == "there are too many event streams"
        assert server.send("GET", "/v1/acme/config/main").status_code == 200
        for each in streams:
            each.close()


def test_the_end_of_the_server_ends_the_streams(start_server) -> None:
    server = start_server()
    stream = Stream(server)
    stream.until('"version":1}')
    server.stop()
    assert stream.rest() in (b"", b"0\r\n\r\n")
    stream.close()


# -- without a network --------------------------------------------------------------------------


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that the server has."""
    return "asyncio"


class Client:
    """Where a stream is written, in memory; `gone` makes it break."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.gone: Exception | None = None
        self.told = asyncio.Event()

    async def send_bytes(self, data: bytes) -> None:
        """Take a piece."""
        if self.gone is not None:
            raise self.gone
        self.pieces.append(data)
        self.told.set()

    async def next(self) -> bytes:
        """Wait for a piece."""
        await asyncio.wait_for(self.told.wait(), 10)
        self.told.clear()
        return self.pieces[-1]


def snapshot_of(**versions: int) -> Snapshot:
    """A snapshot of `acme` with these streams."""
    snapshot = Snapshot()
    configs = {
        stream: ConfigDocument(root_version=1, version=version, raw=b"x")
        for stream, version in versions.items()
    }
    snapshot.replace("acme", AccountDocuments(configs=configs, roots={}))
    return snapshot


def events_of(snapshot: Snapshot, metrics: Metrics | None = None, *, most: int = 1000) -> Events:
    return Events(snapshot, metrics or Metrics(), most=most, most_per_address=most)


def versions_in(message: bytes) -> dict[str, int]:
    """Return what a message tells, by stream."""
    lines = [line for line in message.decode().splitlines() if line.startswith("data: ")]
    found = [json.loads(line.removeprefix("data: ")) for line in lines]
    return {each["stream"]: each["version"] for each in found}


@pytest.mark.anyio
async def test_an_event_names_each_stream_of_the_account() -> None:
    events, client = events_of(snapshot_of(main=7, canary=9)), Client()
    task = asyncio.create_task(events.run("acme", "a", client))
    assert versions_in(await client.next()) == {"main": 7, "canary": 9}
    events.close()
    await task


@pytest.mark.anyio
async def test_a_heartbeat_is_a_comment() -> None:
    snapshot, client = snapshot_of(main=7), Client()
    events = Events(snapshot, Metrics(), most=1, most_per_address=1, heartbeat=0.01)
    task = asyncio.create_task(events.run("acme", "a", client))
    await client.next()
    beating = asyncio.create_task(events.beat())
    assert [await client.next(), await client.next()] == [b": \n\n"] * 2
    beating.cancel()
    events.close()
    await task


@pytest.mark.anyio
async def test_a_slow_client_misses_versions_in_between_never_the_newest() -> None:
    snapshot = snapshot_of(main=1)
    events, client = events_of(snapshot), Client()
    slow = asyncio.Event()
    send = client.send_bytes

    async def slowly(data: bytes) -> None:
        await slow.wait()
        await send(data)

    client.send_bytes = slowly
    task = asyncio.create_task(events.run("acme", "a", client))
    for version in range(2, 50):
        raw = ConfigDocument(root_version=1, version=version, raw=b"x")
        snapshot.replace("acme", AccountDocuments(configs={"main": raw}, roots={}))
        events.wake("acme")
        await asyncio.sleep(0)
    slow.set()
    while versions_in(await client.next()).get("main") != 49:
        pass
    assert len(client.pieces) <= 3
    events.close()
    await task


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), RuntimeError("closed"), BrokenPipeError()]
)
@pytest.mark.anyio
async def test_a_client_that_has_gone_frees_its_place(error: Exception) -> None:
    metrics = Metrics()
    events, client = events_of(snapshot_of(main=1), metrics, most=1), Client()
    task = asyncio.create_task(events.run("acme", "a", client))
    await client.next()
    assert not events.has_room("a")
    client.gone = error
    events.wake("acme")
    await asyncio.wait_for(task, 10)
    assert events.has_room("a")
    assert metrics.registry.get_sample_value("livepin_event_streams") == 0


@pytest.mark.anyio
async def test_clients_that_come_and_go_leave_no_memory() -> None:
    events = events_of(snapshot_of(main=1))

    async def visit(number: int) -> None:
        client = Client()
        task = asyncio.create_task(events.run("acme", f"address {number}", client))
        await client.next()
        client.gone = BrokenPipeError()
        events.wake("acme")
        await task

    await visit(0)
    tracemalloc.start()
    try:
        for number in range(1000):
            await visit(number)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000


@pytest.mark.anyio
async def test_streams_of_other_accounts_are_not_woken() -> None:
    snapshot = snapshot_of(main=1)
    snapshot.replace("beta", AccountDocuments(configs={}, roots={}))
    events, client = events_of(snapshot), Client()
    task = asyncio.create_task(events.run("acme", "a", client))
    await client.next()
    events.wake("beta")
    events.wake("beta")
    await asyncio.sleep(0)
    assert len(client.pieces) == 1
    events.close()
    await task
    assert not events.has_room("a")
