"""A stranger guesses API keys, or asks without end, from one address."""

from __future__ import annotations

import asyncio

import httpx
from livepin_server.management.app import build_app
from livepin_server.telemetry.metrics import Metrics
from livepin_server.web.auth import FAILURES_AT_ONCE


def test_who_guesses_keys_is_told_to_stop(start_server) -> None:
    server = start_server()
    answers = [
        server.send("GET", "/v1/whoami", to="management", key=f"lpk_{number:012}_{'A' * 43}")
        for number in range(int(FAILURES_AT_ONCE) + 5)
    ]
    assert [each.status_code for each in answers] == [401] * int(FAILURES_AT_ONCE) + [429] * 5
    assert answers[-1].headers["retry-after"] == "5"
    assert answers[-1].json()["detail"] == "too many wrong API keys from this address"


def test_a_guesser_cannot_lock_out_an_operator_of_the_same_address(start_server) -> None:
    server = start_server()
    key = server.key("operator")
    for _ in range(int(FAILURES_AT_ONCE) + 5):
        server.send("GET", "/v1/whoami", to="management", key="wrong")
    assert server.send("GET", "/v1/whoami", to="management", key=key).status_code == 200


def test_a_wrong_key_is_answered_the_same_whether_it_exists_or_not(start_server) -> None:
    server = start_server()
    key = server.key()
    identity = key.split("_")[1]
    answers = [
        server.send("GET", "/v1/whoami", to="management", key=text)
        for text in (f"lpk_{identity}_{'A' * 43}", f"lpk_000000000000_{'A' * 43}", "x")
    ]
    assert len({(each.status_code, each.content) for each in answers}) == 1


def test_who_guesses_from_all_addresses_of_a_network_is_told_to_stop(services) -> None:
    """One IPv6 host has a whole /64 to guess from; another network is not held to account."""
    app = build_app(services, Metrics())

    async def one(address: str) -> int:
        transport = httpx.ASGITransport(app=app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="https://x") as client:
            headers = {"authorization": "Bearer lpk_000000000000_" + "A" * 43}
            return (await client.get("/v1/whoami", headers=headers)).status_code

    async def all_of_them() -> list[int]:
        own = [await one(f"2001:db8:0:1::{number:x}") for number in range(25)]
        return [*own, await one("2001:db8:0:2::1")]

    most = int(FAILURES_AT_ONCE)
    assert asyncio.run(all_of_them()) == [401] * most + [429] * (25 - most) + [401]


def test_requests_without_end_are_limited_on_both_listeners(start_server) -> None:
    server = start_server(requests_per_second="0.05")  # twelve at once
    for to in ("delivery", "management"):
        statuses = [server.send("GET", "/healthz", to=to).status_code for _ in range(14)]
        assert statuses == 12 * [200] + 2 * [429]
        answer = server.send("GET", "/healthz", to=to)
        assert answer.headers["retry-after"] == "20"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"] == "too many requests from this address"


def test_a_forged_address_in_a_header_is_not_believed(start_server) -> None:
    server = start_server(requests_per_second="0.05")
    for to in ("delivery", "management"):
        statuses = [
            server.send(
                "GET", "/healthz", to=to,
                headers={"x-forwarded-for": f"192.0.2.{n}", "forwarded": f"for=192.0.2.{n}"},
            ).status_code
            for n in range(14)
        ]  # fmt: skip
        assert statuses == 12 * [200] + 2 * [429]
