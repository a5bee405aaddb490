"""Requests to receivers: verified, bounded in time, and judged by their status alone."""

from __future__ import annotations

import asyncio
import socket
import threading
from dataclasses import replace

import pytest
from livepin.testing import RecordingServer, make_chain
from livepin_server.monitor.notifiers.calling import Call, Calling, resolved
from livepin_server.monitor.notifiers.telling import TellError
from livepin_server.services.monitoring.targets import require_url

from .conftest import CA, CHAIN


@pytest.fixture
def post(receiver, calling):
    def one(using=calling, **members):
        call = Call(url=receiver.url, body=b"{}", headers={}, ca=CA, allow_private=True)
        asyncio.run(using.post(replace(call, **members)))

    return one


def test_a_request_that_is_taken_arrives_as_it_was_given(receiver, post):
    post(headers={"x-key": "k"}, body=b'{"a": 1}')
    ((path, headers, body),) = receiver.got
    assert (path, body, headers["x-key"]) == ("/hook", {"a": 1}, "k")
    assert headers["content-type"] == "application/json"
    assert repr(Call(url="u", body=b"", headers={"authorization": "secret"})) == "Call(...)"


def test_a_scheme_in_capitals_is_the_same_one(receiver, post):
    """A channel with it is accepted, so it is told, and by its own anchors."""
    url = receiver.url.replace("https", "HTTPS")
    assert require_url(url, allow_private=True).startswith("https://")
    post(url=url)
    assert len(receiver.got) == 1
    with pytest.raises(TellError, match="its certificate is not verified"):
        post(url=url, ca=None)


@pytest.mark.parametrize(
    ("status", "permanent", "disable"),
    [
        (200, None, None), (204, None, None), (301, False, False), (307, False, False),
        (400, True, False), (401, False, False), (403, False, False), (404, False, False),
        (405, False, False), (408, False, False), (413, True, False), (422, True, False),
        (410, True, True), (429, False, False), (500, False, False), (503, False, False),
    ],
)  # fmt: skip
def test_a_status_says_whether_it_may_be_taken_later(receiver, post, status, permanent, disable):
    receiver.answer = status, {"Location": "https://localhost/elsewhere"}, b"secret of theirs"
    if permanent is None:
        post()
        return
    with pytest.raises(TellError, match=f"answered {status}") as caught:
        post()
    assert (caught.value.permanent, caught.value.disable) == (permanent, disable)
    assert "theirs" not in str(caught.value)
    assert len(receiver.got) == 1  # no redirect is followed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120), ("0", 0), ("Mon, 23 Nov 2026 12:05:00 GMT", 300),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0), ("soon", None), ("-1", None), ("9" * 30, None),
        ("Mon, 99 Nov 2026 12:05:00 GMT", None), ("Mon, 23 Nov 2026 12:05:00", None),
    ],
)  # fmt: skip
def test_what_a_receiver_asks_for_is_given_on(receiver, post, text, seconds):
    receiver.answer = 429, {"Retry-After": text}, b""
    with pytest.raises(TellError) as caught:
        post()
    assert caught.value.retry_after == seconds


def test_who_is_not_verified_gets_nothing(receiver, post):
    with pytest.raises(TellError, match="its certificate is not verified: unable to get local"):
        post(ca=None)
    with RecordingServer(make_chain("other.example", authority=CHAIN.authority)) as server:
        with pytest.raises(TellError, match="its certificate is not verified: Hostname mismatch"):
            post(url=f"https://localhost:{server.port}/")
        assert server.requests == 0
    assert receiver.got == []


def test_who_is_not_there_is_told_in_words(post):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TellError, match="it refuses the connection"):
        post(url=f"https://127.0.0.1:{port}/")
    with pytest.raises(TellError, match="its host does not resolve to an address"):
        post(url="https://nowhere.invalid/")


def test_who_hangs_takes_no_longer_than_the_patience(receiver, post, clock):
    end = threading.Event()
    receiver.answer = lambda: (end.wait(60), {}, b"")
    impatient = Calling(clock=clock, patience=0.2)
    try:
        with pytest.raises(TellError, match=r"no answer within 0\.2 seconds") as caught:
            post(impatient)
    finally:
        end.set()
    assert not caught.value.permanent


def answering(data):
    """Serve one connection in plain HTTP with these bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        sock, _ = listener.accept()
        with sock:
            sock.recv(65536)
            try:
                for _ in range(100):
                    sock.sendall(data)
                    if len(data) < 10_000:
                        break
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it hung up|RemoteProtocolError"),
        (b"garbage\r\n\r\n", "expected an answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 50_000, "expected an answer in HTTP"),
    ],
)
def test_answers_that_are_none_or_have_no_end_are_bounded(post, data, reason):
    listener, url = answering(data)
    with listener, pytest.raises(TellError, match=reason) as caught:
        post(url=url)
    assert not caught.value.permanent


def test_an_answer_whose_body_has_no_end_is_not_read(post):
    listener, url = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 20000)
    with listener:
        post(url=url)


def test_no_tls_is_told_as_such(post):
    listener, url = answering(b"plain text, no TLS at all\r\n")
    with listener, pytest.raises(TellError, match="no TLS"):
        post(url=url.replace("http:", "https:"))


def test_the_second_address_is_tried_where_the_first_refuses(receiver, post, clock):
    async def both(host, port):
        return ["127.0.0.9", "127.0.0.1"]

    post(Calling(clock=clock, resolve=both))
    assert len(receiver.got) == 1


def test_the_addresses_of_a_host_are_those_of_the_system():
    assert "127.0.0.1" in asyncio.run(resolved("localhost", 443))
