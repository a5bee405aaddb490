"""The API fuzzed by its own OpenAPI document: every route that is in it, also those of tomorrow.

A few requests of each kind in each run of the tests, thousands in `make torture`.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FUZZING = Path(__file__).with_name("fuzzing.py")


@pytest.fixture
def without_network(counterpart: Callable[[str], str], missing: Callable[[str], None]) -> list[str]:
    """Give the command under which a process has a network of its own, with nobody in it."""
    command = [counterpart("unshare"), "--net"]
    if os.geteuid() != 0:
        command.append("--map-root-user")
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        missing(f"unshare may not make a network here, it needs CAP_SYS_ADMIN: {tried.stderr}")
    return command


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_every_answer_to_anything_is_one_that_the_document_names(
    without_network: list[str],
    data_folder: Path,
    torture: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # at full speed
    seed = torture.chance.randrange(10**9)
    arguments = ["--phases", "coverage,fuzzing,stateful", "--continue-on-failure"]
    arguments += ["--seed", str(seed), "--max-examples", str(2 * torture.kills)]
    done = subprocess.run(
        [*without_network, sys.executable, FUZZING, data_folder, *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) generated", done.stdout)
    assert found is not None
    torture.count("requests", int(found[1]))


def test_it_does_not_run_where_there_is_a_network(data_folder: Path) -> None:
    if {name for _, name in socket.if_nameindex()} == {"lo"}:
        pytest.skip("there is no network here")
    done = subprocess.run(
        [sys.executable, FUZZING, data_folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("expected a network of its own")
