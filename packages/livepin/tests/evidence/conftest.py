"""Processes that look at themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
OURS = "PATH", "HOME", "COVERAGE", "PYTHON", "VIRTUAL_ENV", "TMPDIR"


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """Run a program beside this file, with nothing in its environment that means anything."""

    def start(name: str, *arguments: str | Path, **environment: str) -> Any:
        inherited = {key: value for key, value in os.environ.items() if key.startswith(OURS)}
        done = subprocess.run(
            [sys.executable, HERE / name, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=inherited | environment,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return start
