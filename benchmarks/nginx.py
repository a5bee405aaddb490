"""nginx as the reference: one worker that serves the same bytes with the same key."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType

from livepin_server.listener import available_port

from .machine import program

_CONFIG = """
worker_processes 1;
daemon off;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        root {folder}/www;
    }}
}}
"""


class Nginx:
    """nginx that serves files from a folder."""

    def __init__(self, folder: Path, *, certificate: Path, key: Path) -> None:
        nginx = program("nginx", "nginx-light")
        self.port = available_port("127.0.0.1", 0)
        self.url = f"https://localhost:{self.port}"
        self._www = folder / "www"
        self._www.mkdir(mode=0o755)
        for each in (folder, folder.parent):
            each.chmod(0o755)
        file = folder / "nginx.conf"
        file.write_text(
            _CONFIG.format(folder=folder, port=self.port, certificate=certificate, key=key)
        )
        self._process = subprocess.Popen([nginx, "-c", str(file), "-e", f"{folder}/error.log"])
        self.pids = [self._process.pid, _child(self._process.pid)]

    def serve(self, path: str, body: bytes) -> None:
        """Serve these bytes at a path."""
        file = self._www / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)

    def __enter__(self) -> Nginx:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)


def _child(pid: int) -> int:
    """Return the one worker of a master."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = children.read_text().split()
        if found:
            return int(found[0])
        time.sleep(0.02)
    raise RuntimeError("nginx did not start")
