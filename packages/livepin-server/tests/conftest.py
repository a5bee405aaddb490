"""What the server's tests share: a data folder, its opened parts, pins and domains to put in."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.folder import Folder, Plan
from livepin_server.management.app import build_app
from livepin_server.services.composition import Services
from livepin_server.services.model import NewDomain, NewPin, Publication, Role
from livepin_server.services.publishing.publisher import Intent
from livepin_server.serving import Running, serve
from livepin_server.settings import Settings
from livepin_server.storage.database import Database
from livepin_server.telemetry.metrics import Metrics
from sqlalchemy import event
from sqlalchemy.pool import Pool

ACCOUNT = "acme"
DELIVERY_URL = "https://pins.example.com:8443"


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until a test moves it: 2026-11-23T12:00:00Z."""
    return FakeClock()


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Settings of a server whose listeners take any free port of this machine."""
    return Settings(
        delivery_urls=[DELIVERY_URL],
        delivery_host="127.0.0.1",
        delivery_port=0,
        management_port=0,
    )


@pytest.fixture(scope="session")
def data_template(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Path:
    """A data folder with the account `acme`, its root key kept online; do not change it."""
    data = tmp_path_factory.mktemp("template") / "data"
    plan = Plan(data=data, account=ACCOUNT, settings=settings, root_key=None, passphrase=None)
    folder.initialise(plan, clock=FakeClock())
    return data


@pytest.fixture
def data_folder(data_template: Path, tmp_path: Path) -> Path:
    """A data folder of this test's own, made on 2026-11-23."""
    data = tmp_path / "data"
    shutil.copytree(data_template, data)
    return data


@pytest.fixture
def open_folder(clock: FakeClock) -> Callable[..., AbstractContextManager[Folder]]:
    """Open a data folder, as a server does that has its lock: `with open_folder(path) as found`."""

    def one(data: Path, **environment: str) -> AbstractContextManager[Folder]:
        return folder.opened(data, environment, clock=clock)

    return one


@pytest.fixture
def opened(data_folder: Path, clock: FakeClock) -> Iterator[Folder]:
    """The opened data folder."""
    with folder.opened(data_folder, {}, clock=clock) as found:
        yield found


@pytest.fixture
def services(opened: Folder) -> Services:
    """The use cases over a real SQLite file; the account `acme` has config 1."""
    return opened.services


@pytest.fixture
def open_database() -> Iterator[Callable[[str], Database]]:
    """Open databases that the test's end closes."""
    with contextlib.ExitStack() as stack:

        def one(url: str) -> Database:
            database = Database(url)
            stack.callback(database.close)
            return database

        yield one


@pytest.fixture(scope="session")
def pin_text() -> Callable[[int], str]:
    """Return a pin as `sha256/BASE64`, another for each number."""

    def one(number: int = 1) -> str:
        digest = hashlib.sha256(f"key {number}".encode()).digest()
        return f"sha256/{base64.b64encode(digest).decode()}"

    return one


@pytest.fixture(scope="session")
def new_pin(pin_text: Callable[[int], str]) -> Callable[..., NewPin]:
    """Return a pin to add, another for each number."""
    return lambda number=1, **members: NewPin(sha256=pin_text(number), **members)


@pytest.fixture(scope="session")
def intent() -> Intent:
    """Who changes something, and why."""
    return Intent(author="alice", reason="rotation")


@pytest.fixture
def add_domain(
    services: Services, new_pin: Callable[..., NewPin], intent: Intent
) -> Callable[..., Publication]:
    """Add a domain to `acme`, pinned to the keys of these numbers, and publish."""

    def one(pattern: str = "api.example.com", *numbers: int, **members: Any) -> Publication:
        new = NewDomain(pattern=pattern, pins=[new_pin(n) for n in numbers or (1,)], **members)
        return services.domains.add(ACCOUNT, new, intent)

    return one


@pytest.fixture
def pragma() -> Iterator[Callable[[str], None]]:
    """Set a PRAGMA of SQLite on each connection that a database takes from its pool from now on.

    `busy_timeout=20` (milliseconds) for a lock, `max_page_count=1` for a full disk,
    `query_only=1` for one that is read-only: the errors are SQLite's own.
    """
    with contextlib.ExitStack() as stack:

        def one(text: str) -> None:
            def on_checkout(connection: Any, *_: object) -> None:
                connection.execute(f"PRAGMA {text}")

            event.listen(Pool, "checkout", on_checkout)
            stack.callback(event.remove, Pool, "checkout", on_checkout)

        yield one


# -- a running server --------------------------------------------------------------------------


class Server:
    """A real server in a thread of its own: two listeners on free ports, with TLS."""

    def __init__(self, found: Folder) -> None:
        self.folder = found
        self.services = found.services
        self.context = ssl.create_default_context(cadata=found.identity.ca)
        self.metrics = Metrics()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="server")
        self._thread.start()
        assert self._started.wait(30), "the server did not start"
        self._client = httpx.Client(verify=self.context, trust_env=False, timeout=30)

    @property
    def ports(self) -> dict[str, int]:
        """The port of each listener."""
        running = self.running
        return {"delivery": running.delivery.port, "management": running.management.port}

    def send(
        self,
        method: str,
        path: str,
        *,
        to: str = "delivery",
        key: str | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send a request over a kept connection; `key` is an API key."""
        headers = {"accept-encoding": "identity", **options.pop("headers", {})}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        url = f"https://127.0.0.1:{self.ports[to]}{path}"
        return self._client.request(method, url, headers=headers, **options)

    def connect(self, to: str = "delivery", *, timeout: float = 30) -> ssl.SSLSocket:
        """Return a TLS connection on which a test may write what it likes."""
        plain = socket.create_connection(("127.0.0.1", self.ports[to]), timeout=timeout)
        return self.context.wrap_socket(plain, server_hostname="127.0.0.1")

    def raw(self, data: bytes, to: str = "delivery") -> bytes:
        """Return everything that is answered to these bytes until the server closes."""
        with self.connect(to) as sock:
            sock.sendall(data)
            return read_to_end(sock)

    def key(self, role: str = "admin", account: str | None = None) -> str:
        """Make an API key."""
        name = f"{role} {secrets.token_hex(4)}"
        return self.services.api_keys.create(name, Role(role), account)[1]

    def call(self, function: Callable[[], Any]) -> None:
        """Have a function called on the server's loop."""
        self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Stop, as SIGTERM does."""
        self._client.close()
        if self._thread.is_alive():
            self.call(self.running.stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server did not stop"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(self.folder, self._management, started=self._on_start))

    def _management(self, metrics: Metrics) -> Any:
        self.metrics = metrics
        return build_app(self.services, metrics)

    async def _on_start(self, running: Running) -> None:
        self.running, self._loop = running, asyncio.get_running_loop()
        self._started.set()


def read_to_end(sock: socket.socket) -> bytes:
    """Return what a connection gives until its end."""
    found = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while more := sock.recv(65536):
            found += more
    return found


@contextlib.contextmanager
def running(data: Path, **environment: str) -> Iterator[Server]:
    """Run a server on a data folder for a while; without a limit of requests unless it is set."""
    environment = {"LIVEPIN_REQUESTS_PER_SECOND": "100000", **environment}
    with folder.opened(data, environment, clock=FakeClock()) as found:
        server = Server(found)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def server(data_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server that the tests of a module share."""
    data = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(data_template, data)
    with running(data) as found:
        yield found


@pytest.fixture
def start_server(data_folder: Path) -> Iterator[Callable[..., Server]]:
    """Start a server of this test's own, with settings: `start_server(max_streams="1")`."""
    with contextlib.ExitStack() as stack:

        def one(**settings: str) -> Server:
            named = {f"LIVEPIN_{name.upper()}": value for name, value in settings.items()}
            return stack.enter_context(running(data_folder, **named))

        yield one
