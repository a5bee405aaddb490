"""The pinned context against real TLS servers: what passes, and what sends no byte."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime as dt
import gc
import io
import pickle
import select
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from livepin.client import MemoryStore, PinnedContext
from livepin.client.connections import PinnedObject
from livepin.client.judge import DeliveryJudge
from livepin.client.judging import _make_room as make_room
from livepin.client.trusted import Trusted
from livepin.documents import Mode, Stale
from livepin.errors import (
    ConfigurationError,
    MalformedError,
    PinMismatchError,
    StaleConfigError,
    UnlistedHostError,
    UnverifiedChainError,
    find,
)
from livepin.hostnames import parse_pattern
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    make_chain,
    server_context,
)

HOST = "localhost"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"
TLS = pytest.mark.parametrize("tls12", [False, True], ids=["tls13", "tls12"])


def silent(server: Any) -> bool:
    """Tell, once the client is gone, that no application byte reached the server."""
    server.wait_closed()
    return bytes(server.received) == b""


# -- which chains pass -------------------------------------------------------------------------


@TLS
@pytest.mark.parametrize("level", ["leaf", "intermediate", "root"])
def test_each_key_of_the_verified_chain_may_be_pinned(
    simulator: DeliverySimulator, chain: Chain, serve: Any, wire: Any, level: str, tls12: bool
) -> None:
    assert chain.intermediate is not None
    keys = {"leaf": chain, "intermediate": chain.intermediate, "root": chain.authority}
    simulator.pin(HOST, keys[level].pin)
    server = serve(chain, tls12=tls12)
    assert wire().exchange(server.port).startswith(b"HTTP/1.1 200")


@TLS
def test_a_wrong_pin_sends_no_byte_and_names_everything(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any, tls12: bool
) -> None:
    assert chain.intermediate is not None
    simulator.pin(HOST, other.pin)
    simulator.clock.advance(hours=5)  # type: ignore[attr-defined]
    server, wired = serve(chain, tls12=tls12), wire()
    with pytest.raises(PinMismatchError) as caught:
        wired.exchange(server.port)
    error = caught.value
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert (error.library, error.reason) == ("SSL", "CERTIFICATE_VERIFY_FAILED")
    assert (error.verify_code, error.verify_message) == (50, "application verification failure")
    assert error.host == HOST
    assert error.chain == tuple(
        str(each.pin) for each in (chain, chain.intermediate, chain.authority)
    )
    assert error.expected == (str(other.pin),)
    assert (error.config_version, error.config_age) == (simulator.version, 5 * 3600)
    for part in (HOST, *error.chain, *error.expected, f"version {simulator.version}", "5 h ago"):
        assert part in str(error)
    assert "livepin domain check localhost" in str(error)
    assert [each.chain for each in wired.reported] == [error.chain]
    assert silent(server)


def test_a_renewed_certificate_with_the_same_key_passes(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    renewed = make_chain(HOST, authority=authority, key=chain.key)
    assert wire().exchange(serve(renewed).port).startswith(b"HTTP/1.1 200")


@TLS
def test_a_rotated_key_passes_once_its_pin_is_published_and_not_before(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any, tls12: bool
) -> None:
    simulator.pin(HOST, chain.pin)
    server, wired = serve(chain, tls12=tls12), wire()
    wired.exchange(server.port)
    server.present(other)
    before = bytes(server.received)
    with pytest.raises(PinMismatchError):
        wired.exchange(server.port)
    server.wait_closed()
    assert bytes(server.received) == before
    simulator.pin(HOST, chain.pin, other.pin)
    wired.adopt()
    assert wired.exchange(server.port).startswith(b"HTTP/1.1 200")


def _unknown_ca(chain: Chain, _: Authority) -> Chain:
    return make_chain(HOST, key=chain.key)


def _other_host(chain: Chain, authority: Authority) -> Chain:
    return make_chain("other.example", authority=authority, key=chain.key)


def _expired(chain: Chain, authority: Authority) -> Chain:
    yesterday = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
    return make_chain(HOST, authority=authority, key=chain.key, not_after=yesterday)


@TLS
@pytest.mark.parametrize("attack", [_unknown_ca, _other_host, _expired])
def test_a_pinned_key_does_not_replace_pkix_and_the_host_name(
    simulator: DeliverySimulator,
    authority: Authority,
    chain: Chain,
    serve: Any,
    wire: Any,
    attack: Callable[[Chain, Authority], Chain],
    tls12: bool,
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(attack(chain, authority), tls12=tls12)
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        wire().exchange(server.port)
    assert find(caught.value) is None
    assert silent(server)


def test_an_anchor_that_is_no_root_is_not_trusted_by_itself(
    simulator: DeliverySimulator, between: Authority, chain: Chain, serve: Any, wire: Any
) -> None:
    """A partial chain would stop below the root whose key may be pinned."""
    simulator.pin(HOST, chain.pin)
    server = serve(chain)
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get issuer"):
        wire(ca=between.pem).exchange(server.port)
    assert silent(server)


def test_an_anchored_intermediate_does_not_hide_the_pinned_root(
    simulator: DeliverySimulator,
    authority: Authority,
    between: Authority,
    chain: Chain,
    serve: Any,
    wire: Any,
) -> None:
    simulator.pin(HOST, authority.pin)
    wired = wire(ca=between.pem + authority.pem)
    assert wired.exchange(serve(chain).port).startswith(b"HTTP/1.1 200")


def test_without_anchors_of_its_own_the_system_decides(
    simulator: DeliverySimulator, chain: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(chain)
    context = PinnedContext(wire().judge)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|unable to get"):
            context.wrap_socket(sock, server_hostname=HOST)
    assert silent(server)


# -- every way to shake hands ------------------------------------------------------------------


def _raw(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def _at_once(context: PinnedContext, port: int) -> bytes:
    with context.wrap_socket(_raw(port), server_hostname=HOST) as tls:
        tls.sendall(REQUEST)
        return tls.recv(65536)


def _explicit(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls:
        tls.do_handshake()
        tls.sendall(REQUEST)
        return tls.recv(65536)


def _lazy(context: PinnedContext, port: int) -> ssl.SSLSocket:
    return context.wrap_socket(_raw(port), server_hostname=HOST, do_handshake_on_connect=False)


def _wrapped_before_connect(context: PinnedContext, port: int) -> bytes:
    with context.wrap_socket(socket.socket(), server_hostname=HOST) as tls:
        tls.connect(("127.0.0.1", port))
        tls.sendall(REQUEST)
        return tls.recv(65536)


def _connect_ex(context: PinnedContext, port: int) -> bytes:
    lazy = context.wrap_socket(socket.socket(), server_hostname=HOST, do_handshake_on_connect=False)
    with lazy as tls:
        assert tls.connect_ex(("127.0.0.1", port)) == 0
        tls.sendall(REQUEST)
        return tls.recv(65536)


def _send(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls:
        assert tls.send(REQUEST) == len(REQUEST)
        return tls.recv(65536)


def _sendall(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls:
        tls.sendall(REQUEST)
        return tls.recv(65536)


def _write(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls:
        assert tls.write(REQUEST) == len(REQUEST)
        return bytes(tls.read(65536))


def _sendfile(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls:
        tls.sendfile(io.BytesIO(REQUEST))
        return tls.recv(65536)


def _makefile(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls, tls.makefile("rwb") as file:
        file.write(REQUEST)
        file.flush()
        return file.readline()


def _non_blocking(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls:
        tls.setblocking(False)
        done = _patient(tls, tls.do_handshake)
        assert done is None
        tls.setblocking(True)
        tls.sendall(REQUEST)
        return tls.recv(65536)


def _non_blocking_send(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls:
        tls.setblocking(False)
        _patient(tls, lambda: tls.send(REQUEST))
        return bytes(_patient(tls, lambda: tls.recv(65536)))


def _patient(tls: ssl.SSLSocket, step: Callable[[], Any]) -> Any:
    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            assert select.select([tls], [], [], 10)[0]
        except ssl.SSLWantWriteError:
            assert select.select([], [tls], [], 10)[1]


class Buffers:
    """A connection by memory buffers, as asynchronous libraries have it."""

    def __init__(self, context: PinnedContext, port: int, **options: Any) -> None:
        self.sock = _raw(port)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        options = {"server_hostname": HOST} | options
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **options)

    def __enter__(self) -> Buffers:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def __call__(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))
            except ssl.SSLError:
                self.sock.sendall(self.outgoing.read())  # the worst that a library may do
                raise
            else:
                self.sock.sendall(self.outgoing.read())
                return result


def _buffers(context: PinnedContext, port: int) -> bytes:
    with Buffers(context, port) as run:
        run(run.tls.do_handshake)
        run(lambda: run.tls.write(REQUEST))
        return bytes(run(run.tls.read))


def _buffers_write_first(context: PinnedContext, port: int) -> bytes:
    with Buffers(context, port) as run:
        run(lambda: run.tls.write(REQUEST))
        return bytes(run(run.tls.read))


def _streams(context: PinnedContext, port: int) -> bytes:
    async def run() -> bytes:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=HOST
        )
        return await _talk(reader, writer)

    return asyncio.run(run())


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    try:
        writer.write(REQUEST)
        await writer.drain()
        return await reader.readline()
    finally:
        await _abort(writer.transport)


async def _abort(transport: asyncio.BaseTransport) -> None:
    """Close at once: the loop ends with the test."""
    transport.abort()  # type: ignore[attr-defined]
    for _ in range(3):
        await asyncio.sleep(0)


def _loop_start_tls(context: PinnedContext, port: int) -> bytes:
    async def run() -> bytes:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        plain, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port)
        try:
            tls = await loop.start_tls(plain, protocol, context, server_hostname=HOST)
            assert tls is not None
            return await _talk(reader, asyncio.StreamWriter(tls, protocol, reader, loop))
        finally:
            await _abort(plain)

    return asyncio.run(run())


def _writer_start_tls(context: PinnedContext, port: int) -> bytes:
    async def run() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        plain = writer.transport
        try:
            await writer.start_tls(context, server_hostname=HOST)
            return await _talk(reader, writer)
        finally:
            await _abort(plain)

    return asyncio.run(run())


WAYS = [
    _at_once,
    _explicit,
    _wrapped_before_connect,
    _connect_ex,
    _send,
    _sendall,
    _write,
    _sendfile,
    _makefile,
    _non_blocking,
    _non_blocking_send,
    _buffers,
    _buffers_write_first,
    _streams,
    _loop_start_tls,
    *([_writer_start_tls] if sys.version_info >= (3, 11) else []),
]


@TLS
@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_connect_works_with_the_right_pin(
    simulator: DeliverySimulator, chain: Chain, serve: Any, wire: Any, way: Any, tls12: bool
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(chain, tls12=tls12)
    assert way(wire().context, server.port).startswith(b"HTTP/1.1 200")
    assert server.requests == 1


@TLS
@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_connect_sends_a_byte_to_an_attacker(
    simulator: DeliverySimulator,
    chain: Chain,
    other: Chain,
    serve: Any,
    wire: Any,
    way: Any,
    tls12: bool,
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other, tls12=tls12)
    with pytest.raises(PinMismatchError):
        way(wire().context, server.port)
    assert silent(server)


def _recv_first(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls:
        return tls.recv(100)


def _recv_into_first(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls:
        buffer = bytearray(100)
        return bytes(buffer[: tls.recv_into(buffer)])


def _read_first(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls:
        return bytes(tls.read(100))


def _makefile_first(context: PinnedContext, port: int) -> bytes:
    with _lazy(context, port) as tls, tls.makefile("rb") as file:
        return file.readline()


def _buffers_read_first(context: PinnedContext, port: int) -> bytes:
    with Buffers(context, port) as run:
        return bytes(run(run.tls.read))


READS = [_recv_first, _recv_into_first, _read_first, _makefile_first, _buffers_read_first]


@TLS
@pytest.mark.parametrize("way", READS)
def test_reading_first_works_with_the_right_pin(
    simulator: DeliverySimulator, chain: Chain, greet: Any, wire: Any, way: Any, tls12: bool
) -> None:
    simulator.pin(HOST, chain.pin)
    assert way(wire().context, greet(chain, tls12=tls12).port) == b"220 hello\r\n"


@TLS
@pytest.mark.parametrize("way", READS)
def test_nothing_is_read_from_an_attacker_either(
    simulator: DeliverySimulator,
    chain: Chain,
    other: Chain,
    greet: Any,
    wire: Any,
    way: Any,
    tls12: bool,
) -> None:
    simulator.pin(HOST, chain.pin)
    with pytest.raises(PinMismatchError):
        way(wire().context, greet(other, tls12=tls12).port)


@pytest.mark.parametrize("kind", ["socket", "buffers"])
def test_who_goes_on_after_a_refusal_is_refused_again(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any, kind: str
) -> None:
    simulator.pin(HOST, chain.pin)
    server, context = serve(other), wire().context
    if kind == "socket":
        with _lazy(context, server.port) as tls:
            for step in (tls.do_handshake, *[lambda: tls.sendall(REQUEST)] * 3):
                with pytest.raises(PinMismatchError):
                    step()
    else:
        with Buffers(context, server.port) as run:
            for each in (run.tls.do_handshake, *[lambda: run.tls.write(REQUEST)] * 3):
                with pytest.raises(PinMismatchError):
                    run(each)
    assert silent(server)


@pytest.mark.parametrize("leave", ["unwrap", "shutdown"])
@pytest.mark.parametrize(
    "go_on",
    [
        lambda tls: tls.send(REQUEST),
        lambda tls: tls.sendall(REQUEST),
        lambda tls: tls.write(REQUEST),
        lambda tls: _send_a_real_file(tls),
        lambda tls: tls.sendto(REQUEST, ("127.0.0.1", 9)),
        lambda tls: tls.sendmsg([REQUEST]),
        lambda tls: tls.recv(10),
        lambda tls: tls.recv_into(bytearray(10)),
        lambda tls: tls.recvfrom(10),
        lambda tls: tls.recvfrom_into(bytearray(10)),
    ],
    ids=[
        "send",
        "sendall",
        "write",
        "sendfile",
        "sendto",
        "sendmsg",
        "recv",
        "recv_into",
        "recvfrom",
        "recvfrom_into",
    ],
)
def test_a_connection_never_goes_on_in_cleartext(
    simulator: DeliverySimulator, chain: Chain, wire: Any, leave: str, go_on: Any
) -> None:
    """After `unwrap` and `shutdown` the standard library's socket is a plain one."""
    simulator.pin(HOST, chain.pin)
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    with ThreadPoolExecutor(1) as pool, theirs:
        ended = pool.submit(_shake_hands_and_leave, chain, theirs, leave)
        with wire().context.wrap_socket(ours, server_hostname=HOST) as tls:
            tls.unwrap() if leave == "unwrap" else tls.shutdown(socket.SHUT_RD)
            with ended.result(timeout=10) as plain:
                with pytest.raises((OSError, NotImplementedError), match=r"no TLS|sendmsg not"):
                    go_on(tls)
                with pytest.raises(BlockingIOError):
                    plain.recv(1)


def _send_a_real_file(tls: ssl.SSLSocket) -> None:
    """Without TLS, the system copies files to sockets by itself."""
    with Path(__file__).open("rb") as file:
        tls.sendfile(file)


def _shake_hands_and_leave(chain: Chain, sock: socket.socket, how: str) -> socket.socket:
    context = server_context(chain)
    context.num_tickets = 0
    tls = context.wrap_socket(sock, server_side=True)
    if how == "unwrap":
        tls.unwrap()
    plain = socket.socket(fileno=tls.detach())
    plain.setblocking(False)
    return plain


# -- host names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "asked", "certified"),
    [
        ("api.example.com", "API.Example.COM", "api.example.com"),
        ("bücher.example", "BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "bücher.example", "xn--bcher-kva.example"),
        ("*.example.com", "api.example.com", "*.example.com"),
        ("*.example.com", "a.b.example.com", "a.b.example.com"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("2001:db8::1", "2001:DB8:0:0::1", "2001:db8::1"),
    ],
)
def test_each_spelling_of_a_host_has_its_pins(
    simulator: DeliverySimulator,
    authority: Authority,
    serve: Any,
    wire: Any,
    pattern: str,
    asked: str,
    certified: str,
) -> None:
    right, wrong = (make_chain(certified, authority=authority) for _ in range(2))
    simulator.pin(parse_pattern(pattern), right.pin)
    server, wired = serve(right), wire()
    assert wired.exchange(server.port, asked).startswith(b"HTTP/1.1 200")
    server = serve(wrong)
    with pytest.raises(PinMismatchError):
        wired.exchange(server.port, asked)
    assert silent(server)


@pytest.mark.parametrize("asked", ["localhost.", "LOCALHOST."])
def test_a_trailing_dot_is_no_way_around_a_pin(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any, asked: str
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(other)
    with pytest.raises(ssl.SSLCertVerificationError):
        wire().exchange(server.port, asked)
    assert silent(server)


def test_a_wildcard_does_not_cover_the_host_itself(
    simulator: DeliverySimulator, authority: Authority, serve: Any, wire: Any
) -> None:
    chain = make_chain("example.com", authority=authority)
    simulator.pin("*.example.com", authority.pin)
    server = serve(chain)
    with pytest.raises(UnlistedHostError):
        wire("refuse").exchange(server.port, "example.com")
    assert silent(server)


def test_the_longest_pattern_wins_whole(
    simulator: DeliverySimulator, authority: Authority, serve: Any, wire: Any
) -> None:
    wide, narrow = (make_chain("a.b.example.com", authority=authority) for _ in range(2))
    simulator.pin("*.example.com", wide.pin)
    simulator.pin("*.b.example.com", narrow.pin)
    assert wire().exchange(serve(narrow).port, "a.b.example.com").startswith(b"HTTP/1.1 200")
    server = serve(wide)
    with pytest.raises(PinMismatchError):
        wire().exchange(server.port, "a.b.example.com")
    assert silent(server)


def test_a_socket_without_a_host_name_is_not_made(
    simulator: DeliverySimulator, chain: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(chain)
    for name in (None, ""):
        with _raw(server.port) as sock, pytest.raises(ValueError, match="server_hostname"):
            wire().context.wrap_socket(sock, server_hostname=name)
    assert silent(server)


@pytest.mark.parametrize("presented", ["chain", "other"])
def test_buffers_without_a_host_name_are_refused_whatever_the_chain(
    simulator: DeliverySimulator,
    chain: Chain,
    serve: Any,
    wire: Any,
    request: pytest.FixtureRequest,
    presented: str,
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(request.getfixturevalue(presented))
    with Buffers(wire().context, server.port, server_hostname=None) as run:
        with pytest.raises(UnverifiedChainError, match="no server_hostname"):
            run(lambda: run.tls.write(REQUEST))
    assert silent(server)


def test_streams_that_turn_the_host_name_off_are_refused(
    simulator: DeliverySimulator, chain: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server = serve(chain)

    async def run() -> None:
        await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=wire().context, server_hostname=""
        )

    with pytest.raises(UnverifiedChainError, match="no server_hostname"):
        asyncio.run(run())
    assert silent(server)


@pytest.mark.parametrize("name", ["api!.example.com", "-api.example.com", "api.0x7f"])
def test_a_certified_name_that_livepin_cannot_compare_is_never_an_unpinned_host(
    authority: Authority, serve: Any, wire: Any, name: str
) -> None:
    server = serve(make_chain(name, authority=authority))
    with pytest.raises(UnverifiedChainError, match="expected a host name"):
        wire().exchange(server.port, name)
    assert silent(server)


# -- modes, staleness, hosts that no domain covers ---------------------------------------------


def test_report_mode_connects_and_reports(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin, mode=Mode.REPORT)
    wired = wire()
    assert wired.exchange(serve(other).port).startswith(b"HTTP/1.1 200")
    [error] = wired.reported
    assert (error.host, error.chain[0]) == (HOST, str(other.pin))
    assert wired.exchange(serve(chain).port).startswith(b"HTTP/1.1 200")
    assert len(wired.reported) == 1


def test_off_mode_connects_and_reports_nothing(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin, mode=Mode.OFF)
    wired = wire("refuse")
    assert wired.exchange(serve(other).port).startswith(b"HTTP/1.1 200")
    assert wired.reported == []


@TLS
def test_an_unlisted_host_is_ordinary_tls_or_refused(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any, tls12: bool
) -> None:
    simulator.pin("api.example.com", chain.pin)
    assert wire().exchange(serve(other, tls12=tls12).port).startswith(b"HTTP/1.1 200")
    server = serve(other, tls12=tls12)
    with pytest.raises(UnlistedHostError, match="localhost is not listed") as caught:
        wire("refuse").exchange(server.port)
    assert isinstance(caught.value, ssl.SSLCertVerificationError)
    assert caught.value.host == HOST
    assert silent(server)


def test_an_unlisted_host_is_still_verified(
    simulator: DeliverySimulator, chain: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin("api.example.com", chain.pin)
    server = serve(make_chain(HOST))
    with pytest.raises(ssl.SSLCertVerificationError):
        wire().exchange(server.port)
    assert silent(server)


@TLS
def test_a_domain_that_refuses_stale_pins_sends_no_byte_after_the_grace(
    simulator: DeliverySimulator, chain: Chain, serve: Any, wire: Any, tls12: bool
) -> None:
    simulator.pin(HOST, chain.pin, stale=Stale.REFUSE)
    server, wired = serve(chain, tls12=tls12), wire()
    clock: Any = simulator.clock
    clock.advance(days=14)
    assert wired.exchange(server.port).startswith(b"HTTP/1.1 200")
    before = bytes(server.received)
    clock.now += wired.trusted().config.stale_grace
    with pytest.raises(StaleConfigError, match="expired on") as caught:
        wired.exchange(server.port)
    assert isinstance(caught.value, ssl.SSLCertVerificationError)
    server.wait_closed()
    assert bytes(server.received) == before


def test_a_stale_config_goes_on_being_enforced(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    wired = wire()
    simulator.clock.advance(days=1000)  # type: ignore[attr-defined]
    assert wired.exchange(serve(chain).port).startswith(b"HTTP/1.1 200")
    server = serve(other)
    with pytest.raises(PinMismatchError):
        wired.exchange(server.port)
    assert silent(server)


def test_the_context_of_delivery_takes_delivery_hosts_only(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, other: Chain, serve: Any
) -> None:
    simulator.delivery_pins = (chain.pin,)
    simulator.publish()
    trusted = Trusted(
        simulator.bootstrap(), MemoryStore(), clock=simulator.clock, on_change=lambda: None
    )
    judge = DeliveryJudge(trusted, frozenset({HOST}), clock=simulator.clock)
    context = PinnedContext(judge, anchors=authority.pem)
    assert _at_once(context, serve(chain).port).startswith(b"HTTP/1.1 200")
    server = serve(other)
    with pytest.raises(PinMismatchError):
        _at_once(context, server.port)
    assert silent(server)
    server = serve(chain)
    with _raw(server.port) as sock, pytest.raises(UnlistedHostError, match="not a delivery host"):
        context.wrap_socket(sock, server_hostname="127.0.0.1")
    assert silent(server)


# -- pins that change --------------------------------------------------------------------------


def test_an_open_connection_is_shut_down_when_its_pin_goes(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server, wired = serve(chain), wire()
    with wired.context.wrap_socket(_raw(server.port), server_hostname=HOST) as tls:
        tls.sendall(REQUEST)
        tls.recv(65536)
        before = bytes(server.received)
        simulator.pin(HOST, other.pin)
        wired.adopt()
        assert wired.shut_down == 1
        assert select.select([tls], [], [], 10)[0]  # what pools look at
        with pytest.raises(PinMismatchError):
            tls.sendall(REQUEST)
    server.wait_closed()
    assert bytes(server.received) == before


def test_an_open_connection_goes_on_when_the_new_pins_still_match(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    assert chain.intermediate is not None
    simulator.pin(HOST, chain.pin)
    server, wired = serve(chain), wire()
    with wired.context.wrap_socket(_raw(server.port), server_hostname=HOST) as tls:
        for pins in ((chain.pin, other.pin), (chain.intermediate.pin,), (chain.authority.pin,)):
            simulator.pin(HOST, *pins)
            wired.adopt()
            tls.sendall(REQUEST)
            assert tls.recv(65536).startswith(b"HTTP/1.1 200")
        assert wired.shut_down == 0
    assert server.connections == 1


def test_buffers_write_nothing_more_when_their_pin_goes(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server, wired = serve(chain), wire()
    with Buffers(wired.context, server.port) as run:
        run(lambda: run.tls.write(REQUEST))
        run(run.tls.read)
        before = bytes(server.received)
        simulator.pin(HOST, other.pin)
        wired.adopt()
        for step in (lambda: run.tls.write(REQUEST), run.tls.read):
            with pytest.raises(PinMismatchError):
                run(step)
    server.wait_closed()
    assert bytes(server.received) == before


def test_streams_write_nothing_more_when_their_pin_goes(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server, wired = serve(chain), wire()

    async def run() -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=wired.context, server_hostname=HOST
        )
        writer.write(REQUEST)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        simulator.pin(HOST, other.pin)
        wired.adopt()
        writer.write(REQUEST)
        with pytest.raises(PinMismatchError):
            await reader.read()
        await _abort(writer.transport)

    asyncio.run(run())
    server.wait_closed()
    assert server.requests == 1


def test_an_attached_socket_is_shut_down_with_its_buffers(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server, wired = serve(chain), wire()
    with Buffers(wired.context, server.port) as run, Buffers(wired.context, server.port) as gone:
        for each in (run, gone):
            each(each.tls.do_handshake)
            assert isinstance(each.tls, PinnedObject)
            each.tls.attach(each.sock)
        gone.sock.close()
        assert wired.context.open_connections == 1
        simulator.pin(HOST, other.pin)
        wired.adopt()
        with contextlib.suppress(ConnectionResetError):
            while run.sock.recv(65536):  # session tickets that nobody has read, then the end
                continue
    assert silent(server)


def test_closed_connections_do_not_keep_others_from_being_judged_again(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server, wired = serve(chain), wire()
    dead = [wired.context.wrap_socket(_raw(server.port), server_hostname=HOST) for _ in range(2)]
    dead[0].close()
    dead[1].shutdown(socket.SHUT_RDWR)
    with wired.context.wrap_socket(_raw(server.port), server_hostname=HOST) as tls:
        simulator.pin(HOST, other.pin)
        wired.adopt()
        with pytest.raises(PinMismatchError):
            tls.sendall(REQUEST)
        assert wired.shut_down == 1
    dead[1].close()


def test_connections_that_are_closed_while_they_are_judged_again_do_not_end_it(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    """Another thread may, at any moment; here, the clock does, once the first was found open."""
    now, closing = simulator.clock(), contextlib.ExitStack()

    def clock() -> dt.datetime:
        closing.close()
        return now

    simulator.clock = clock
    simulator.pin(HOST, chain.pin)
    server, wired = serve(chain), wire()
    pair = [wired.context.wrap_socket(_raw(server.port), server_hostname=HOST) for _ in range(2)]
    simulator.pin(HOST, other.pin)
    for tls in pair:
        closing.callback(tls.close)
    wired.adopt()
    assert wired.shut_down == 1
    assert wired.context.open_connections == 0


def test_connections_that_are_gone_are_forgotten(
    simulator: DeliverySimulator, chain: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    server, wired = serve(chain), wire()
    context = wired.context
    tls = context.wrap_socket(_raw(server.port), server_hostname=HOST)
    assert context.open_connections == 1
    tls.close()
    assert context.open_connections == 0
    del tls
    gc.collect()
    assert context._live == set()
    assert context.rejudge() == 0


# -- resumption --------------------------------------------------------------------------------


def _session(context: PinnedContext, port: int) -> ssl.SSLSession:
    with context.wrap_socket(_raw(port), server_hostname=HOST) as tls:
        tls.sendall(REQUEST)
        tls.recv(65536)  # in TLS 1.3 the ticket comes after the handshake
        assert tls.session is not None
        return tls.session


def _resume(context: PinnedContext, port: int, session: ssl.SSLSession, host: str = HOST) -> bool:
    with context.wrap_socket(_raw(port), server_hostname=host, session=session) as tls:
        tls.sendall(REQUEST)
        assert tls.recv(65536).startswith(b"HTTP/1.1 200")
        return bool(tls.session_reused)


@TLS
@pytest.mark.parametrize("level", ["leaf", "intermediate", "root"])
def test_a_resumed_session_passes_by_the_same_pins(
    simulator: DeliverySimulator, chain: Chain, serve: Any, wire: Any, level: str, tls12: bool
) -> None:
    assert chain.intermediate is not None
    keys = {"leaf": chain, "intermediate": chain.intermediate, "root": chain.authority}
    simulator.pin(HOST, keys[level].pin)
    server, context = serve(chain, tls12=tls12), wire().context
    assert _resume(context, server.port, _session(context, server.port))


def test_remembered_certificates_are_bounded(
    simulator: DeliverySimulator,
    authority: Authority,
    serve: Any,
    wire: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("livepin.client.judging._MOST_REMEMBERED", 2)
    simulator.pin(HOST, authority.pin)
    wired = wire()
    for _ in range(4):
        wired.exchange(serve(make_chain(HOST, authority=authority)).port)
    assert len(wired.context._verified) <= 2


# -- at the same time --------------------------------------------------------------------------


def test_thirty_threads_during_pin_changes_never_reach_the_attacker(
    simulator: DeliverySimulator, chain: Chain, other: Chain, serve: Any, wire: Any
) -> None:
    simulator.pin(HOST, chain.pin)
    good, evil, wired = serve(chain), serve(other), wire()
    start = threading.Barrier(31)
    reached, refused = [], []

    def work(port: int, outcome: list[object]) -> None:
        start.wait(timeout=10)
        for _ in range(4):
            try:
                outcome.append(wired.exchange(port))
            except PinMismatchError as exc:
                outcome.append(exc)

    threads = [
        threading.Thread(target=work, args=(port, outcome))
        for port, outcome in [(good.port, reached), (evil.port, refused)] * 15
    ]
    for thread in threads:
        thread.start()
    start.wait(timeout=10)
    assert chain.intermediate is not None
    for pin in (chain.intermediate.pin, chain.pin) * 10:
        simulator.pin(HOST, pin)
        wired.adopt()
    for thread in threads:
        thread.join(timeout=60)
    assert [isinstance(each, PinMismatchError) for each in refused] == [True] * 60
    assert all(isinstance(each, bytes) and each.startswith(b"HTTP/1.1 200") for each in reached)
    assert len(reached) == 60
    assert silent(evil)


def test_a_context_is_for_clients_only(wire: Any) -> None:
    context, pair = wire().context, socket.socketpair()
    with pair[0], pair[1], pytest.raises(ConfigurationError, match="clients only"):
        context.wrap_socket(pair[0], server_side=True)
    with pytest.raises(ConfigurationError, match="clients only"):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)


def test_each_wanted_connection_is_told(
    simulator: DeliverySimulator, authority: Authority, wire: Any
) -> None:
    wanted: list[None] = []
    context = PinnedContext(wire().judge, anchors=authority.pem, wanted=lambda: wanted.append(None))
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)
    with socket.socket() as sock:
        context.wrap_socket(sock, server_hostname=HOST).close()
    assert len(wanted) == 2


def test_anchors_that_are_no_certificates_are_an_error_of_the_family(wire) -> None:
    with pytest.raises(MalformedError, match="PEM"):
        wire(ca="ca.pem")


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_a_refusal_survives_the_way_out_of_a_worker_process(
    wire, simulator, serve, chain, other, again
) -> None:
    simulator.pin(HOST, chain.pin)
    with pytest.raises(PinMismatchError) as caught:
        wire().exchange(serve(other).port)
    found = again(caught.value)
    assert type(found) is type(caught.value)
    assert (str(found), vars(found)) == (str(caught.value), vars(caught.value))
    assert found.verify_code == 50


def test_threads_that_set_the_protocols_again_never_break_a_handshake(
    simulator: DeliverySimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """httpcore and urllib3 do so before each: OpenSSL must not free what another thread copies."""
    freed: list[object] = []
    replace = ssl.SSLContext.set_alpn_protocols

    def counted(self: ssl.SSLContext, protocols: Iterable[str]) -> None:
        freed.append(self)
        replace(self, protocols)

    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", counted)
    with simulator.client() as pins:
        context = pins.context(alpn=("http/1.1",))
        hello = hello_of(context)
        with ThreadPoolExecutor(8) as pool:
            hellos = pool.map(lambda _: hello_of(context, ["http/1.1"]), range(200))
        assert {ALPN_HTTP in each for each in (hello, *hellos)} == {True}
        assert freed.count(context) == 1
        assert ALPN_H2 in hello_of(context, ["h2"])
        assert ALPN_HTTP in hello_of(context, iter(["http/1.1"]))


# The extension of a hello (RFC 7301): type, length, length of the list, each name with its length.
ALPN_HTTP = b"\x00\x10\x00\x0b\x00\x09\x08http/1.1"
ALPN_H2 = b"\x00\x10\x00\x05\x00\x03\x02h2"


def hello_of(context: ssl.SSLContext, protocols: Iterable[str] | None = None) -> bytes:
    """Return the first flight of a connection."""
    if protocols is not None:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def test_threads_that_see_many_certificates_do_not_disturb_each_other() -> None:
    """At the bound each new one makes room: what is remembered changes under the others."""
    remembered: dict[object, object] = {}

    def see(thread: int) -> None:
        for n in range(20_000):
            make_room(remembered)
            remembered[thread, n] = None

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for each in [pool.submit(see, thread) for thread in range(4)]:
                each.result()
    finally:
        sys.setswitchinterval(before)
    assert len(remembered) <= 1024 + 4
