"""Fetching over real sockets: every byte and every second is bounded."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc

import livepin
import pytest
from livepin.client import HTTPFetcher, Request
from livepin.client import fetcher as fetcher_module
from livepin.client.context import PinnedContext
from livepin.client.fetcher import connect, path_of
from livepin.errors import FetchError
from livepin.testing import make_chain

MIB = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/jose\r\n"


def request(url: str, **changes: object) -> Request:
    settings = {
        "url": url,
        "context": None,
        "max_bytes": 1000,
        "max_compressed": 500,
        "timeout": 10.0,
        "headers": {},
    }
    return Request(**(settings | changes))


def fetch(url: str, **changes: object) -> fetcher_module.Answer:
    return HTTPFetcher().fetch(request(url, **changes))


def read_head(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            break
        data += more
    return data


def saying(*pieces: bytes):
    """Return a handler that reads a request and says these pieces."""

    def handle(sock: socket.socket) -> None:
        read_head(sock)
        for piece in pieces:
            sock.sendall(piece)

    return handle


# -- what is answered --------------------------------------------------------------------------


def test_a_document_comes_as_it_was_sent(plain_server) -> None:
    server = plain_server(lambda _path, _headers: (200, {}, b"document"))
    found = fetch(f"{server.url}/v1/a?b", headers={"If-None-Match": '"7"'})
    assert (found.status, found.body) == (200, b"document")
    method, path, headers = server.requests[0]
    assert (method, path) == ("GET", "/v1/a")
    assert headers["if-none-match"] == '"7"'
    assert headers["accept-encoding"] == "gzip"


def test_a_body_makes_it_a_post(odd_server) -> None:
    got = []

    def handle(sock: socket.socket) -> None:
        got.append(read_head(sock))
        sock.sendall(HEAD.replace(b"200 OK", b"202 Accepted") + b"\r\n")

    server = odd_server(handle)
    assert fetch(f"{server.url}/x", body=b'{"a":1}').status == 202
    assert got[0].startswith(b"POST /x HTTP/1.1\r\n")
    assert b"Content-Length: 7\r\n" in got[0]


def test_a_gzipped_document_is_expanded(plain_server) -> None:
    packed = gzip.compress(b"x" * 900)
    server = plain_server(lambda _path, _headers: (200, {"Content-Encoding": "gzip"}, packed))
    assert fetch(server.url).body == b"x" * 900


def test_a_chunked_document_is_joined(odd_server) -> None:
    server = odd_server(
        saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")
    )
    assert fetch(server.url).body == b"abcde"


@pytest.mark.parametrize("status", [204, 301, 302, 304, 307, 308, 401, 404, 429, 500, 503])
def test_another_status_has_no_body_and_no_redirect_is_followed(plain_server, status: int) -> None:
    elsewhere = plain_server(lambda _path, _headers: (200, {}, b"elsewhere"))
    server = plain_server(
        lambda _path, _headers: (status, {"Location": elsewhere.url}, b"not read")
    )
    assert fetch(server.url) == fetcher_module.Answer(status=status)
    assert elsewhere.requests == []


# -- bounds on bytes ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 999, 1000])
def test_a_document_up_to_the_bound_is_taken(plain_server, size: int) -> None:
    server = plain_server(lambda _path, _headers: (200, {}, b"x" * size))
    assert fetch(server.url).body == b"x" * size


@pytest.mark.parametrize("size", [1001, 2000, 50 * MIB])
def test_a_document_over_the_bound_is_refused(plain_server, size: int) -> None:
    body = b"x" * size
    server = plain_server(lambda _path, _headers: (200, {}, body))
    with pytest.raises(FetchError, match="at most 1000 bytes"):
        fetch(server.url)


def test_an_endless_document_is_cut_at_the_bound(odd_server) -> None:
    sent = []

    def handle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(HEAD + b"\r\n")
        while True:
            sock.sendall(b"x" * 65536)
            sent.append(65536)

    server = odd_server(handle)
    with pytest.raises(FetchError, match="at most 1000 bytes"):
        fetch(server.url)
    assert sum(sent) < 50 * MIB


def test_a_decompression_bomb_stops_at_the_bound(plain_server) -> None:
    bomb = gzip.compress(b"\0" * (64 * MIB))
    server = plain_server(lambda _path, _headers: (200, {"Content-Encoding": "gzip"}, bomb))
    tracemalloc.start()
    try:
        with pytest.raises(FetchError, match="at most 1000 bytes"):
            fetch(server.url, max_compressed=len(bomb))
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


def test_a_compressed_document_over_its_own_bound_is_refused(plain_server) -> None:
    padding = bytes(gzip.compress(b"small")) + b"\0" * 600
    server = plain_server(lambda _path, _headers: (200, {"Content-Encoding": "gzip"}, padding))
    with pytest.raises(FetchError, match="500 compressed"):
        fetch(server.url)


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Encoding: \x1b[2J\x1b]0;x\x07\r\n\r\n",
        b"HTT\x1b[2J\x9b2J\r\n\r\n",
        b"HTTP/1.1 2\x1b0 OK\r\n\r\n",
        b"y" * 60_000 + b"\r\n\r\n",
    ],
    ids=["encoding", "protocol", "status", "length"],
)
def test_what_a_stranger_answers_does_not_control_a_log_or_a_terminal(
    odd_server, answer: bytes
) -> None:
    def handle(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(answer)

    with pytest.raises(FetchError) as caught:
        fetch(odd_server(handle).url)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("br", b"x", "expected gzip or no encoding, found br"),
        ("deflate", b"x", "found deflate"),
        ("gzip, gzip", b"x", "found gzip, gzip"),
        ("gzip", b"no gzip", "incorrect header"),
        ("gzip", gzip.compress(b"x" * 100)[:-4], "ends early"),
        ("gzip", b"", "ends early"),
    ],
    ids=["br", "deflate", "twice", "no-gzip", "half", "nothing"],
)
def test_a_document_in_a_wrong_encoding_is_refused(
    plain_server, encoding: str, body: bytes, message: str
) -> None:
    server = plain_server(lambda _path, _headers: (200, {"Content-Encoding": encoding}, body))
    with pytest.raises(FetchError, match=message):
        fetch(server.url)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 100,
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"y" * 100_000,
        HEAD + b"Content-Length: 10\r\n\r\nshort",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab",
    ],
    ids=[
        "nothing", "zeros", "other-protocol", "bad-status", "many-headers", "long-header",
        "long-status", "half-a-body", "half-a-chunk", "bad-chunk",
    ],
)  # fmt: skip
def test_garbage_and_half_answers_are_refused(odd_server, answer: bytes) -> None:
    def handle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        read_head(sock)  # until the client is gone: a reset would hide the answer

    server = odd_server(handle)
    with pytest.raises(FetchError):
        fetch(server.url)


# -- bounds on time ----------------------------------------------------------------------------


def drip(*, then: bytes):
    """Return a handler that sends one byte every 20 ms, for ever."""

    def handle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(then)
        while True:
            sock.sendall(b"x")
            time.sleep(0.02)  # the pace of the attack

    return handle


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", HEAD + b"Content-Length: 900000\r\n\r\n", HEAD + b"\r\n"],
    ids=["status", "header", "body", "body-to-the-end"],
)
def test_a_slow_drip_ends_with_the_deadline(
    odd_server, delivery_chain, start: bytes, tls: bool
) -> None:
    server = odd_server(drip(then=start), tls=tls)
    context = trusting(delivery_chain) if tls else None
    began = time.monotonic()
    with pytest.raises(FetchError, match="no complete answer in time"):
        fetch(server.url, context=context, timeout=0.4, max_bytes=MIB)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_server_that_never_answers_ends_with_the_deadline(
    odd_server, delivery_chain, tls: bool
) -> None:
    released = threading.Event()
    server = odd_server(lambda _sock: released.wait(10) and None)  # no handshake either
    context = trusting(delivery_chain) if tls else None
    began = time.monotonic()
    try:
        with pytest.raises(FetchError, match="no complete answer in time"):
            fetch(server.url.replace("http:", "https:" if tls else "http:"), context=context,
                  timeout=0.3)  # fmt: skip
    finally:
        released.set()
    assert time.monotonic() - began < 3


def test_a_handshake_that_drips_ends_with_the_deadline(odd_server, delivery_chain) -> None:
    def handle(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB, byte by byte
        while True:
            sock.sendall(b"\x02")
            time.sleep(0.02)  # the pace of the attack

    server = odd_server(handle)
    began = time.monotonic()
    with pytest.raises(FetchError, match="no complete answer in time"):
        fetch(server.url.replace("http:", "https:"), context=trusting(delivery_chain), timeout=0.4)
    assert time.monotonic() - began < 3


def test_an_address_that_never_answers_leaves_time_for_the_next(
    plain_server, full_port: int, monkeypatch
) -> None:
    server = plain_server(lambda _path, _headers: (200, {}, b"document"))
    port = int(server.url.rpartition(":")[2])
    real = socket.getaddrinfo

    def two_addresses(host: str, port: int, *args: object, **options: object) -> list:
        # A name with two addresses, as where an IPv6 route is broken: the first never answers.
        if host != "two.example":
            return real(host, port, *args, **options)
        found = real("127.0.0.1", port, type=socket.SOCK_STREAM)
        silent = real("127.0.0.1", full_port, type=socket.SOCK_STREAM)
        return silent + found

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    assert fetch(f"http://two.example:{port}/", timeout=2.0).body == b"document"


@pytest.fixture
def full_port():
    """A port whose queue is full: the system answers nothing to whoever wants to connect."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            waiting.append(sock)
        yield address[1]
        for sock in waiting:
            sock.close()


def test_a_connection_given_up_while_it_is_opened_is_never_used(odd_server) -> None:
    server = odd_server(read_head)
    connection = connect(server.url, None, timeout=5)
    connection.cut()
    with pytest.raises(TimeoutError):
        connection.connect()
    connection.end()
    connection.cut()  # again, once it is closed
    assert connection.sock is None


# -- where to ----------------------------------------------------------------------------------


def trusting(chain, *, judge: object = None) -> PinnedContext:
    return PinnedContext(judge or Allowing(), anchors=chain.authority.pem)


class Allowing:
    """Judges that every verified chain is right."""

    generation = 0

    def check(self, host: str, leaf: bytes, chain: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_an_https_url_is_fetched_over_the_context(odd_server, delivery_chain, host: str) -> None:
    got = []

    def handle(sock: socket.socket) -> None:
        got.append(read_head(sock))
        sock.sendall(HEAD + b"Content-Length: 2\r\n\r\nok")

    server = odd_server(handle, tls=True)
    found = fetch(f"https://{host}:{server.port}/a", context=trusting(delivery_chain))
    assert found.body == b"ok"
    assert f"Host: {host}:{server.port}\r\n".encode() in got[0]


@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
def test_an_ipv6_literal_is_fetched(odd_server) -> None:
    got = []
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as exc:
        pytest.skip(f"this system has no IPv6 loopback: {exc}")

    def serve() -> None:
        with listener.accept()[0] as sock:
            got.append(read_head(sock))
            sock.sendall(HEAD + b"Content-Length: 2\r\n\r\nv6")

    thread = threading.Thread(target=serve)
    with listener:
        thread.start()
        port = listener.getsockname()[1]
        assert fetch(f"http://[::1]:{port}/a").body == b"v6"
        thread.join()
    assert f"Host: [::1]:{port}\r\n".encode() in got[0]


@pytest.mark.parametrize(
    ("url", "tls", "expected"),
    [
        ("http://[::1]/x", False, ("::1", 80)),
        ("https://[2001:db8::1]/x", True, ("2001:db8::1", 443)),
        ("https://pins.example.com", True, ("pins.example.com", 443)),
        ("http://pins.example.com:8080", False, ("pins.example.com", 8080)),
    ],
)
def test_the_port_of_a_url_may_be_left_out(
    delivery_chain, url: str, tls: bool, expected: tuple[str, int]
) -> None:
    connection = connect(url, trusting(delivery_chain) if tls else None, timeout=1)
    assert (connection.host, connection.port) == expected


def test_an_https_url_without_a_context_is_never_fetched_in_cleartext(odd_server) -> None:
    server = odd_server(read_head)
    with pytest.raises(FetchError, match="needs a TLS context"):
        fetch(f"https://localhost:{server.port}/")
    assert server.connections == 0


def test_a_path_may_be_left_out() -> None:
    assert path_of("https://pins.example.com") == "/"
    assert path_of("https://pins.example.com/a/b") == "/a/b"


@pytest.mark.parametrize(
    "url", ["http://localhost:{port}", "http://name.invalid/", f"http://{'x' * 300}.example/"]
)
def test_no_connection_is_a_fetch_error(closed_port: int, url: str) -> None:
    with pytest.raises(FetchError):
        fetch(url.format(port=closed_port))


def test_a_certificate_of_another_authority_is_refused(odd_server) -> None:
    server = odd_server(read_head, tls=True)
    with pytest.raises(FetchError, match="certificate verify failed"):
        fetch(server.url, context=trusting(make_chain("localhost")))


def test_a_refused_connection_keeps_its_error(odd_server, delivery_chain) -> None:
    class Refusing(Allowing):
        def check(self, host: str, leaf: bytes, chain: object) -> None:
            raise livepin.UnlistedHostError("not a delivery host", host=host)

    server = odd_server(read_head, tls=True)
    context = trusting(delivery_chain, judge=Refusing())
    with pytest.raises(livepin.UnlistedHostError, match="not a delivery host"):
        fetch(server.url, context=context)
