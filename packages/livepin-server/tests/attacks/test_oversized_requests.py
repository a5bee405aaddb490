"""A stranger sends more than anybody needs to: heads, bodies, paths, headers without end."""

from __future__ import annotations

import resource
from contextlib import suppress

import pytest

OK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
REPORT = b"POST /v1/acme/reports HTTP/1.1\r\nHost: x\r\n"
CONFIG = "/v1/acme/config/main"


def assert_alive(server) -> None:
    """Check that both listeners answer others."""
    for to in ("delivery", "management"):
        assert server.raw(OK, to).startswith(b"HTTP/1.1 200 ")


def send_endlessly(server, to: str, start: bytes, piece: bytes, *, most: int = 8 << 20) -> bytes:
    """Send pieces until the server has had enough; return what it said."""
    found, sent = b"", 0
    with server.connect(to, timeout=20) as sock, suppress(OSError):
        sock.sendall(start)
        while sent < most:
            sock.sendall(piece)
            sent += len(piece)
    with suppress(OSError):
        found = sock.recv(4096)
    assert sent < most, "the server took everything"
    return found


@pytest.mark.parametrize("to", ["delivery", "management"])
@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /", b"a" * 16384),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"a" * 16384),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-Another: header\r\n" * 512),
        (b"", b"\r\n" * 8192),
        (b"G", b"E" * 16384),
    ],
    ids=["path", "header", "headers", "empty-lines", "method"],
)
def test_a_head_without_end_is_cut_off(server, to, start, piece) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    send_endlessly(server, to, start, piece)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024  # KiB
    assert_alive(server)


@pytest.mark.parametrize("to", ["delivery", "management"])
def test_a_hundred_headers_are_enough(server, to: str) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    assert server.raw(head + b"X: a\r\n" * 90 + b"\r\n", to).startswith(b"HTTP/1.1 200 ")
    assert server.raw(head + b"X: a\r\n" * 200 + b"\r\n", to).startswith(b"HTTP/1.1 431 ")
    assert_alive(server)


def test_a_report_that_says_it_is_huge_is_refused_unread(server) -> None:
    for length in (b"16385", b"1073741824", b"9" * 19):
        found = server.raw(
            b"POST /v1/acme/reports HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Length: " + length + b"\r\n\r\n"
        )
        assert found.startswith(b"HTTP/1.1 413 "), found
    assert_alive(server)


@pytest.mark.parametrize(
    ("to", "path", "most"),
    [("delivery", "/v1/acme/reports", 16), ("management", "/v1/api-keys", 256)],
)
def test_a_body_of_unsaid_length_is_cut_off_at_its_limit(server, to, path, most) -> None:
    key = server.key()

    def pieces():
        for _ in range(most + 1):
            yield b" " * 1024

    answer = server.send("POST", path, to=to, key=key, content=pieces())
    assert (answer.status_code, answer.json()["title"]) == (413, "Request Entity Too Large")
    assert answer.headers["connection"] == "close"
    assert_alive(server)


@pytest.mark.parametrize(
    "request_",
    [
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        REPORT + b"Content-Length: -5\r\n\r\n",
        REPORT + b"Content-Length: 0x10\r\n\r\n",
        REPORT + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        REPORT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
@pytest.mark.parametrize("to", ["delivery", "management"])
def test_what_is_no_request_is_refused_and_the_connection_closed(server, to, request_) -> None:
    found = server.raw(request_, to)
    assert found == b"" or found.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), found
    assert_alive(server)


def test_a_broken_chunk_does_not_smuggle_a_second_request(server) -> None:
    found = server.raw(
        b"POST /v1/acme/reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"ZZ\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert found.count(b"HTTP/1.1 ") <= 1
    assert b"200 OK" not in found
    assert_alive(server)


def test_pipelined_requests_are_answered_in_order(server) -> None:
    first = f"GET {CONFIG} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    found = server.raw(first + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" + OK)
    assert [found.index(text) for text in (b" 200 OK", b" 404 ", b"ok\n")] == sorted(
        found.index(text) for text in (b" 200 OK", b" 404 ", b"ok\n")
    )
