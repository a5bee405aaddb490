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

from livepin.pins import Pin
from livepin_server.listener import available_port

_LIVEPIN = [sys.executable, "-m", "livepin"]
_START_TIME = 60.0  # seconds


# One machine plays all clients here, so what is bounded by address is raised.
_ENVIRONMENT = {
    "LIVEPIN_DELIVERY_HOST": "127.0.0.1",
    "LIVEPIN_REQUESTS_PER_SECOND": "1000000",
    "LIVEPIN_MAX_STREAMS": "100000",
    "LIVEPIN_MAX_STREAMS_PER_ADDRESS": "100000",
    "LIVEPIN_LOG_LEVEL": "warning",
}


class Server:
    """A server on a data folder, which is made where it is not; `pids` are its processes.

    Apps are told `line`, a port before that of delivery. Several servers share a `database`, each
    on a copy of the folder of the first.
    """

    def __init__(self, folder: Path, *, line: int | None = None, database: str = "") -> None:
        self.data = folder / "data"
        self.port, self.management_port = (available_port("127.0.0.1", 0) for _ in range(2))
        self.url = f"https://localhost:{self.port}"
        environment = _ENVIRONMENT | ({"LIVEPIN_DATABASE": database} if database else {})
        if not self.data.exists():
            self._initialise(line or self.port)
            if database:
                _livepin("upgrade", "--data", str(self.data), "--to", database)
        environment |= {
            "LIVEPIN_DELIVERY_PORT": str(self.port),
            "LIVEPIN_MANAGEMENT_PORT": str(self.management_port),
        }
        self._process = subprocess.Popen(
            [*_LIVEPIN, "serve", "--data", str(self.data)],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        self._wait()
        self._context = ssl.create_default_context(cafile=self.data / "tls" / "ca.pem")
        self._key = (self.data / "operator.key").read_text().strip()

    def _initialise(self, port: int) -> None:
        _livepin(
            "init", str(self.data), "--account", "bench", "--url", f"https://localhost:{port}",
            "--online-root",
        )  # fmt: skip

    @property
    def pids(self) -> list[int]:
        """The processes that serve."""
        return [self._process.pid]

    @property
    def headers(self) -> dict[str, str]:
        """What a request to management needs."""
        return {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the management API; return its JSON."""
        return json.loads(self._call(method, path, None if body is None else json.dumps(body)))

    def metrics(self) -> str:
        """Return the metrics, in the exposition format."""
        return self._call("GET", "/metrics")

    def _call(self, method: str, path: str, body: str | None = None) -> str:
        request = urllib.request.Request(
            f"https://localhost:{self.management_port}{path}",
            method=method,
            data=None if body is None else body.encode(),
            headers=self.headers,
        )
        with urllib.request.urlopen(request, context=self._context) as answer:
            return str(answer.read().decode())

    def add(self, pattern: str, *pins: Pin) -> int:
        """Add a domain; return the version published."""
        return self._publish("", {"pattern": pattern}, pins)

    def pin(self, pattern: str, *pins: Pin) -> int:
        """Pin more keys for a domain; return the version published."""
        return self._publish(f"/{pattern}/pins", {}, pins)

    def _publish(self, path: str, body: dict[str, Any], pins: tuple[Pin, ...]) -> int:
        body["pins"] = [{"sha256": str(each)} for each in pins]
        done = self.call("POST", f"/v1/accounts/bench/domains{path}", body)
        return int(done["publication"]["version"])

    def bootstrap(self) -> Path:
        """Return the file that an app embeds."""
        file = self.data.parent / "bootstrap.json"
        _livepin("bootstrap", "--dev", "--data", str(self.data), "--out", str(file))
        return file

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
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"livepin {' '.join(arguments)}: {done.stderr.decode()}")
