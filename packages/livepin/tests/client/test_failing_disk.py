"""A disk that fails under a client's store: reported, and nothing changes for connections."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from livepin.testing import DeliverySimulator, FakeClock, RecordingServer, make_chain
from livepin.trust import TrustedState

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="strace is for Linux"),
    pytest.mark.no_cover,  # under strace that takes as long as all else
]

# Adopts a config by which the API has another key, and says what of it works.
APP = """
import json, pathlib, socket, sys
from livepin import Bootstrap, Client, PinMismatchError
from livepin.testing import FakeClock

folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
pins = Client(
    Bootstrap.parse((folder / "bootstrap.json").read_bytes()), store=folder / "state.json",
    ca=(folder / "ca.pem").read_text(), push=False, reports=False, clock=FakeClock())

def connects():
    if pins._trusted().config.version == int(sys.argv[3]):
        return None  # it has the pin of another key, and would wait for a newer one
    try:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            with pins.context().wrap_socket(sock, server_hostname="localhost"):
                return True
    except PinMismatchError:
        return False

pins._trusted.adopt(pins._trusted().advance_config((folder / "config").read_bytes()))
print(json.dumps([pins.status().version, pins.status().store_problem, connects()]))
"""


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("openat:error=EIO:when=2", "cannot lock {}: Input/output error"),
        ("openat:error=EIO:when=3", "cannot read {}: Input/output error"),
        ("openat:error=ENOSPC:when=4", "cannot write {}: No space left on device"),
        ("write:error=ENOSPC", "cannot write {}: No space left on device"),
        ("write:error=EIO", "cannot write {}: Input/output error"),
        ("fsync:error=EIO:when=1", "cannot write {}: Input/output error"),
        ("fsync:error=EIO:when=2", "cannot write {}: Input/output error"),
        ("rename:error=EIO", "cannot write {}: Input/output error"),
    ],
)
def test_it_is_reported_and_pins_hold_as_if_there_were_no_disk(
    tmp_path: Path, strace: Callable[..., list[str]], fault: str, problem: str
) -> None:
    ours, chain = DeliverySimulator(), make_chain("localhost")
    path = tmp_path / "state.json"
    watched = [path, path.with_name("state.json.tmp"), path.with_name("state.json.lock"), tmp_path]
    bootstrap = ours.bootstrap()
    (tmp_path / "bootstrap.json").write_bytes(bootstrap.to_json())
    (tmp_path / "ca.pem").write_text(chain.authority.pem)

    def adopt(raw: bytes, *under: str) -> list[object]:
        (tmp_path / "config").write_bytes(raw)
        with RecordingServer(chain) as server:
            arguments = [str(tmp_path), str(server.port), str(first)]
            command = [*under, sys.executable, "-c", APP, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        return json.loads(done.stdout)

    first = ours.version + 1
    assert adopt(ours.pin("localhost", make_chain("localhost").pin)) == [first, None, None]
    pinned = ours.pin("localhost", chain.pin)
    assert adopt(pinned, *strace(fault, *watched)) == [first + 1, problem.format(path), True]
    # What is stored is whole: the state before, or where only its folder failed, the new one.
    stored = TrustedState.load(path.read_bytes(), bootstrap, now=FakeClock()())
    assert stored.config.version == first + ("when=2" in fault and "fsync" in fault)
    assert not list(tmp_path.glob("*.corrupt"))
    assert adopt(ours.publish()) == [first + 2, None, True]
