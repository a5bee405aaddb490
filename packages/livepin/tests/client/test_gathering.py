"""Evidence in token requests: what is asked for it, when, and how much of it goes along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from livepin import Client, TokenState, jsontext
from livepin.client import gathering, watching
from livepin.client.judge import ConfigJudge
from livepin.documents.token_request import MAX_SIZE, TokenRequest, evidence_nonce
from livepin.pins import Pin
from livepin.testing import DeliverySimulator

HOST, OTHER = "api.example.com", "other.example.com"


class Provider:
    """Evidence as an app gives it; it remembers the nonces that it was asked with."""

    def __init__(self, **members: Any) -> None:
        self.members: Any = {"format": "test", **members}
        self.nonces: list[bytes] = []

    def collect(self, nonce: bytes) -> Any:
        self.nonces.append(nonce)
        if isinstance(self.members, Exception):
            raise self.members
        return self.members


@pytest.fixture
def simulator() -> DeliverySimulator:
    found = DeliverySimulator()
    for host in (HOST, OTHER):
        found.pin(host, Pin(b"\1" * 32), token=True)
    return found


@pytest.fixture(autouse=True)
def _seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be looked for between tokens, but at once."""
    monkeypatch.setattr(watching, "_SHORTEST", 1000.0)
    monkeypatch.setattr(watching, "_LONGEST", 1000.0)


def formats(simulator: DeliverySimulator) -> list[list[str]]:
    return [[each["format"] for each in one.evidence] for one in simulator.token_requests]


def test_signals_come_first_and_then_what_the_app_adds(simulator: DeliverySimulator) -> None:
    with simulator.client(evidence=[Provider(), Provider(format="other")]) as pins:
        assert pins.token(HOST).state is TokenState.SUCCESS
    assert formats(simulator) == [["signals", "test", "other"]]


def test_without_signals_an_app_sends_what_it_adds_alone(simulator: DeliverySimulator) -> None:
    with simulator.client(evidence=[Provider()], signals=False) as pins:
        pins.token(HOST)
        assert pins.status().signals == ()
    assert formats(simulator) == [["test"]]


def test_each_request_has_its_own_nonce_and_one_without_a_challenge_has_no_evidence(
    simulator: DeliverySimulator,
) -> None:
    provider, sent = Provider(), []
    post = simulator.post

    def note(path: str, headers: dict[str, str], body: bytes) -> Any:
        sent.append(TokenRequest.read(body))
        return post(path, headers, body)

    simulator.post = note  # type: ignore[method-assign]
    with simulator.client(evidence=[provider], app="com.example") as pins:
        pins.token(HOST)
        pins.token(HOST, "bound")
        simulator._challenges.clear()  # the service has forgotten them
        assert pins.token(HOST, "again").state is TokenState.SUCCESS
    first, *rest = sent
    assert (first.challenge, first.evidence) == (None, ())
    assert [bool(each.evidence) for each in rest] == [True] * 4  # one of them in vain
    assert provider.nonces == [
        evidence_nonce(each.challenge or "", each.key.kid, "com.example") for each in rest
    ]
    assert len(set(provider.nonces)) == 4


@pytest.mark.parametrize(
    "members",
    [
        OSError("no hardware"),
        {"no": "format"},
        {"format": 5},
        {"format": "test", "value": object()},
        {"format": "test", "deep": [[[[[[[[1]]]]]]]]},
        {"format": "test", "value": "x" * gathering._LARGEST},
        ["no object"],
    ],
)
def test_evidence_that_cannot_be_sent_is_left_out(
    simulator: DeliverySimulator, members: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Provider()
    broken.members = members
    with simulator.client(evidence=[broken, Provider()], signals=False) as pins:
        assert pins.token(HOST).state is TokenState.SUCCESS
    assert formats(simulator) == [["test"]]
    assert "evidence of Provider is left out" in caplog.text


def test_there_may_be_none(simulator: DeliverySimulator) -> None:
    nothing = Provider()
    nothing.members = None
    with simulator.client(evidence=[nothing, Provider()], signals=False) as pins:
        pins.token(HOST)
    assert formats(simulator) == [["test"]]


def test_a_request_is_never_too_large_for_its_evidence(simulator: DeliverySimulator) -> None:
    hosts = [f"{number}.{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 40}.test" for number in range(32)]
    for host in hosts:
        simulator.pin(host, Pin(b"\1" * 32), token=True)
    many = [Provider(value="x" * 2_000) for _ in range(20)]
    with simulator.client(evidence=many) as pins:
        request = pins._evidence.collect("c" * 128, "t" * 43)
        found = TokenRequest(
            account="a" * 64, app="a" * 128, key=pins._installation.key().public,
            challenge="c" * 128, stream="s" * 64, root_version=1, config_version=1,
            hosts=dict.fromkeys(hosts, bytes(32)), evidence=request,
        )  # fmt: skip
        assert len(request) == 16
        assert len(found.signed(pins._installation.key())) < MAX_SIZE
    assert len(jsontext.dump(list(request))) < gathering._LARGEST + 100


def test_evidence_over_its_bound_is_left_out_by_the_piece(simulator: DeliverySimulator) -> None:
    large = [Provider(value="x" * (gathering._LARGEST // 2)) for _ in range(2)]
    with simulator.client(evidence=[*large, Provider()], signals=False) as pins:
        assert len(pins._evidence.collect("c", "t")) == 2


@pytest.fixture
def attacked(simulator: DeliverySimulator) -> Iterator[Client]:
    """An app that has tokens, and whose pin check is replaced then."""
    with pytest.MonkeyPatch.context() as patch, simulator.client() as pins:
        pins.token(HOST)
        pins.token(OTHER)
        patch.setattr(ConfigJudge, "check", lambda *_: None)
        yield pins


def test_tokens_that_are_held_are_given_up_when_something_is_found(
    simulator: DeliverySimulator, attacked: Client
) -> None:
    asked = len(simulator.token_requests)
    attacked.token(HOST)
    assert len(simulator.token_requests) == asked  # held
    attacked._evidence._look(thorough=False)
    attacked.token(HOST)
    assert len(simulator.token_requests) == asked + 1
    found = simulator.token_requests[-1].evidence[0]["found"]
    assert {
        "signal": "replaced_sdk_function",
        "detail": "livepin.client.judge.ConfigJudge.check",
    } in found
    attacked._evidence._look(thorough=False)
    attacked.token(HOST)
    assert len(simulator.token_requests) == asked + 1  # told once


def test_what_is_found_while_asking_gives_up_the_tokens_for_other_hosts(
    simulator: DeliverySimulator, attacked: Client
) -> None:
    attacked.token(HOST, "new")
    asked = len(simulator.token_requests)
    attacked.token(OTHER)
    assert len(simulator.token_requests) == asked + 1


def test_a_forked_child_looks_for_itself(simulator: DeliverySimulator) -> None:
    with simulator.client() as pins:
        pins.token(HOST)
        pins._evidence.stop()  # a fork takes no thread along
        assert pins._signals is not None
        pins._signals._lock.acquire()  # as another thread may hold it just then
        pins._after_fork()
        assert pins.token(HOST).state is TokenState.SUCCESS
