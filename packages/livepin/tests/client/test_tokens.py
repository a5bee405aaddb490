"""What is kept of tokens, who waits for which fetch, and how long."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from livepin import ConfigurationError, MalformedError, Token, TokenState, jose
from livepin.client import Client, threads, tokens
from livepin.client.token_answer import Issued
from livepin.client.token_fetcher import Fetched
from livepin.client.tokens import Tokens
from livepin.testing import DeliverySimulator, FakeClock, Pin, TokenIssuer

A, B = ("a.example.com", None), ("b.example.com", None)
PIN = Pin(b"\1" * 32)


class Service:
    """Gives each host a token that tells how many were given before, unless told otherwise."""

    def __init__(self) -> None:
        self.asked: list[dict[str, bytes | None]] = []
        self.state = TokenState.SUCCESS
        self.lives = 300
        self.leaves_out: set[str] = set()
        self.begun, self.released = threading.Event(), threading.Event()
        self.released.set()

    def fetch(self, hosts: Mapping[str, bytes | None], *, timeout: float) -> Fetched:
        self.asked.append(dict(hosts))
        self.begun.set()
        assert self.released.wait(20)
        found = {
            host: Issued(
                header="Livepin-Token", value=f"{host}-{len(self.asked)}", lives=self.lives
            )
            for host in hosts
            if host not in self.leaves_out
        }
        return Fetched(state=self.state, tokens=found)


class Ticks:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def held(service: Service, ticks: Ticks) -> Tokens:
    return Tokens(service, ticks=ticks)  # type: ignore[arg-type]


@pytest.fixture
def simulator() -> DeliverySimulator:
    found = DeliverySimulator()
    found.pin(A[0], PIN, token=True)
    found.pin("plain.example.com", PIN)
    return found


@pytest.fixture
def pins(simulator: DeliverySimulator) -> Iterator[Client]:
    with simulator.client() as found:
        yield found


# -- what is kept ------------------------------------------------------------------------------


def test_a_token_is_kept_until_ten_seconds_before_it_ends(
    held: Tokens, ticks: Ticks, service: Service
) -> None:
    first = held.get(A)
    ticks.now += 289.9
    assert held.get(A) is first
    ticks.now += 0.1
    assert held.get(A).value == f"{A[0]}-2"


def test_it_is_counted_from_when_it_was_asked_for(
    held: Tokens, ticks: Ticks, service: Service
) -> None:
    service.released.clear()
    waiting = held.start(A)
    assert service.begun.wait(10)
    ticks.now += 289
    service.released.set()
    first = waiting.result(10)
    assert held.get(A) is first
    ticks.now += 1
    assert held.get(A) is not first


def test_one_that_hardly_lives_is_used_by_those_who_wait(held: Tokens, service: Service) -> None:
    service.lives = 5
    assert [held.get(A).value, held.get(A).value] == [f"{A[0]}-1", f"{A[0]}-2"]


def test_each_binding_has_a_token_of_its_own(held: Tokens, service: Service) -> None:
    found = [held.get((A[0], bound)) for bound in (b"1" * 32, b"2" * 32, b"1" * 32, None)]
    assert found[0] is found[2]
    assert len({each.value for each in found}) == 3
    assert service.asked == [{A[0]: b"1" * 32}, {A[0]: b"2" * 32}, {A[0]: None}]


def test_those_that_end_before_long_are_fetched_together(
    held: Tokens, ticks: Ticks, service: Service
) -> None:
    held.get(A)
    held.get(B)
    ticks.now += 200
    held.get(B)
    held.get(("c.example.com", None))
    assert [*service.asked[-1]] == ["c.example.com", B[0], A[0]]


def test_one_that_was_not_used_since_is_not_fetched_again(
    held: Tokens, ticks: Ticks, service: Service
) -> None:
    held.get(A)
    for _ in range(2):
        ticks.now += 290
        held.get(B)
    ticks.now += 290
    held.get(B)
    assert [[*each] for each in service.asked] == [[A[0]], [B[0], A[0]], [B[0]], [B[0]]]


def test_only_so_many_are_asked_for_at_once(held: Tokens, ticks: Ticks, service: Service) -> None:
    for number in range(40):
        held.get((f"h{number}.example.com", None))
    ticks.now += 290
    service.released.clear()
    waiting = [held.start((f"n{number}.example.com", None)) for number in range(40)]
    service.released.set()
    assert all(each.result(10).state is TokenState.SUCCESS for each in waiting)
    assert max(len(each) for each in service.asked) == 32


def test_memory_is_bounded(held: Tokens) -> None:
    for number in range(600):
        held.get((A[0], number.to_bytes(32, "big")))
    assert len(held._held) == 256
    assert len(held.values) == 512


def test_a_host_that_was_left_out_is_asked_for_again_later(
    held: Tokens, ticks: Ticks, service: Service
) -> None:
    service.leaves_out = {A[0]}
    assert [held.get(A).state, held.get(A).state] == [TokenState.NO_SERVICE] * 2
    assert held.get(B).state is TokenState.SUCCESS
    service.leaves_out = set()
    ticks.now += 5
    assert held.get(A).state is TokenState.SUCCESS
    assert len(service.asked) == 3


# -- failures ----------------------------------------------------------------------------------


def test_while_it_fails_the_service_is_spared(held: Tokens, ticks: Ticks, service: Service) -> None:
    service.state = TokenState.NO_SERVICE
    pauses = []
    for _ in range(8):
        before, start = len(service.asked), ticks.now
        while len(service.asked) == before:
            assert held.get(A) == Token(state=TokenState.NO_SERVICE)
            assert held.get(B).state is TokenState.NO_SERVICE
            ticks.now += 0.25
        pauses.append(ticks.now - start)
    assert 0.25 <= pauses[1] <= 1.25
    assert 15 <= pauses[-1] <= 30.5
    service.state = TokenState.SUCCESS
    ticks.now += 30
    assert held.get(A).state is TokenState.SUCCESS


def test_a_token_that_is_held_is_good_while_fetches_fail(
    held: Tokens, ticks: Ticks, service: Service
) -> None:
    first = held.get(A)
    service.state = TokenState.UNTRUSTED_NETWORK
    assert held.get(B).state is TokenState.UNTRUSTED_NETWORK
    assert held.get(A) is first


def test_nobody_waits_for_ever(
    held: Tokens, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "PATIENCE", 0.05)
    service.released.clear()
    assert held.get(A).state is TokenState.NO_NETWORK
    assert asyncio.run(held.aget(A)).state is TokenState.NO_NETWORK
    service.released.set()


def test_without_more_threads_nobody_waits(held: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads.Background, "start", refuse)
    assert held.get(A).state is TokenState.NO_NETWORK


def test_when_the_process_ends_nobody_waits(held: Tokens, service: Service) -> None:
    def end(*_: Any, **__: Any) -> Fetched:
        raise SystemExit

    service.fetch = end  # type: ignore[method-assign]
    assert held.get(A).state is TokenState.NO_NETWORK


# -- several at once ---------------------------------------------------------------------------


def test_all_who_wait_get_the_answer_of_one_fetch(held: Tokens, service: Service) -> None:
    service.released.clear()
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(held.get, A) for _ in range(10)]
        assert service.begun.wait(10)
        service.released.set()
        assert len({id(each.result(10)) for each in waiting}) == 1
    assert len(service.asked) == 1


def test_who_comes_during_a_fetch_is_in_the_next(held: Tokens, service: Service) -> None:
    service.released.clear()
    first = held.start(A)
    assert service.begun.wait(10)
    others = [held.start(key) for key in (B, (B[0], b"1" * 32), ("c.example.com", None))]
    service.released.set()
    assert all(each.result(10).state is TokenState.SUCCESS for each in (first, *others))
    assert [[*each] for each in service.asked] == [[A[0]], [B[0], "c.example.com"], [B[0]]]


def test_who_comes_when_it_has_just_come_waits_for_nothing(held: Tokens) -> None:
    first = held.get(A)
    assert held.start(A).result(0) is first


def test_who_stops_waiting_disturbs_nobody(held: Tokens, service: Service) -> None:
    service.released.clear()

    async def run() -> Token:
        gone = asyncio.ensure_future(held.aget(A))
        stays = asyncio.ensure_future(held.aget(A))
        await asyncio.sleep(0)
        gone.cancel()
        service.released.set()
        return await stays

    assert asyncio.run(run()).state is TokenState.SUCCESS


# -- the time of the service -------------------------------------------------------------------


def test_the_time_of_the_service_goes_on_from_the_last_answer(
    held: Tokens, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As run time does, however the clock of the device is set meanwhile."""
    issuer = TokenIssuer(A[0], clock=FakeClock())
    held.get(A)
    assert held.service_time() is None  # that token told none
    for away in (0, 3600):
        issuer.clock.advance(seconds=away)  # type: ignore[attr-defined]
        told = Issued(header="Livepin-Token", value=issuer.token(), lives=300)
        found = Fetched(state=TokenState.SUCCESS, tokens={A[0]: told})
        monkeypatch.setattr(Service, "fetch", lambda *_, found=found, **__: found)
        ticks.now += 400
        held.get(A)
        assert held.service_time() == issuer.clock()
        ticks.now += 200
        assert held.service_time() == issuer.clock() + timedelta(seconds=200)


# -- of a client -------------------------------------------------------------------------------


def test_a_client_gives_a_token_where_the_config_asks_for_one(
    pins: Client, simulator: DeliverySimulator
) -> None:
    found = pins.token("A.Example.COM.")
    assert found.state is TokenState.SUCCESS
    assert asyncio.run(pins.atoken(A[0])) is found
    assert pins.is_token(found.value)
    assert not pins.is_token("another")
    for host in ("plain.example.com", "unlisted.example.com"):
        assert pins.token(host) == Token(state=TokenState.NOT_PROTECTED)
        assert asyncio.run(pins.atoken(host)).state is TokenState.NOT_PROTECTED
    assert pins.status().tokens is TokenState.SUCCESS
    assert len(simulator.token_requests) == 1
    with pytest.raises(MalformedError):
        pins.token("127.1")


def test_text_is_bound_as_utf_8(pins: Client, simulator: DeliverySimulator) -> None:
    assert pins.token(A[0], "ä") is pins.token(A[0], "ä".encode())
    assert pins.token(A[0], "") is not pins.token(A[0])


def test_tokens_show_their_state_and_not_themselves(pins: Client) -> None:
    found = pins.token(A[0])
    assert found.value not in repr(found)
    assert "success" in repr(found)


@pytest.mark.parametrize(
    "options",
    [
        {"without_token": "maybe"},
        {"proof": "yes"},
        {"app": ""},
        {"app": "my app"},
        {"app": "x" * 129},
    ],
)
def test_odd_settings_are_refused(simulator: DeliverySimulator, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        simulator.client(**options)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_asks_for_itself(pins: Client, simulator: DeliverySimulator) -> None:
    """With the same key, and not with the challenge that is its parent's."""
    first, challenges = pins.token(A[0]), {*simulator._challenges}
    pins._tokens._lock.acquire()  # as another thread may
    child = os.fork()
    if child == 0:
        found = pins.token(A[0])
        used = simulator.token_requests[-1].challenge
        good = found.state is TokenState.SUCCESS and found.value != first.value
        os._exit(0 if good and used not in challenges else 1)
    pins._tokens._lock.release()
    assert os.waitpid(child, 0)[1] == 0


def test_a_request_is_signed_by_the_key_of_the_installation(
    simulator: DeliverySimulator,
) -> None:
    key = jose.PrivateKey.generate()
    with simulator.client(installation=key) as pins:
        pins.token(A[0])
    assert simulator.token_requests[0].key.kid == key.public.kid


# -- given up ----------------------------------------------------------------------------------


def test_what_is_held_is_given_up(held: Tokens, service: Service) -> None:
    first = held.get(A)
    held.drop()
    assert held.held(A) is None
    held._ticks.now += 1  # type: ignore[attr-defined]
    assert held.get(A).value != first.value
    assert held.get(A).value == held.get(A).value  # and the new one is kept
    assert len(service.asked) == 2


def test_what_is_asked_for_just_now_is_handed_out_and_not_kept(
    held: Tokens, service: Service
) -> None:
    service.released.clear()
    waiting = held.start(A)
    assert service.begun.wait(20)
    held.drop()
    service.released.set()
    assert waiting.result(20).state is TokenState.SUCCESS
    assert held.held(A) is None
