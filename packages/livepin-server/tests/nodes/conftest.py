"""Nodes: servers and delivery-only processes that share one PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from killing import ACCOUNT, Ledger, Node, Operation, unseen
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.layout import RUN_FILE
from livepin_server.services.changes import SetDelivery
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.model import How, Intent, Role
from livepin_server.settings import Settings

INTENT = Intent(author="bob")
PATIENCE = 60.0  # seconds, on a busy machine
# What delivery needs of the database; docs/operations.md says the same.
RIGHTS = "GRANT SELECT ON accounts, streams, roots, configs, overrides, alembic_version TO {role}"
METRICS_RIGHTS = "GRANT SELECT ON api_keys TO {role}"


@pytest.fixture
def another_folder(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a data folder, as for a second host."""

    def one(data: Path) -> Path:
        copy = tmp_path / f"host-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(data, copy, ignore=shutil.ignore_patterns("run", "livepin.lock"))
        return copy

    return one


@pytest.fixture
def delivery_folder(
    postgres: Any, postgres_folder: Path, tmp_path: Path
) -> Iterator[Callable[[], Path]]:
    """Make data folders for delivery alone: settings and TLS identity, and a user who may read."""
    text = (postgres_folder / "livepin.toml").read_text()
    name = text.split("@/")[1].split("?")[0]
    role = f"delivery_{name}"
    postgres.run(f"CREATE ROLE {role} LOGIN")
    postgres.run(RIGHTS.format(role=role), name=name)

    def one(*, metrics: bool = False) -> Path:
        if metrics:
            postgres.run(METRICS_RIGHTS.format(role=role), name=name)
        data = tmp_path / f"node-{len(list(tmp_path.iterdir()))}"
        data.mkdir(0o700)
        (data / "livepin.toml").write_text(text.replace("//livepin@", f"//{role}@"))
        shutil.copytree(postgres_folder / "tls", data / "tls")
        return data

    yield one
    postgres.run(f"DROP OWNED BY {role}", name=name)
    postgres.run(f"DROP ROLE {role}")


class Child:
    """`livepin serve` as a process of its own, or as the child of one that it runs `under`."""

    def __init__(
        self, data: Path, *arguments: str, under: Sequence[str] = (), **environment: str
    ) -> None:
        self.data = data
        self._log = data.parent / f"{data.name}.log"
        self._under = bool(under)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LIVEPIN_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*under, sys.executable, "-m", "livepin", "serve", "--data", str(data), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**inherited, "LIVEPIN_REQUESTS_PER_SECOND": "100000", **environment},
            )

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    @property
    def management(self) -> bool:
        """Whether it tells where management is."""
        return (self.data / RUN_FILE).exists()

    def port(self, of: str = "delivery") -> int:
        """Wait until it serves; return the port of a listener."""
        deadline = time.monotonic() + PATIENCE
        while '"serving"' not in self.log:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        line = next(each for each in self.log.splitlines() if '"serving"' in each)
        return int(json.loads(line)[of])

    def get(self, path: str, of: str = "delivery", **headers: str) -> httpx.Response:
        """Fetch from a listener."""
        return self.ask("GET", path, of, **headers)

    def ask(self, method: str, path: str, of: str = "delivery", **headers: str) -> httpx.Response:
        """Ask a listener."""
        context = ssl.create_default_context(cafile=self.data / "tls" / "ca.pem")
        url = f"https://127.0.0.1:{self.port(of)}{path}"
        return httpx.request(
            method, url, verify=context, trust_env=False, timeout=PATIENCE, headers=headers
        )

    def serves(self) -> bool:
        """Wait until it serves, or has ended; tell which."""
        with contextlib.suppress(AssertionError):
            self.port()
        return self.process.poll() is None

    @property
    def pid(self) -> int:
        """The process that serves."""
        own = self.process.pid
        if not self._under:
            return own
        (found,) = Path(f"/proc/{own}/task/{own}/children").read_text().split() or [own]
        return int(found)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended
            os.kill(self.pid, number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def start_child() -> Iterator[Callable[..., Child]]:
    """Start `livepin serve` on a data folder, with arguments."""
    with contextlib.ExitStack() as stack:

        def one(data: Path, *arguments: str, **options: Any) -> Child:
            child = Child(data, *arguments, **options)
            stack.callback(lambda: child.process.poll() is None and child.end(signal.SIGKILL))
            return child

        yield one


_NGINX = """
worker_processes 1;
daemon off;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    upstream nodes {{ {servers} keepalive 8; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {tls}/server.pem;
        ssl_certificate_key {tls}/server.key;
        location / {{
            proxy_pass https://nodes;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_ssl_trusted_certificate {tls}/ca.pem;
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
            proxy_next_upstream error timeout http_502 http_503;
            proxy_connect_timeout 2s;
        }}
    }}
}}
"""


@pytest.fixture
def start_nginx(
    counterpart: Callable[[str], str], tmp_path: Path, until: Callable[..., None]
) -> Iterator[Callable[..., None]]:
    """Start nginx in front of delivery ports, on a port of its own, with a node's TLS identity."""
    with contextlib.ExitStack() as stack:

        def one(port: int, tls: Path, *nodes: int) -> None:
            folder = tmp_path / "nginx"
            folder.mkdir()
            servers = " ".join(f"server 127.0.0.1:{each} max_fails=1;" for each in nodes)
            text = _NGINX.format(folder=folder, servers=servers, port=port, tls=tls)
            (folder / "nginx.conf").write_text(text)
            process = subprocess.Popen(
                [
                    counterpart("nginx"),
                    "-c",
                    str(folder / "nginx.conf"),
                    "-e",
                    f"{folder}/error.log",
                ]
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)

            def answers() -> bool:
                assert process.poll() is None, (folder / "error.log").read_text()
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    return True
                return False

            until(answers)

        yield one


# -- what is killed, or loses its disk -----------------------------------------------------------


@pytest.fixture
def start_nodes(
    another_folder: Callable[[Path], Path], start_child: Callable[..., Child], tmp_path: Path
) -> Iterator[Callable[..., list[Node]]]:
    """Prepare an operation on a data folder, and start nodes on it and on copies of it.

    What was published before is `days` old.
    """
    with contextlib.ExitStack() as stack:

        def one(operation: Operation, data: Path, count: int = 1, *, days: int = 0) -> list[Node]:
            clock = FakeClock(datetime.now(timezone.utc) - timedelta(days=days))
            with folder.opened(data, {}, clock=clock, look=unseen) as opened:
                services, published = opened.services, opened.services.published
                dead = SetDelivery(wanted=DeliveryChange(urls=["https://localhost:1"]))
                agreed = msgspec.structs.replace(INTENT, how=How(confirmed=True))
                services.publisher.publish(ACCOUNT, [dead], agreed)
                operation.prepare(services)
                streams = [each.name for each in services.streams.all(ACCOUNT)]
                bootstraps = {name: published.bootstrap(ACCOUNT, name) for name in streams}
                _, key = services.api_keys.create("publishers", Role.ADMIN, ACCOUNT, INTENT)
            ledger = Ledger(bootstraps, tmp_path)
            stack.callback(ledger.close)
            folders = [data, *(another_folder(data) for _ in range(count - 1))]
            nodes = [Node(each, key, ledger, start_child) for each in folders]
            for each in nodes:
                each.start()
            assert all(each.child.serves() for each in nodes)
            return nodes

        yield one


@pytest.fixture
def own_postgres(start_postgres: Callable[..., Any]) -> Iterator[Any]:
    """A PostgreSQL that a test may kill; each commit is on disk."""
    found = start_postgres()
    yield found
    found.remove()


@pytest.fixture
def own_folder(own_postgres: Any, make_folder: Callable[[str], Path]) -> Path:
    """A data folder whose database is in a PostgreSQL of its own."""
    return make_folder(own_postgres.url())


@pytest.fixture
def make_folder(settings: Settings, tmp_path: Path, clock: FakeClock) -> Callable[[str], Path]:
    """Make a data folder whose database is elsewhere."""

    def one(url: str) -> Path:
        plan = folder.Plan(
            data=tmp_path / "data", account=ACCOUNT, root_key=None, passphrase=None,
            settings=msgspec.structs.replace(settings, database=url),
        )  # fmt: skip
        folder.initialise(plan, clock=clock)
        return plan.data

    return one


@pytest.fixture
def small_disk(
    counterpart: Callable[[str], str], missing: Callable[[str], None], tmp_path: Path
) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of a size, where this process may."""
    with contextlib.ExitStack() as stack:

        def one(size: str) -> Path:
            place = Path(tempfile.mkdtemp(prefix="lp-disk-"))
            command = [counterpart("mount"), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                place.rmdir()
                missing(f"a small file system cannot be mounted, it needs root: {done.stderr}")
            stack.callback(place.rmdir)
            stack.callback(subprocess.run, [counterpart("umount"), "--lazy", place], check=True)
            return place

        yield one
