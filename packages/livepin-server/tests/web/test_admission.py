"""Admission to management: the Host header, the rate, the time of a body and of all."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from litestar.exceptions import HTTPException
from livepin_server.telemetry.metrics import Metrics
from livepin_server.web.admission import Admission
from livepin_server.web.limits import RateLimit

Answer = tuple[int, dict[str, str], bytes]


async def read_and_answer(_scope: Any, receive: Any, send: Any) -> None:
    """An application that reads the body and sends it back."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of this test's own."""
    return Metrics()


@pytest.fixture
def ask(metrics: Metrics) -> Callable[..., Answer]:
    """Send a request through admission, in memory; `pieces` are its body, None never comes."""

    def one(
        app: Any = read_and_answer,
        *,
        headers: tuple[tuple[str, str], ...] = (("host", "localhost"),),
        pieces: tuple[bytes | None, ...] = (b"",),
        hosts: tuple[str, ...] = (),
        **options: Any,
    ) -> Answer:
        options.setdefault("limit", RateLimit(1000, 1000))
        admission = Admission(app, metrics, hosts=hosts, **options)
        sent: list[Any] = []
        left = list(pieces)

        async def receive() -> Any:
            piece = left.pop(0) if left else None
            if piece is None:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": piece, "more_body": bool(left)}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "GET", "path": "/p", "client": ("192.0.2.7", 1),
            "headers": [(n.encode(), v.encode("latin-1")) for n, v in headers],
        }  # fmt: skip
        asyncio.run(asyncio.wait_for(admission(scope, receive, send), 30))
        start, *rest = sent
        found = {n.decode(): v.decode() for n, v in start["headers"]}
        return start["status"], found, b"".join(each["body"] for each in rest)

    return one


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LocalHost", "localhost.", "localhost:8444", "127.0.0.1", "127.0.0.1:8444",
        "[::1]", "[::1]:8444", "ops.example.com", "OPS.example.com:1", "10.0.0.5:8444",
    ],
)  # fmt: skip
def test_our_own_names_are_taken(ask, host: str) -> None:
    hosts = ("Ops.example.com", "10.0.0.5")
    assert ask(headers=(("host", host),), hosts=hosts)[0] == 201


@pytest.mark.parametrize(
    "headers",
    [
        (("host", "evil.example"),), (("host", "evil.example:8444"),), (("host", ""),), (),
        (("host", "localhost"), ("host", "evil.example")), (("host", "localhost.evil.example"),),
        (("host", "127.0.0.1.evil.example"),), (("host", "192.0.2.1"),), (("host", "[::2]"),),
        (("host", "localhost@evil.example"),), (("host", "[::1x"),), (("host", "\xff"),),
        (("host", "evil.example#localhost"),), (("host", "0.0.0.0"),),
        (("x-forwarded-host", "localhost"),),
    ],
)  # fmt: skip
def test_other_names_are_misdirected(ask, headers) -> None:
    status, found, body = ask(headers=headers, hosts=("10.0.0.5",))
    assert (status, found["content-type"]) == (421, "application/problem+json")
    assert json.loads(body)["title"] == "Misdirected Request"


@pytest.mark.parametrize("listened", ["0.0.0.0", "::"])
def test_who_listens_on_all_addresses_may_be_called_by_any_number_but_no_name(
    ask, listened
) -> None:
    for host, status in (
        ("192.0.2.1:8444", 201), ("[2001:db8::1]:8444", 201), ("evil.example", 421),
        ("192.0.2.1.evil.example", 421), ("0x7f.1", 421), ("2130706433", 421),
    ):  # fmt: skip
        assert ask(headers=(("host", host),), hosts=(listened,))[0] == status, host


def test_too_many_requests_are_told_when_to_come_back(ask) -> None:
    limit = RateLimit(0.25, 2)
    assert [ask(limit=limit)[0] for _ in range(3)] == [201, 201, 429]
    status, found, body = ask(limit=limit)
    assert (status, found["retry-after"]) == (429, "4")
    assert json.loads(body)["detail"] == "too many requests from this address"


def test_a_body_in_pieces_comes_through(ask) -> None:
    assert ask(pieces=(b"a", b"b", b"c"))[2] == b"abc"


def test_a_body_that_does_not_come_in_time_is_refused_by_the_application(ask) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await read_and_answer(scope, receive, send)
        except HTTPException as exc:
            seen.append(exc)
            await send({"type": "http.response.start", "status": exc.status_code, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    assert ask(app, pieces=(b"a", None), body_time=0.02)[0] == 408
    assert seen[0].detail == "expected the body within 0 s"


def test_after_the_body_waiting_for_the_clients_good_bye_is_not_hurried(ask) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        leaving = asyncio.create_task(receive())
        done, _ = await asyncio.wait({leaving}, timeout=0.1)
        leaving.cancel()
        await send({"type": "http.response.start", "status": 500 if done else 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    assert ask(app, body_time=0.02)[0] == 200


def test_what_takes_too_long_is_answered_all_the_same(ask) -> None:
    async def endless(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.Event().wait()

    status, found, body = ask(endless, request_time=0.02)
    assert (status, found["retry-after"]) == (503, "5")
    assert json.loads(body)["detail"] == "the request took too long; it may take effect yet"


def test_an_answer_that_has_begun_is_broken_off(ask, metrics) -> None:
    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        ask(endless, request_time=0.02)


def test_each_answer_is_counted_and_logged_by_its_status(ask, metrics, caplog) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["user"] = type("User", (), {"name": "alice"})
        await read_and_answer(scope, receive, send)

    secret = "lpk_000000000000_" + "s" * 43
    with caplog.at_level(logging.INFO, "livepin.management"):
        ask(app, headers=(("host", "localhost"), ("authorization", f"Bearer {secret}")))
        ask(headers=(("host", "evil.example"),))
    for status in ("201", "421"):
        labels = {"front": "management", "status": status}
        assert metrics.registry.get_sample_value("livepin_requests_total", labels) == 1
    first, second = caplog.records
    assert (first.status, first.caller, first.method, first.path) == (201, "alice", "GET", "/p")
    assert (second.status, second.caller) == (421, None)
    assert secret not in str([vars(each) for each in caplog.records])


def test_what_is_no_request_passes_through(metrics) -> None:
    seen = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    admission = Admission(app, metrics, hosts=(), limit=RateLimit(1, 1))
    asyncio.run(admission({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
