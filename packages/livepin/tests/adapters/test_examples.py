"""The examples, run as people run them, against a real delivery service and a real API."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from livepin.testing import Authority, Chain, DeliverySimulator, RecordingServer

pytestmark = pytest.mark.no_cover  # processes, each of which would be measured for nothing

EXAMPLES = Path(__file__).parents[4] / "examples"
HOST = "localhost"


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


def needs(library: str, example: str) -> Any:
    missing = importlib.util.find_spec(library) is None
    reason = f"the livepin wheel alone brings no {library}"
    return pytest.param(example, marks=pytest.mark.skipif(missing, reason=reason))


@pytest.mark.parametrize(
    "example",
    [
        "inject.py",
        "stdlib.py",
        needs("httpx", "httpx_async.py"),
        needs("httpx", "httpx_sync.py"),
        needs("requests", "requests_session.py"),
        needs("urllib3", "urllib3_pool.py"),
    ],
)
@pytest.mark.parametrize("changed", [False, True], ids=["as built", "after an emergency change"])
def test_an_example_runs(
    authority: Authority,
    chain: Chain,
    other: Chain,
    serve: Any,
    tmp_path: Path,
    example: str,
    changed: bool,
) -> None:
    simulator = DeliverySimulator(clock=now)
    delivery: RecordingServer = serve(chain, respond=simulator.respond)
    simulator.urls = (f"https://{HOST}:{delivery.port}",)
    simulator.delivery_pins, simulator.ca = (chain.pin,), authority.pem
    simulator.pin(HOST, chain.pin)
    (tmp_path / "bootstrap.json").write_bytes(simulator.bootstrap().to_json())
    (tmp_path / "ca.pem").write_text(authority.pem)
    if changed:
        simulator.pin(HOST, other.pin)
    api: RecordingServer = serve(other if changed else chain)
    done = subprocess.run(
        [sys.executable, EXAMPLES / example, "bootstrap.json", f"https://{HOST}:{api.port}/"],
        cwd=tmp_path,
        env={**os.environ, "SSL_CERT_FILE": str(tmp_path / "ca.pem")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("200\n", 0), done.stderr
    assert api.requests == 1
