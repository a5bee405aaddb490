"""A real server for measuring: `livepin init` and `livepin serve`, as an operator runs them."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from livepin_server.listener import available_port

_LIVEPIN = [sys.executable, "-m", "livepin"]
_START_TIME = 60.0  # seconds


class Server:
    """A data folder with a server on it; `pids` are its processes."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.port, self.management_port = (available_port("127.0.0.1", 0) for _ in range(2))
        self.url = f"https://localhost:{self.port}"
        _livepin(
            "init", str(self.data), "--account", "bench", "--url", self.url, "--online-root",
            "--port", str(self.port), "--management-port", str(self.management_port),
        )  # fmt: skip
        # One machine plays all clients here, so what is bounded by address is raised.
        environment = {
            "LIVEPIN_DELIVERY_HOST": "127.0.0.1",
            "LIVEPIN_REQUESTS_PER_SECOND": "1000000",
            "LIVEPIN_MAX_STREAMS": "100000",
            "LIVEPIN_MAX_STREAMS_PER_ADDRESS": "100000",
            "LIVEPIN_LOG_LEVEL": "warning",
        }
        self._process = subprocess.Popen(
            [*_LIVEPIN, "serve", "--data", str(self.data)],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        self._wait()
        self._context = ssl.create_default_context(cafile=self.data / "tls" / "ca.pem")
        self._key = (self.data / "operator.key").read_text().strip()

    @property
    def pids(self) -> list[int]:
        """The processes that serve."""
        return [self._process.pid]

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the management API; return its JSON."""
        request = urllib.request.Request(
            f"https://localhost:{self.management_port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, context=self._context) as answer:
            return json.load(answer)

    def get(self, path: str, **headers: str) -> tuple[bytes, str]:
        """Return body and ETag of a path of delivery."""
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, context=self._context) as answer:
            return answer.read(), answer.headers["ETag"]

    def context(self) -> ssl.SSLContext:
        """Return a client's context that trusts the server's CA."""
        return self._context

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_TIME
        while not (self.data / "run" / "management.json").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server did not start")
            time.sleep(0.05)


def _livepin(*arguments: str) -> None:
    command: Sequence[str] = [*_LIVEPIN, *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
