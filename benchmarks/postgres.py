"""A PostgreSQL of its own on a Unix socket, as a user who is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from .machine import family_cpu_seconds, program

_START_TIME = 60.0  # seconds


class Postgres:
    """PostgreSQL with its defaults, synchronous commits among them."""

    def __init__(self) -> None:
        initdb, postgres = (program(name, "postgresql") for name in ("initdb", "postgres"))
        self._folder = Path(tempfile.mkdtemp(prefix="lp-pg-"))  # short: a socket's path is limited
        self.url = f"postgresql+psycopg://livepin@/postgres?host={self._folder}"
        identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        quiet = {"cwd": self._folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        data = str(self._folder / "data")
        subprocess.run(
            [initdb, "-D", data, "-U", "livepin", "-A", "trust", "-E", "UTF8"],
            check=True, **quiet, **identity,
        )  # fmt: skip
        self._process = subprocess.Popen(
            [postgres, "-D", data, "-c", "listen_addresses=", "-k", str(self._folder)],
            stdin=subprocess.DEVNULL, **quiet, **identity,
        )  # fmt: skip
        self._wait()

    def cpu_seconds(self) -> float:
        """Return the CPU time that its processes have used so far."""
        return family_cpu_seconds(self._process.pid)

    def __enter__(self) -> Postgres:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        import psycopg

        deadline = time.monotonic() + _START_TIME
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                psycopg.connect(host=str(self._folder), user="livepin", dbname="postgres").close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("PostgreSQL did not start")
