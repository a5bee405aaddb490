"""Names and their addresses, for a thread that never blocks."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest
from livepin_server.probing import resolving
from livepin_server.probing.resolving import Resolved, Resolving, addresses_of, numeric

SLOW = 60.0


def wait(found: Resolving) -> list[Resolved]:
    """Wait for the next answers."""
    found.wake.settimeout(SLOW)
    answers: list[Resolved] = []
    while not answers:
        found.wake.recv(1)
        found.wake.setblocking(False)
        answers = found.answers()
        found.wake.settimeout(SLOW)
    return answers


@pytest.mark.parametrize(
    ("error", "failure", "said"),
    [
        (socket.gaierror(socket.EAI_NONAME, ""), "no_address", "does not resolve to an address"),
        (socket.gaierror(socket.EAI_AGAIN, ""), "no_name_server", "no name server says whether"),
        (socket.gaierror(socket.EAI_FAIL, ""), "no_name_server", "no name server says whether"),
        (UnicodeError(), "no_address", "does not resolve to an address"),
        (None, "no_address", "does not resolve to an address"),
    ],
)
def test_a_name_without_an_address_is_told_from_a_name_server_that_is_away(
    error: Exception | None, failure: str, said: str
) -> None:
    def resolve(_: str) -> list[str]:
        if error is not None:
            raise error
        return []

    found = Resolving(SLOW, resolve)
    found.ask("x" * 300 + ".example")
    (answer,) = wait(found)
    assert (answer.failure, answer.addresses) == (failure, ())
    assert said in answer.error
    assert len(answer.error) < 200
    found.close()


def test_name_servers_that_hang_hold_up_nobody() -> None:
    over, now = threading.Event(), [0.0]
    started = threading.Semaphore(0)

    def resolve(host: str) -> list[str]:
        if host.startswith("hanging"):
            started.release()
            over.wait(SLOW)
        return ["127.0.0.1"]

    found = Resolving(5.0, resolve, lambda: now[0])
    for number in range(resolving.THREADS):
        found.ask(f"hanging-{number}.example")
    found.ask("good.example")
    for _ in range(resolving.THREADS):
        assert started.acquire(timeout=SLOW)
    assert (found.answers(), found.late()) == ([], [])
    now[0] = 5.0
    late = found.late()
    assert {each.failure for each in late} == {"no_name_server"}
    assert len(late) == resolving.THREADS
    (good,) = wait(found)
    assert (good.host, good.addresses) == ("good.example", ("127.0.0.1",))
    over.set()
    found.ask("after.example")
    assert [each.host for each in wait(found)] == ["after.example"]
    found.close()


def test_what_nobody_waits_for_any_more_is_not_answered() -> None:
    over, begun = threading.Event(), threading.Event()

    def resolve(_: str) -> list[str]:
        begun.set()
        over.wait(SLOW)
        return ["127.0.0.1"]

    found = Resolving(SLOW, resolve)
    found.ask("first.example")
    assert begun.wait(SLOW)
    found.forget()
    over.set()
    found.ask("second.example")
    assert [each.host for each in wait(found)] == ["second.example"]
    found.close()


def test_few_addresses_are_kept() -> None:
    found = Resolving(SLOW, lambda _: [f"127.0.0.{n}" for n in range(1, 50)])
    found.ask("many.example")
    (answer,) = wait(found)
    assert len(answer.addresses) == 16
    found.close()


def test_the_system_is_asked() -> None:
    assert set(addresses_of("localhost")) <= {"127.0.0.1", "::1"}
    assert addresses_of("127.0.0.1") == ["127.0.0.1"]
    with suppress(OSError):
        assert "%" not in "".join(addresses_of("fe80::1%lo"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_addresses_need_no_name_server(host: str) -> None:
    assert numeric(host) == Resolved(host=host, addresses=(host,))


@pytest.mark.parametrize("host", ["localhost", "127.1", "", "a\0b", "fe80::1%lo"])
def test_names_do(host: str) -> None:
    assert numeric(host) is None
