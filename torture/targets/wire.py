"""What a delivery service, or whoever stands in its place, answers: documents, events, tokens.

The bytes come over a real socket, so that the standard library's client is fuzzed too.
"""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from unittest import mock

from livepin.client import fetcher, push
from livepin.client.fetcher import HTTPFetcher, Request
from livepin.client.push import PushListener
from livepin.client.token_answer import TokenAnswer
from livepin.errors import FetchError, MalformedError

from .target import Target

_URL = "http://pins.example.com/v1/acme/events"
_MOST = 4096  # bytes of a body, and half as many compressed


@contextmanager
def _answered(data: bytes) -> Iterator[None]:
    """Let the next connection be one on which these bytes come."""
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    with closing(ours), closing(theirs), mock.patch.object(fetcher, "_dial", return_value=ours):
        yield


def _answer(data: bytes) -> None:
    request = Request(
        url=_URL, context=None, max_bytes=_MOST, max_compressed=_MOST // 2, timeout=5, headers={}
    )
    with _answered(data):
        try:
            found = HTTPFetcher().fetch(request)
        except FetchError as exc:
            assert str(exc).isprintable()
            return
    assert len(found.body) <= _MOST
    assert found.status == 200 or not found.body


def _answers() -> Iterator[bytes]:
    packed = gzip.compress(b"a.b.c" * 10, mtime=0)
    head = b'HTTP/1.1 200 OK\r\nETag: "1.2"\r\n'
    yield head + b"Content-Length: 5\r\n\r\na.b.c"
    yield head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    yield head + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\na.b.c\r\n0\r\nTrailer: 1\r\n\r\n"
    yield b"HTTP/1.1 304 Not Modified\r\n\r\n"
    yield b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\na.b.c"


class _Nobody:
    """Stands for the updater of a listener, which has no TLS here."""

    def delivery_context(self) -> None:
        return None


def _events(data: bytes) -> None:
    told: list[bool] = []
    nobody: Any = _Nobody()
    listener = PushListener(
        nobody,
        url=lambda: _URL,
        stream="main",
        known=lambda: (1, 1),
        newer=lambda: told.append(True),
    )
    with _answered(data), mock.patch.multiple(push, _SPREAD=0.0, _MOST_SPREAD=0.0):
        try:
            listener._listen()
        except Exception:  # noqa: BLE001 - the listener's thread takes any, and goes on
            pass
        finally:
            if listener._connection is not None:
                listener._connection.end()
    assert len(told) <= 2 * data.count(b"data:")


def _streams() -> Iterator[bytes]:
    event = b'event: config\ndata: {"stream":"main","root_version":1,"version":2}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    yield head + b"\r\n: hello\n\n" + event
    yield head + b"\r\n" + event.replace(b"}", b',"spread":3}')
    yield head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(event) + event + b"\r\n0\r\n\r\n"
    yield b"HTTP/1.1 503 Busy\r\n\r\n"


def _token_answer(data: bytes) -> None:
    try:
        found = TokenAnswer.parse(data)
    except MalformedError:
        return
    for each in (found.tokens or {}).values():
        assert 1 <= each.lives <= 300
        assert each.value.isascii()
        assert not {*each.header} & {*": \t\r\n"}
        assert not {*each.value} & {*" \t\r\n"}


def _token_answers() -> Iterator[bytes]:
    token = {"header": "Livepin-Token", "token": "a.b.c", "lives": 300}
    answer = {
        "challenge": "AQID",
        "tokens": {"api.example.com": token},
        "newest": {"root_version": 1, "version": 9},
        "config": "a.b.c",
        "override": None,
    }
    for changes in ({}, {"tokens": None, "config": None}, {"tokens": {}, "override": "a.b.c"}):
        yield json.dumps({**answer, **changes}).encode()


TARGETS = {
    "answer": Target(run=_answer, seeds=_answers),
    "events": Target(run=_events, seeds=_streams),
    "token_answer": Target(run=_token_answer, seeds=_token_answers, json=True),
}
