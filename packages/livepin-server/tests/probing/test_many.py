"""Many endpoints, one child process: what it has seen comes back, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from livepin_server.probing.many import Lookout, look_here
from livepin_server.probing.probe import Observation, Target

UNSEEN = "it was not seen in time"
SLOW = 60.0  # seconds: long enough on any machine


def children(of: int | None = None) -> set[int]:
    """The probing processes that a process has started and that still run."""
    found = set()
    for entry in Path(f"/proc/{of or os.getpid()}/task").glob("*/children"):
        for text in entry.read_text().split():
            line = Path(f"/proc/{text}/cmdline")
            if line.exists() and b"livepin_server.probing\0each" in line.read_bytes():
                found.add(int(text))
    return found


def wait(until) -> None:
    """Wait for something that comes about."""
    deadline = time.monotonic() + SLOW
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def hanging(endpoint):
    """An endpoint that takes what comes and says nothing, and the target that leads there."""

    def behave(sock) -> None:
        while sock.recv(4096):
            pass

    return endpoint(behave)


def errors(found: Sequence[Observation]) -> list[str | None]:
    """What went wrong."""
    return [each.error for each in found]


def test_a_child_sees_all_of_them(tls_endpoint, endpoint, chain, authority) -> None:
    good, closed = tls_endpoint(chain), endpoint(lambda sock: None)
    closed.close()
    right, gone = good.target(ca=authority.pem), closed.target("gone.example")
    found = Lookout(seconds=SLOW).look([right, gone, right])
    assert list(found) == [right, gone]
    assert [(each.verified, len(each.chain)) for each in found[right]] == [(True, 3)]
    assert errors(found[gone]) == [f"127.0.0.1:{closed.port} refused the connection"]
    assert (good.connections, children()) == (1, set())


def test_nothing_to_look_at_starts_no_child() -> None:
    assert Lookout(command=["/nonexistent"]).look([]) == {}


def test_an_endpoint_that_hangs_does_not_hide_the_others(
    tls_endpoint, hanging, chain, authority
) -> None:
    good, silent = tls_endpoint(chain).target(ca=authority.pem), hanging.target()
    found = Lookout(seconds=SLOW).look([silent, good])
    assert errors(found[silent]) == [f"{silent.connect} did not answer in time"]
    assert [each.verified for each in found[good]] == [True]
    assert children() == set()


def test_a_child_that_is_killed_keeps_nobody_waiting(hanging) -> None:
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(Lookout(seconds=SLOW).look, [hanging.target()])
        wait(lambda: hanging.connections)
        os.kill(children().pop(), signal.SIGKILL)
        found = looking.result(SLOW)
    assert errors(found[hanging.target()]) == [UNSEEN]
    assert children() == set()


LINE = '[0, {"host": "api.example.test", "port": 443, "error": "no answer"}]'


@pytest.mark.parametrize("then", ["exec sleep 600", "kill -STOP $$"])
def test_what_came_before_time_was_up_counts(then: str) -> None:
    """The child does not end by itself: it hangs, or somebody has stopped it."""
    first, second = Target(host="api.example.test"), Target(host="other.example.test")
    started = time.monotonic()
    lookout = Lookout(command=["/bin/sh", "-c", f"echo '{LINE}'; {then}"], seconds=2.0)
    found = lookout.look([first, second])
    assert 2 <= time.monotonic() - started < SLOW
    assert errors(found[first]) == ["no answer"]
    assert errors(found[second]) == [UNSEEN]


def test_few_children_run_at_once_and_who_waits_too_long_is_told(hanging) -> None:
    lookout, target = Lookout(at_once=1, seconds=SLOW, patience=0.05), hanging.target()
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(lookout.look, [target])
        wait(lambda: hanging.connections)
        found = lookout.look([target])
        assert errors(found[target]) == ["the server is busy looking at other endpoints"]
        (child,) = children()
        os.kill(child, signal.SIGKILL)
        looking.result(SLOW)
        # It is free again.
        with_child = pool.submit(lookout.look, [target])
        wait(children)
        os.kill(children().pop(), signal.SIGKILL)
        assert errors(with_child.result(SLOW)[target]) == [UNSEEN]


def test_who_is_interrupted_leaves_no_child_behind(hanging) -> None:
    script = (
        "import sys, msgspec\n"
        "from livepin_server.probing.many import Lookout\n"
        "from livepin_server.probing.probe import Target\n"
        "Lookout(seconds=60).look([msgspec.json.decode(sys.argv[1], type=Target)])"
    )
    text = msgspec.json.encode(hanging.target()).decode()
    process = subprocess.Popen([sys.executable, "-c", script, text], stderr=subprocess.DEVNULL)
    try:
        wait(lambda: hanging.connections)
        (child,) = children(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(SLOW) != 0
        wait(lambda: not Path(f"/proc/{child}").exists())
    finally:
        process.kill()
        process.wait()


def test_a_child_whose_server_was_killed_ends_by_itself(hanging) -> None:
    command = [sys.executable, "-m", "livepin_server.probing", "each"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        output, _ = child.communicate(msgspec.json.encode((0.5, [hanging.target()])), SLOW)
    assert (child.returncode, output) == (0, b"")


def test_the_child_does_not_know_the_servers_secrets(hanging, monkeypatch) -> None:
    for name in ("LIVEPIN_MASTER_KEY", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "A_NEW_TOKEN"):
        monkeypatch.setenv(name, "the secret of the server")
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(Lookout(seconds=SLOW).look, [hanging.target()])
        wait(lambda: hanging.connections)
        (child,) = children()
        found = Path(f"/proc/{child}/environ").read_bytes()
        os.kill(child, signal.SIGKILL)
        looking.result(SLOW)
    assert b"PATH=" in found
    assert b"the secret of the server" not in found


@pytest.mark.parametrize(
    "written",
    ["[0, {", "garbage", '[-1, {"host": "x", "port": 1}]', '[7, {"host": "x", "port": 1}]', "[]"],
)
def test_a_child_that_is_not_itself_is_not_believed(written: str) -> None:
    target = Target(host="api.example.test")
    found = Lookout(command=["/bin/echo", written], seconds=SLOW).look([target])
    assert errors(found[target]) == [UNSEEN]


def test_without_a_process_to_be_had_nothing_was_seen() -> None:
    target = Target(host="api.example.test")
    assert errors(Lookout(command=["/nonexistent"]).look([target])[target]) == [UNSEEN]


def test_what_came_before_it_broke_off_counts() -> None:
    target = Target(host="api.example.test")
    found = Lookout(command=["/bin/echo", f"{LINE}\n[0, "], seconds=SLOW).look([target])
    assert errors(found[target]) == ["no answer"]


def test_where_nothing_is_served_the_same_is_seen_without_a_child(
    tls_endpoint, hanging, chain, authority
) -> None:
    right, silent = tls_endpoint(chain).target(ca=authority.pem), hanging.target()
    found = look_here([right, silent, right], seconds=3.0)
    assert children() == set()
    assert list(found) == [right, silent]
    assert [each.verified for each in found[right]] == [True]
    assert errors(found[silent]) != [None]
