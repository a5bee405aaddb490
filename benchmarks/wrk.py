"""wrk as the sender of load."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from .machine import program

SECONDS = 2


class Wrk:
    """A run of wrk on one URL, which has begun; a Lua script may say what it sends."""

    def __init__(
        self,
        url: str,
        headers: dict[str, str],
        *,
        connections: int,
        script: Path | None = None,
        **environment: str,
    ) -> None:
        fields = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
        command = [program("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{SECONDS}s", *fields]
        command += [] if script is None else ["-s", str(script)]
        self._url = url
        self._conditional = "If-None-Match" in headers
        self._process = subprocess.Popen(
            [*command, url], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.taken = 0  # of what the script had to send

    def requests(self) -> int:
        """Wait for its end; return how many requests were answered."""
        text, _ = self._process.communicate()
        if taken := re.search(r"^taken (\d+)", text, re.MULTILINE):
            self.taken = int(taken[1])
        if "Non-2xx" in text and not self._conditional:
            raise RuntimeError(f"{self._url}: not every answer was good:\n{text}")
        match = re.search(r"(\d+) requests in", text)
        if match is None or int(match[1]) == 0:
            raise RuntimeError(f"{self._url}: wrk says: {text}")
        return int(match[1])
