"""gRPC through the bridge: each kind of call, newer pins, proxies, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import importlib.util
import os
import queue
import resource
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from livepin.client import Client, threads
from livepin.errors import (
    ConfigurationError,
    MalformedError,
    PinMismatchError,
    TokenUnavailableError,
    find,
)
from livepin.testing import Authority, Chain, DeliverySimulator, RecordingServer

grpc = pytest.importorskip("grpc", reason="the livepin wheel alone brings no grpcio")
adapter = pytest.importorskip("livepin.adapters.grpc")
bridges = pytest.importorskip("livepin.adapters.grpc_bridge")

HOST, FAR = "localhost", "api.example.com"
QUICK = pytest.mark.usefixtures("quick_healing")
SECONDS = 20


@pytest.fixture(scope="session")
def kind() -> Any:
    """The recording server that speaks HTTP/2, from the driver of the table."""
    path = Path(__file__).parent / "drivers" / "grpc.py"
    spec = importlib.util.spec_from_file_location("livepin_driver_of_grpc", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Server


@pytest.fixture
def server(serve: Any, kind: Any) -> Callable[..., Any]:
    return lambda chain, **options: serve(chain, kind=kind, **options)


@pytest.fixture
def pins(simulator: DeliverySimulator, authority: Authority, chain: Chain) -> Iterator[Client]:
    for host in (HOST, "127.0.0.1", FAR):
        simulator.pin(host, chain.pin)
    with simulator.client(ca=authority.pem) as found:
        yield found


@pytest.fixture
def dial(pins: Client) -> Iterator[Callable[..., Any]]:
    """Open channels to a server, under a name of it."""
    with contextlib.ExitStack() as stack:

        def start(server: Any, host: str = HOST, **options: Any) -> Any:
            channel = adapter.PinnedChannel(pins, f"{host}:{server.port}", **options)
            return stack.enter_context(channel)

        yield start


def whole(channel: Any, sent: bytes = b"hello", **options: Any) -> Any:
    return channel.unary_unary("/test/whole")(sent, timeout=SECONDS, **options)


def wait_for(channel: Any, *wanted: Any) -> None:
    """Wait until a channel is in one of these states."""
    states: queue.Queue[Any] = queue.Queue()
    channel.subscribe(states.put)
    try:
        while states.get(timeout=SECONDS) not in wanted:
            pass
    finally:
        channel.unsubscribe(states.put)


def silent(server: Any) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


# -- calls -----------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Any], Any]] = {
    "unary": lambda channel: whole(channel, b"abc"),
    "unary with its call": lambda channel: channel.unary_unary("/test/whole").with_call(b"abc")[0],
    "unary in the future": lambda channel: (
        channel.unary_unary("/test/whole").future(b"abc", timeout=SECONDS).result()
    ),
    "streamed out": lambda channel: channel.stream_unary("/test/join")(
        iter([b"a", b"b", b"c"]), timeout=SECONDS
    ),
    "streamed in": lambda channel: b"".join(
        channel.unary_stream("/test/split")(b"abc", timeout=SECONDS)
    ),
    "streamed both ways": lambda channel: b"".join(
        channel.stream_stream("/test/repeat")(iter([b"a", b"bc"]), timeout=SECONDS)
    ),
}
EACH_CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@EACH_CALL
def test_each_kind_of_call_works(dial: Any, server: Any, chain: Chain, call: Any) -> None:
    assert call(dial(server(chain))) == b"abc"


@QUICK
@EACH_CALL
def test_each_kind_of_call_names_the_reason_of_a_refusal(
    dial: Any, server: Any, other: Chain, call: Any
) -> None:
    evil = server(other)
    with pytest.raises(grpc.RpcError) as caught:
        call(dial(evil))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert (error.host, error.chain[0]) == (HOST, str(other.pin))
    assert silent(evil)


@QUICK
def test_a_future_names_the_reason_of_a_refusal_without_raising_it(
    dial: Any, server: Any, other: Chain
) -> None:
    future = dial(server(other)).unary_unary("/test/whole").future(b"abc", timeout=SECONDS)
    assert isinstance(find(future.exception()), PinMismatchError)
    assert future.done()


def test_an_error_of_the_server_has_no_such_reason(dial: Any, server: Any, chain: Chain) -> None:
    channel = dial(server(chain))
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/whole")(b"abc", metadata=(("grpc-timeout", "0n"),), timeout=0)
    assert find(caught.value) is None


def test_much_data_goes_both_ways(dial: Any, server: Any, chain: Chain) -> None:
    channel = dial(server(chain), compression=grpc.Compression.NoCompression)
    sent = [os.urandom(300_000) for _ in range(10)]
    answers = channel.stream_stream("/test/repeat")(iter(sent), timeout=SECONDS)
    assert list(answers) == sent


def test_the_server_sees_its_own_name_and_encryption(dial: Any, server: Any, chain: Chain) -> None:
    """To gRPC the bridge is no TLS, and the scheme would be http."""
    found = server(chain)
    whole(dial(found))
    received = bytes(found.received)
    assert f"localhost:{found.port}".encode() in received
    assert b"\x83\x87" in received  # POST and https, in the static table of RFC 7541
    assert b"\x83\x86" not in received


def test_call_credentials_are_sent(dial: Any, server: Any, chain: Chain) -> None:
    found = server(chain)
    whole(dial(found), credentials=grpc.access_token_call_credentials("s3cret"))
    assert found.backend.told["authorization"] == "Bearer s3cret"


# -- newer pins ------------------------------------------------------------------------------


def test_a_streamed_call_is_healed_and_arrives_once_and_whole(
    dial: Any, simulator: DeliverySimulator, server: Any, other: Chain
) -> None:
    rotated = server(other)
    threading.Timer(0.3, simulator.pin, (HOST, other.pin)).start()
    parts = iter([b"one-", b"two-", b"three"])
    answer = dial(rotated).stream_unary("/test/join")(parts, timeout=SECONDS)
    assert answer == b"one-two-three"
    assert rotated.backend.heard == [b"one-two-three"]


def test_a_connection_is_used_again_while_its_pin_holds(
    dial: Any, pins: Client, simulator: DeliverySimulator, server: Any, chain: Chain, other: Chain
) -> None:
    found = server(chain)
    channel = dial(found)
    for host_pins in ((chain.pin,), (chain.pin, other.pin), (chain.authority.pin,)):
        simulator.pin(HOST, *host_pins)
        pins.refresh()
        assert whole(channel) == b"hello"
    assert found.connections == 1


def test_a_connection_is_replaced_when_its_pin_goes(
    dial: Any, pins: Client, simulator: DeliverySimulator, server: Any, chain: Chain, other: Chain
) -> None:
    """The server has rotated already: the channel connects anew by itself."""
    found = server(chain)
    channel = dial(found)
    whole(channel)
    found.present(other)
    simulator.pin(HOST, other.pin)
    pins.refresh()
    wait_for(channel, *(state for state in grpc.ChannelConnectivity if state.name != "READY"))
    assert whole(channel) == b"hello"
    assert found.connections == 2


@QUICK
def test_a_connection_to_an_attacker_gets_no_second_call(
    dial: Any, pins: Client, simulator: DeliverySimulator, server: Any, chain: Chain, other: Chain
) -> None:
    """A key was stolen, and its pin is withdrawn."""
    found = server(chain)
    channel = dial(found)
    whole(channel, b"the first")
    simulator.pin(HOST, other.pin)
    pins.refresh()
    wait_for(channel, *(state for state in grpc.ChannelConnectivity if state.name != "READY"))
    with pytest.raises(grpc.RpcError) as caught:
        whole(channel, b"the second")
    assert isinstance(find(caught.value), PinMismatchError)
    found.wait_closed()
    assert b"the first" in found.received
    assert b"the second" not in found.received
    assert found.requests == 1


@QUICK
def test_a_call_under_way_is_ended_when_the_pin_goes(
    dial: Any, pins: Client, simulator: DeliverySimulator, server: Any, chain: Chain, other: Chain
) -> None:
    found = server(chain)
    sent: queue.Queue[bytes | None] = queue.Queue()
    sent.put(b"one")
    answers = dial(found).stream_stream("/test/repeat")(iter(sent.get, None), timeout=SECONDS)
    assert next(answers) == b"one"
    simulator.pin(HOST, other.pin)
    pins.refresh()
    sent.put(b"two")
    with pytest.raises(grpc.RpcError):
        next(answers)
    sent.put(None)
    found.wait_closed()
    assert b"two" not in found.received


@QUICK
def test_a_channel_recovers_when_its_pin_is_published_later(
    dial: Any, simulator: DeliverySimulator, pins: Client, server: Any, other: Chain
) -> None:
    rotated = server(other)
    channel = dial(rotated, options=[("grpc.initial_reconnect_backoff_ms", 100)])
    with pytest.raises(grpc.RpcError):
        whole(channel)
    simulator.pin(HOST, other.pin)
    pins.refresh()
    assert whole(channel, wait_for_ready=True) == b"hello"


def test_fifty_calls_share_one_healed_connection(
    dial: Any, simulator: DeliverySimulator, server: Any, other: Chain
) -> None:
    rotated = server(other)
    channel = dial(rotated)
    threading.Timer(0.5, simulator.pin, (HOST, other.pin)).start()
    call = channel.unary_unary("/test/whole")
    futures = [call.future(b"%d" % number, timeout=SECONDS) for number in range(50)]
    assert [each.result() for each in futures] == [b"%d" % number for number in range(50)]
    assert rotated.requests == 50
    assert rotated.handshakes <= 2


# -- servers that are not what they should be ------------------------------------------------


def test_a_server_that_does_not_choose_http2_is_refused(
    dial: Any, serve: Any, chain: Chain
) -> None:
    plain = serve(chain)
    with pytest.raises(grpc.RpcError) as caught:
        whole(dial(plain))
    assert find(caught.value) is None
    assert silent(plain)


def test_a_server_that_is_not_there_is_no_refusal(dial: Any, server: Any, chain: Chain) -> None:
    found = server(chain)
    found.close()
    with pytest.raises(grpc.RpcError) as caught:
        whole(dial(found))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert find(caught.value) is None


@pytest.mark.parametrize(
    "target",
    [
        "",
        ":443",
        "dns:///localhost:443",
        "https://localhost",
        "unix:/tmp/somewhere",
        "ipv4:127.0.0.1:443",
        "user@localhost:443",
        "localhost:port",
        "localhost:99999",
        "[::1",
        "localhost/path",
    ],
)
def test_other_targets_are_refused(pins: Client, target: str) -> None:
    with pytest.raises(ConfigurationError, match="expected host:port"):
        adapter.PinnedChannel(pins, target)


def test_a_host_that_cannot_be_compared_is_refused(pins: Client) -> None:
    with pytest.raises(MalformedError):
        adapter.PinnedChannel(pins, "127.1:443")


def test_the_name_of_another_cannot_be_verified(pins: Client) -> None:
    with pytest.raises(TypeError, match="the target's own name is verified"):
        adapter.PinnedChannel(
            pins, "localhost:443", options=[("grpc.ssl_target_name_override", FAR)]
        )


def test_a_system_without_unix_sockets_is_told_so(
    pins: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ConfigurationError, match="this system has none"):
        adapter.PinnedChannel(pins, "localhost:443")


# -- proxies ---------------------------------------------------------------------------------


@QUICK
@pytest.mark.parametrize("presented", ["chain", "other"])
def test_a_proxy_is_tunnelled_through(
    tunnel: Any, dial: Any, server: Any, request: pytest.FixtureRequest, presented: str
) -> None:
    found = server(request.getfixturevalue(presented))
    channel = dial(found, FAR, proxy=tunnel.url)
    if presented == "chain":
        assert whole(channel) == b"hello"
    else:
        with pytest.raises(grpc.RpcError) as caught:
            whole(channel)
        assert isinstance(find(caught.value), PinMismatchError)
        channel.close()
        assert silent(found)
    assert {line.split(" ")[1] for line in tunnel.asked} == {f"{FAR}:{found.port}"}


def test_a_call_through_a_proxy_is_healed(
    tunnel: Any, dial: Any, simulator: DeliverySimulator, server: Any, other: Chain
) -> None:
    rotated = server(other)
    threading.Timer(0.3, simulator.pin, (FAR, other.pin)).start()
    assert whole(dial(rotated, FAR, proxy=tunnel.url)) == b"hello"


def test_a_proxy_of_the_environment_is_not_used(
    dial: Any, server: Any, chain: Chain, tunnel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, tunnel.url)
    assert whole(dial(server(chain))) == b"hello"
    assert tunnel.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Who are you?\r\n\r\n",
        b"",
        b"SSH-2.0-200 \r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 20_000,
    ],
    ids=["refuses", "hangs up", "is none", "goes on and on"],
)
def test_a_proxy_that_does_not_tunnel_is_no_connection(
    dial: Any, odd_server: Any, server: Any, chain: Chain, answer: bytes
) -> None:
    def handle(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(answer)

    proxy = odd_server(handle)
    found = server(chain)
    with pytest.raises(grpc.RpcError) as caught:
        whole(dial(found, "[::1]", proxy=f"http://127.0.0.1:{proxy.port}"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert found.connections == 0


@pytest.mark.parametrize("proxy", ["https://localhost:1", "localhost:1", "http://a@b:1", "http://"])
def test_other_proxies_are_refused(pins: Client, proxy: str) -> None:
    with pytest.raises(ConfigurationError):
        adapter.PinnedChannel(pins, "localhost:443", proxy=proxy)


# -- the bridge ------------------------------------------------------------------------------


def test_the_bridge_is_for_this_user_alone_and_leaves_nothing(pins: Client) -> None:
    with adapter.Bridge(pins, "localhost:443") as bridge:
        path = Path(bridge.target.removeprefix("unix:"))
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()
    assert "livepin-grpc" not in {each.name for each in threading.enumerate()}
    bridge.close()


def test_a_bridge_that_nobody_closes_ends_with_the_process(
    pins: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threads._End()
    monkeypatch.setattr(threads, "_end", end)
    bridge = adapter.Bridge(pins, "localhost:443")
    end.begin()
    assert not bridge._thread.is_alive()
    bridge.close()


def test_nobody_else_takes_the_place_of_a_bridge_that_is_closed(pins: Client) -> None:
    """A channel that outlives it would send its calls, with their tokens, to whoever listens."""
    with adapter.Bridge(pins, "localhost:443") as bridge:
        path = Path(bridge.target.removeprefix("unix:"))
    around = path.parent.parent
    assert stat.S_IMODE(around.stat().st_mode) == 0o700
    assert around.stat().st_uid == os.geteuid()


def test_a_folder_that_was_tidied_up_is_not_trusted_again(pins: Client, own_folder: Path) -> None:
    with adapter.Bridge(pins, "localhost:443"):
        pass
    (first,) = own_folder.iterdir()
    first.rmdir()
    with adapter.Bridge(pins, "localhost:443"):
        (second,) = own_folder.iterdir()
        second.rename(first)
        second.mkdir()  # as another user would
        with adapter.Bridge(pins, "localhost:443") as bridge:
            path = Path(bridge.target.removeprefix("unix:"))
            assert path.parent.parent not in (first, second)
        first.rename(own_folder / "moved")
    assert list(second.iterdir()) == []


@pytest.fixture
def own_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the sockets are, for one test: a short path."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        monkeypatch.setattr(bridges, "_folder", bridges._Folder())
        yield Path(folder)


FORK = """
    import os, signal, sys
    from pathlib import Path
    from livepin.adapters.grpc import Bridge
    from livepin.testing import DeliverySimulator

    parent, folders = os.getpid(), []
    with DeliverySimulator().client() as pins, Bridge(pins, "localhost:443") as bridge:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            with Bridge(pins, "localhost:443") as own:
                assert Path(own.target[5:]).parents[1] != Path(bridge.target[5:]).parents[1]
            sys.exit()  # what is done at the end of a process is done
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print(Path(bridge.target[5:]).is_socket())
    around = Path(bridge.target[5:]).parents[1]
    print(around)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_that_ends_takes_no_socket_of_its_parent_away() -> None:
    """What is gone, another user can put in its place; and a channel could not connect again."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORK)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    there, around = done.stdout.split()
    assert there == "True"
    assert not Path(around).exists()  # the process ended


def test_a_bridge_that_cannot_listen_says_so_and_leaves_nothing(
    pins: Client, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = own_folder / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(OSError, match="too long"):
        adapter.Bridge(pins, "localhost:443")
    (around,) = deep.iterdir()
    assert list(around.iterdir()) == []


class Halted:
    """A clock that holds up who asks for it first: the bridge, in the middle of a handshake."""

    def __init__(self, clock: Callable[[], dt.datetime]) -> None:
        self._clock = clock
        self.asked, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> dt.datetime:
        if threading.current_thread().name == "livepin-grpc":
            self.asked.set()
            assert self.go_on.wait(SECONDS)
        return self._clock()


@pytest.fixture
def halted(simulator: DeliverySimulator) -> Halted:
    return Halted(simulator.clock)


@pytest.fixture
def bridge(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, halted: Halted, server: Any
) -> Iterator[Any]:
    """A bridge that stands still in the handshake of its first connection."""
    simulator.pin(HOST, chain.pin)
    with simulator.client(ca=authority.pem, clock=halted) as pins:
        with adapter.Bridge(pins, f"{HOST}:{server(chain).port}") as found:
            yield found


def connected(bridge: Any) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(SECONDS)
    sock.connect(bridge.target.removeprefix("unix:"))
    return sock


def test_a_bridge_that_ends_in_the_moment_of_a_connection_leaves_it_not_open(
    bridge: Any, halted: Halted
) -> None:
    """Both come in the same turn of its loop: the end, and a connection that is not served yet."""
    with connected(bridge) as first:
        assert halted.asked.wait(SECONDS)
        with connected(bridge) as second:
            bridge._stop()  # what `close` does first; nothing else tells that it was done
            halted.go_on.set()
            bridge.close()
            assert second.recv(1) == b""
        assert first.recv(1) == b""


def test_a_bridge_that_ends_while_it_connects_connects_no_more(
    pins: Client, odd_server: Any
) -> None:
    came, gone = threading.Event(), threading.Event()

    def never_answer(sock: socket.socket) -> None:
        came.set()
        while sock.recv(65536):
            pass
        gone.set()

    silent = odd_server(never_answer)
    for target, proxy in ((silent.port, None), (1, f"http://127.0.0.1:{silent.port}")):
        came.clear()
        gone.clear()
        with adapter.Bridge(pins, f"{HOST}:{target}", proxy=proxy) as bridge:
            with connected(bridge) as sock:
                assert came.wait(SECONDS)
                bridge.close()
                assert "livepin-grpc" not in {each.name for each in threading.enumerate()}
                assert sock.recv(1) == b""
                assert gone.wait(SECONDS)


class Silent(RecordingServer):
    """A server that speaks HTTP/2, and says nothing and hears nothing until it may."""

    def __init__(self, chain: Chain, **options: Any) -> None:
        super().__init__(chain, **options)
        self.context.set_alpn_protocols(["h2"])
        self.go_on = threading.Event()

    def _serve_one(self, tls: ssl.SSLSocket) -> bool:
        assert self.go_on.wait(SECONDS)
        return False


def test_a_connection_that_is_given_up_as_its_handshake_ends_is_not_left_open(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any
) -> None:
    """It would wait until the server says so, too, and the loop ends before."""
    silent = serve(chain, kind=Silent)
    under_way: list[asyncio.Task[Any]] = []

    def clock() -> dt.datetime:
        if under_way:  # it asks in the handshake
            asyncio.get_running_loop().call_soon(under_way.pop().cancel)
        return simulator.clock()

    async def given_up(bridge: Any) -> None:
        task = asyncio.ensure_future(bridge._connect())
        under_way.append(task)
        (found,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(found, asyncio.CancelledError)
        await asyncio.sleep(0)  # as the bridge does, before its loop ends

    simulator.pin(HOST, chain.pin)
    with simulator.client(ca=authority.pem, clock=clock) as pins:
        with adapter.Bridge(pins, f"{HOST}:{silent.port}") as bridge:
            with warnings.catch_warnings(record=True) as left:
                warnings.simplefilter("always")
                asyncio.run(given_up(bridge))
                gc.collect()
    silent.go_on.set()
    assert [str(each.message) for each in left] == []


class Flood(RecordingServer):
    """A server that speaks HTTP/2, and says more than anybody holds."""

    def __init__(self, chain: Chain, **options: Any) -> None:
        super().__init__(chain, **options)
        self.context.set_alpn_protocols(["h2"])

    def _serve_one(self, tls: ssl.SSLSocket) -> bool:
        tls.sendall(bytes(16 * 1024 * 1024))
        return False


def test_a_bridge_that_ends_while_the_channel_reads_nothing_leaves_nothing_open(
    pins: Client, serve: Any, chain: Chain
) -> None:
    flood = serve(chain, kind=Flood)
    with adapter.Bridge(pins, f"{HOST}:{flood.port}") as bridge, connected(bridge) as sock:
        assert sock.recv(1)
        bridge.close()
        while sock.recv(65536):
            pass
    flood.wait_closed()


@QUICK
def test_a_server_that_never_answers_is_not_waited_for_longer_than_by_grpc(
    pins: Client, odd_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepin.adapters.grpc_bridge._TIMEOUT", 0.2)
    ended = threading.Event()
    silent = odd_server(lambda sock: ended.wait(SECONDS))
    with adapter.Bridge(pins, f"{HOST}:{silent.port}") as bridge, connected(bridge) as sock:
        assert sock.recv(1) == b""
        assert bridge.refusal is None
    ended.set()


def test_a_bridge_without_room_for_a_connection_takes_it_later(pins: Client) -> None:
    with adapter.Bridge(pins, f"{HOST}:1") as bridge, socket.socket(socket.AF_UNIX) as sock:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
            sock.settimeout(0.2)
            sock.connect(bridge.target.removeprefix("unix:"))
            with pytest.raises(TimeoutError):
                sock.recv(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        sock.settimeout(SECONDS)
        assert sock.recv(1) == b""  # it was taken, and there is no server


# -- asyncio ---------------------------------------------------------------------------------


async def one_by_one(*messages: bytes) -> AsyncIterator[bytes]:
    for each in messages:
        yield each


async def read_all(call: Any) -> bytes:
    found = b""
    while (message := await call.read()) is not grpc.aio.EOF:
        found += message
    return found


async def whole_async(channel: Any) -> Any:
    return await channel.unary_unary("/test/whole")(b"abc", timeout=SECONDS)


async def joined(channel: Any) -> Any:
    return await channel.stream_unary("/test/join")(one_by_one(b"a", b"bc"), timeout=SECONDS)


async def written(channel: Any) -> Any:
    call = channel.stream_unary("/test/join")(timeout=SECONDS)
    await call.write(b"a")
    await call.write(b"bc")
    await call.done_writing()
    return await call


async def split(channel: Any) -> Any:
    call = channel.unary_stream("/test/split")(b"abc", timeout=SECONDS)
    return b"".join([each async for each in call])


async def split_and_read(channel: Any) -> Any:
    return await read_all(channel.unary_stream("/test/split")(b"abc", timeout=SECONDS))


async def repeated(channel: Any) -> Any:
    call = channel.stream_stream("/test/repeat")(one_by_one(b"a", b"bc"), timeout=SECONDS)
    return b"".join([each async for each in call])


async def repeated_by_hand(channel: Any) -> Any:
    call = channel.stream_stream("/test/repeat")(timeout=SECONDS)
    await call.wait_for_connection()
    await call.write(b"abc")
    await call.done_writing()
    return await read_all(call)


EACH_ASYNC_CALL = pytest.mark.parametrize(
    "call", [whole_async, joined, written, split, split_and_read, repeated, repeated_by_hand]
)


def on_asyncio(
    pins: Client, server: Any, use: Callable[[Any], Awaitable[Any]], **options: Any
) -> Any:
    async def main() -> Any:
        target = f"{HOST}:{server.port}"
        async with adapter.AsyncPinnedChannel(pins, target, **options) as channel:
            return await use(channel)

    return asyncio.run(main())


@EACH_ASYNC_CALL
def test_each_kind_of_call_works_on_asyncio(
    pins: Client, server: Any, chain: Chain, call: Any
) -> None:
    assert on_asyncio(pins, server(chain), call) == b"abc"
    assert "livepin-grpc" not in {each.name for each in threading.enumerate()}


@QUICK
@EACH_ASYNC_CALL
def test_each_kind_of_call_on_asyncio_names_the_reason_of_a_refusal(
    pins: Client, server: Any, other: Chain, call: Any
) -> None:
    evil = server(other)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        on_asyncio(pins, evil, call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert (error.host, error.chain[0]) == (HOST, str(other.pin))
    assert silent(evil)


@QUICK
def test_a_call_without_messages_on_asyncio_names_the_reason_too(
    pins: Client, server: Any, other: Chain
) -> None:
    """That grpcio cancels it, where it should fail, is its own doing."""

    async def joined_nothing(channel: Any) -> Any:
        return await channel.stream_unary("/test/join")(iter(()), timeout=SECONDS)

    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)) as caught:
        on_asyncio(pins, server(other), joined_nothing)
    assert isinstance(find(caught.value), PinMismatchError)


def test_an_error_of_the_server_has_no_such_reason_on_asyncio(
    pins: Client, server: Any, chain: Chain
) -> None:
    async def late(channel: Any) -> None:
        await whole_async(channel)
        await channel.stream_unary("/test/join")(timeout=0.05)  # no end of messages is written

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        on_asyncio(pins, server(chain), late)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert find(caught.value) is None


def test_a_call_on_asyncio_is_what_grpc_gives_in_all_else(
    pins: Client, server: Any, chain: Chain
) -> None:
    class Tell(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        async def intercept_unary_unary(self, go_on: Any, details: Any, request: Any) -> Any:
            details.metadata.add("asked", "yes")
            return await go_on(details, request)

    async def use(channel: Any) -> None:
        await asyncio.wait_for(channel.channel_ready(), SECONDS)
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        call = channel.unary_unary("/test/whole")(b"abc", metadata=grpc.aio.Metadata())
        assert await call == b"abc"
        assert await call.code() is grpc.StatusCode.OK
        cancelled = channel.unary_unary("/test/whole")(b"abc")
        assert cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        changed = asyncio.ensure_future(
            channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        )
        found.close()
        await asyncio.wait_for(changed, SECONDS)

    found = server(chain)
    on_asyncio(pins, found, use, interceptors=[Tell()])
    assert found.backend.told["asked"] == "yes"


@QUICK
def test_a_channel_made_over_a_bridge_finds_the_reason_there(
    pins: Client, server: Any, other: Chain
) -> None:
    evil = server(other)
    with adapter.Bridge(pins, f"{HOST}:{evil.port}") as bridge:
        assert bridge.refusal is None
        with grpc.secure_channel(bridge.target, bridge.credentials, bridge.options) as channel:
            with pytest.raises(grpc.RpcError):
                whole(channel)
        assert isinstance(bridge.refusal, PinMismatchError)
    assert silent(evil)


@pytest.mark.parametrize("kind", ["PinnedChannel", "AsyncPinnedChannel"])
def test_a_channel_that_cannot_be_made_leaves_no_bridge(pins: Client, kind: str) -> None:
    async def make() -> None:  # a channel of `grpc.aio` asks for the loop that runs
        getattr(adapter, kind)(pins, "localhost:443", options=[("no option", object())])

    with pytest.raises(TypeError):
        asyncio.run(make())
    assert "livepin-grpc" not in {each.name for each in threading.enumerate()}


def test_the_context_of_other_libraries_offers_no_http2(
    dial: Any, pins: Client, server: Any, chain: Chain
) -> None:
    found = server(chain)
    whole(dial(found))
    sock = socket.create_connection(("127.0.0.1", found.port), timeout=10)
    with pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
        assert tls.selected_alpn_protocol() is None


# -- tokens ----------------------------------------------------------------------------------


@pytest.fixture
def protected(simulator: DeliverySimulator, chain: Chain, pins: Client) -> Client:
    """A client whose host asks for tokens."""
    simulator.pin(HOST, chain.pin, token=True)
    pins.refresh()
    return pins


def tokens_of(server: Any) -> list[str]:
    return [value for name, value in server.backend.fields if name == "livepin-token"]


@EACH_CALL
def test_each_kind_of_call_has_a_token(
    protected: Client, dial: Any, server: Any, chain: Chain, call: Any
) -> None:
    good = server(chain)
    assert call(dial(good)) == b"abc"
    assert tokens_of(good) == [protected.token(HOST).value]


@EACH_ASYNC_CALL
def test_each_kind_of_call_on_asyncio_has_a_token(
    protected: Client, server: Any, chain: Chain, call: Any
) -> None:
    good = server(chain)
    assert on_asyncio(protected, good, call) == b"abc"
    assert tokens_of(good) == [protected.token(HOST).value]


@EACH_CALL
def test_each_kind_of_call_names_the_reason_why_there_is_no_token(
    protected: Client, simulator: DeliverySimulator, dial: Any, server: Any, chain: Chain, call: Any
) -> None:
    good, simulator.reachable = server(chain), False
    with pytest.raises(TokenUnavailableError):
        call(dial(good))
    assert good.requests == 0


@EACH_ASYNC_CALL
def test_each_kind_of_call_on_asyncio_names_it_too(
    protected: Client, simulator: DeliverySimulator, server: Any, chain: Chain, call: Any
) -> None:
    good, simulator.reachable = server(chain), False
    with pytest.raises(TokenUnavailableError):
        on_asyncio(protected, good, call)
    assert good.requests == 0


@pytest.mark.parametrize("kind", ["PinnedChannel", "AsyncPinnedChannel"])
def test_a_policy_that_would_send_a_proof_again_is_refused(
    simulator: DeliverySimulator, kind: str
) -> None:
    policy = '{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3}}]}'
    options = [("grpc.service_config", policy)]
    make = getattr(adapter, kind)
    with pytest.raises(ConfigurationError, match="send the proof of a call again"):
        make(simulator.client(proof=True), "localhost:443", options=options)
    adapter.PinnedChannel(simulator.client(), "localhost:443", options=options).close()
    other = [("grpc.service_config", "{}"), ("grpc.enable_retries", 1)]
    adapter.PinnedChannel(simulator.client(proof=True), "localhost:443", options=other).close()
