"""Probes in a child process: the same observation, and an end whatever becomes of the child."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from livepin_server.probing import child
from livepin_server.probing.child import probe_in_child
from livepin_server.probing.probe import Observation, Target


def children() -> set[int]:
    """The processes that this one has started and that still run a probe."""
    found = set()
    for entry in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for text in entry.read_text().split():
            line = Path(f"/proc/{text}/cmdline")
            if line.exists() and b"livepin_server.probing" in line.read_bytes():
                found.add(int(text))
    return found


@pytest.fixture
def closed_target() -> Target:
    """A target whose port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    return Target(host="api.example.test", connect=f"127.0.0.1:{port}")


async def first_child() -> int:
    """Wait for the probing child to start."""
    deadline = time.monotonic() + 30
    while not (found := children()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return found.pop()


def test_a_child_sees_what_a_probe_sees(tls_endpoint, chain, authority) -> None:
    target = tls_endpoint(chain).target(ca=authority.pem)
    seen = asyncio.run(probe_in_child(target))
    assert (seen.verified, len(seen.chain), seen.host) == (True, 3, "api.example.test")
    assert children() == set()


def test_a_child_that_is_killed_is_reported(endpoint) -> None:
    silent = endpoint(lambda sock: sock.recv(1 << 20) and sock.recv(1 << 20))

    async def main() -> Observation:
        probing = asyncio.create_task(probe_in_child(silent.target()))
        os.kill(await first_child(), signal.SIGKILL)
        return await probing

    seen = asyncio.run(main())
    assert seen == Observation(
        host="api.example.test", port=443, error="the probe did not end well"
    )


def test_a_child_that_hangs_is_ended_in_time(endpoint) -> None:
    silent = endpoint(lambda sock: sock.recv(1 << 20) and sock.recv(1 << 20))

    async def main() -> Observation:
        probing = asyncio.create_task(probe_in_child(silent.target(), timeout=1.5))
        os.kill(await first_child(), signal.SIGSTOP)
        return await probing

    started = time.monotonic()
    assert asyncio.run(main()).error == "the probe did not end well"
    assert time.monotonic() - started < 30
    assert children() == set()


def test_who_no_longer_waits_leaves_no_child_behind(endpoint) -> None:
    silent = endpoint(lambda sock: sock.recv(1 << 20) and sock.recv(1 << 20))

    async def main() -> None:
        probing = asyncio.create_task(probe_in_child(silent.target()))
        await first_child()
        probing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probing

    asyncio.run(main())
    assert children() == set()


def test_the_child_takes_json_and_answers_with_json(closed_target) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "livepin_server.probing"],
        input=msgspec.json.encode(closed_target),
        capture_output=True,
        check=True,
        timeout=60,
    )
    seen = msgspec.json.decode(done.stdout, type=Observation)
    assert seen.error == f"{closed_target.connect} refused the connection"


def test_there_is_time_for_two_looks_and_a_slow_start() -> None:
    assert child.LONGEST == 30


def test_a_module_that_lies_where_the_server_was_started_is_not_run(
    closed_target, tmp_path, monkeypatch
) -> None:
    marker = tmp_path / "it ran"
    (tmp_path / "msgspec.py").write_text(f"open({str(marker)!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    seen = asyncio.run(probe_in_child(closed_target))
    assert not marker.exists()
    assert seen.error is not None
    assert seen.error.endswith("refused the connection")


def test_the_child_that_meets_strangers_does_not_know_the_servers_secrets(
    endpoint, monkeypatch
) -> None:
    for name in ("MASTER_KEY", "API_KEY", "ROOT_PASSPHRASE", "DATABASE"):
        monkeypatch.setenv(f"LIVEPIN_{name}", "the secret of the server")
    silent = endpoint(lambda sock: sock.recv(1 << 20) and sock.recv(1 << 20))

    async def main() -> bytes:
        probing = asyncio.create_task(probe_in_child(silent.target()))
        pid = await first_child()
        found = Path(f"/proc/{pid}/environ").read_bytes()
        os.kill(pid, signal.SIGKILL)
        await probing
        return found

    found = asyncio.run(main())
    assert b"PATH=" in found
    assert b"LIVEPIN_" not in found
