"""What the server's tests share: a data folder, its opened parts, pins and domains to put in."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvloop
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.exports.static import target
from livepin_server.folder import Folder, Plan
from livepin_server.management.app import build_app
from livepin_server.probing.probe import Observation, Target
from livepin_server.services.composition import Services
from livepin_server.services.model import How, Intent, NewDomain, NewPin, Publication, Role
from livepin_server.serving import Running, serve
from livepin_server.settings import Settings
from livepin_server.storage.database import Database
from livepin_server.telemetry.metrics import Metrics
from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool

INTENT = Intent(author="bob")
HERE = Path(__file__).parent

ACCOUNT = "acme"
DELIVERY_URL = "https://pins.example.com:8443"
PATIENCE = 60.0  # seconds, on a busy machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure no coverage in tests of Hypothesis: what has to be covered has an example beside.

    They run the same lines by the thousand, and measuring would take most of the time.
    """
    for item in items:
        chance = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if chance and item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.no_cover)


class _Compiled(dict[Any, Any]):
    """What statements compile to, by the kind of the database in place of the database itself."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get((key[0].driver, *key[1:]), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__((key[0].driver, *key[1:]), value)


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Have each statement compiled once: a test, or a command in it, opens databases of its own.

    SQLAlchemy compiles for each anew, and that takes a fifth of the time.
    """
    compiled = _Compiled()
    with pytest.MonkeyPatch.context() as patch:
        shared = property(lambda _: compiled, lambda *_: None)
        patch.setattr(Engine, "_compiled_cache", shared, raising=False)
        yield


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until a test moves it: 2026-11-23T12:00:00Z."""
    return FakeClock()


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Settings of a server whose listeners take any free port of this machine.

    It does not look at endpoints: hosts of these tests do not exist.
    """
    return Settings(
        delivery_urls=[DELIVERY_URL],
        delivery_host="127.0.0.1",
        delivery_port=0,
        management_port=0,
        monitoring=False,
    )


def unseen(targets: Sequence[Target]) -> dict[Target, list[Observation]]:
    """Look at no endpoint: hosts of these tests do not exist."""
    return {each: [] for each in targets}


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
        return folder.opened(data, environment, clock=clock, look=unseen)

    return one


@pytest.fixture
def opened(data_folder: Path, clock: FakeClock) -> Iterator[Folder]:
    """The opened data folder."""
    with folder.opened(data_folder, {}, clock=clock, look=unseen) as found:
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
    """Who changes something, and why, and agrees to what weakens the protection."""
    return Intent(author="alice", reason="rotation", how=How(confirmed=True))


@pytest.fixture
def add_domain(
    services: Services, new_pin: Callable[..., NewPin], intent: Intent
) -> Callable[..., Publication]:
    """Add a domain to `acme`, pinned to the keys of these numbers, and publish."""

    def one(pattern: str = "api.example.com", *numbers: int, **members: Any) -> Publication:
        new = NewDomain(pattern=pattern, pins=[new_pin(n) for n in numbers or (1,)], **members)
        return services.domains.add(ACCOUNT, new, intent)

    return one


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], Any]], None]:
    """Wait until a condition holds."""

    def one(condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.01)

    return one


@pytest.fixture
def rekey_at_once(
    monkeypatch: pytest.MonkeyPatch, until: Callable[[Callable[[], Any]], None]
) -> Callable[[Sequence[Services], Callable[[Services], Any]], list[Any]]:
    """Have two change the master key at once, of one server or two; return what either got.

    The first stops once its new master key is written, until the second has either come as far, or
    waits for the first one's transaction to end.
    """

    def one(both: Sequence[Services], rekey: Callable[[Services], Any]) -> list[Any]:
        written, as_far, asked = threading.Event(), threading.Event(), threading.Event()
        first, second = (each.private_keys._sealed for each in both)
        begin_first, begin_second = first.begin, second.begin
        queue = both[1].database._writer._work_queue

        def meet() -> Any:
            if written.is_set():
                as_far.set()
                return begin_second()
            fresh = begin_first()
            written.set()
            writing = threading.current_thread().name.startswith("livepin-writer")
            until(lambda: as_far.is_set() or (writing and (queue.qsize() or asked.is_set())))
            return fresh

        if both[0] is not both[1]:
            engine = both[1].database._engine
            event.listen(engine, "before_cursor_execute", lambda *_: asked.set())
        with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
            patch.setattr(first, "begin", meet)
            patch.setattr(second, "begin", meet)
            done = pool.submit(rekey, both[0])
            assert written.wait(PATIENCE)
            return [each.result(PATIENCE) for each in (done, pool.submit(rekey, both[1]))]

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


# -- a real PKCS#11 token ----------------------------------------------------------------------


class SoftToken:
    """A token of SoftHSM2 in a folder of its own, as `SOFTHSM2_CONF` names it."""

    label = "acme"
    pin = "correct horse battery"

    def __init__(self, module: str, tool: str, folder: Path) -> None:
        self.module = Path(module)
        self._tool = tool
        self.folder = folder / "tokens"
        self.folder.mkdir()
        self.configuration = folder / "softhsm2.conf"
        self.configuration.write_text(
            f"directories.tokendir = {self.folder}\nlog.level = ERROR\n", encoding="utf-8"
        )
        self.add(self.label)

    @property
    def environment(self) -> dict[str, str]:
        """What a server or command needs to use it."""
        return {
            "SOFTHSM2_CONF": str(self.configuration),
            "LIVEPIN_PKCS11_MODULE": str(self.module),
            "LIVEPIN_PKCS11_TOKEN": self.label,
            "LIVEPIN_PKCS11_PIN": self.pin,
        }

    def add(self, label: str) -> None:
        """Make one more token."""
        arguments = ["--init-token", "--free", "--label", label, "--so-pin", "not used here"]
        done = subprocess.run(
            [self._tool, *arguments, "--pin", self.pin], env=self.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def restart(self) -> None:
        """Have the module in this process look at the tokens anew: no session survives that."""
        import pkcs11

        pkcs11.lib(str(self.module)).reinitialize()

    def end(self) -> None:
        """Have the module in this process let go of the tokens."""
        import pkcs11

        with contextlib.suppress(pkcs11.PKCS11Error):
            pkcs11.lib(str(self.module)).finalize()

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """Take the token out for a while."""
        self.folder.rename(self.folder.with_name("away"))
        try:
            yield
        finally:
            self.folder.with_name("away").rename(self.folder)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Take the token out for a while: every session with it ends."""
        import pkcs11

        with self.gone():
            with contextlib.suppress(pkcs11.GeneralError):
                self.restart()
            yield


@pytest.fixture
def soft_token(
    counterpart: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SoftToken]:
    """A token of this test's own."""
    (tmp_path / "softhsm").mkdir()
    module, tool = counterpart("libsofthsm2.so"), counterpart("softhsm2-util")
    found = SoftToken(module, tool, tmp_path / "softhsm")
    monkeypatch.setenv("SOFTHSM2_CONF", str(found.configuration))
    found.restart()
    yield found
    found.end()


# -- a real PostgreSQL -------------------------------------------------------------------------


class Postgres:
    """A PostgreSQL of its own on a Unix socket, as a user who is not root, ended by its pid."""

    def __init__(
        self, program: str, initdb: str, *settings: str, place: Path | None = None
    ) -> None:
        # short: a socket's path is limited
        self.folder = Path(tempfile.mkdtemp(prefix="lp-pg-", dir=place))
        self.identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = next(each for each in pwd.getpwall() if each.pw_name in ("postgres", "nobody"))
            self.identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        # Its order of texts is not that of bytes, as on most servers.
        self._run(
            [initdb, "-D", "data", "-U", "livepin", "-A", "trust", "-E", "UTF8", "--no-sync",
             "--locale-provider=icu", "--icu-locale=en-US", "--locale=C", "--wal-segsize=1"],
        )  # fmt: skip
        options = ("listen_addresses=", f"unix_socket_directories={self.folder}", *settings)
        self._command = [program, "-D", str(self.folder / "data")]
        for each in options:
            self._command += ["-c", each]
        self.start()

    def url(self, name: str = "postgres", user: str = "livepin") -> str:
        """Return the URL of a database, as it stands in `livepin.toml`."""
        return f"postgresql+psycopg://{user}@/{name}?host={self.folder}"

    def create(self, template: str = "template0") -> str:
        """Make a database; return its name."""
        name = f"test_{secrets.token_hex(6)}"
        with self.connect() as connection:
            # From version 15 on it would write all of it to its log too.
            how = "STRATEGY file_copy" if connection.info.server_version >= 150000 else ""
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} {how}")
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever uses it."""
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, statement: str, *, name: str = "postgres") -> None:
        """Run a statement by itself."""
        with self.connect(name) as connection:
            connection.execute(statement)

    def connect(self, name: str = "postgres") -> Any:
        """Return a connection, whose statements are transactions of their own."""
        import psycopg

        return psycopg.connect(host=str(self.folder), user="livepin", dbname=name, autocommit=True)

    def start(self) -> None:
        """Start, and wait until it answers."""
        deadline = time.monotonic() + 60
        while not self._started():
            # Processes of one that was killed may need a moment to end.
            assert time.monotonic() < deadline, (self.folder / "log").read_text()

    def kill(self) -> None:
        """End it as a power cut of its process does."""
        self.process.kill()
        self.process.wait()

    def stop_at_once(self) -> None:
        """End it as `pg_ctl stop -m immediate` does: all its processes, and nothing is tidied."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def stop(self) -> None:
        """End it in order."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)

    def remove(self) -> None:
        """End it and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _started(self) -> bool:
        import psycopg

        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": os.environ["PATH"]}, **self.identity,
            )  # fmt: skip
        while self.process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError), self.connect():
                return True
            time.sleep(0.02)
        return False

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self.folder, env={"PATH": os.environ["PATH"]}, capture_output=True,
            text=True, check=False, **self.identity,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def start_postgres(counterpart: Callable[[str], str]) -> Iterator[Callable[..., Postgres]]:
    """Start a PostgreSQL with settings; the end of the session ends and removes it."""
    with contextlib.ExitStack() as stack:

        def one(*settings: str, place: Path | None = None) -> Postgres:
            programs = counterpart("postgres"), counterpart("initdb")
            found = Postgres(*programs, *settings, place=place)
            stack.callback(found.remove)
            return found

        yield one


@pytest.fixture(scope="session")
def postgres(start_postgres: Callable[..., Postgres]) -> Postgres:
    """The PostgreSQL that the tests of a session share, each with a database of its own."""
    return start_postgres("fsync=off")


@pytest.fixture
def new_database(postgres: Postgres) -> Iterator[Callable[..., str]]:
    """Make databases that the test's end drops; each gives its name."""
    with contextlib.ExitStack() as stack:

        def one(template: str = "template0") -> str:
            name = postgres.create(template)
            stack.callback(postgres.drop, name)
            return name

        yield one


@pytest.fixture(scope="session")
def postgres_template(
    postgres: Postgres, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A data folder with the account `acme` and its database; do not change them."""
    name = postgres.create()
    data = tmp_path_factory.mktemp("postgres") / "data"
    chosen = msgspec.structs.replace(settings, database=postgres.url(name))
    plan = Plan(data=data, account=ACCOUNT, settings=chosen, root_key=None, passphrase=None)
    folder.initialise(plan, clock=FakeClock())
    return data, name


@pytest.fixture
def postgres_folder(
    postgres: Postgres,
    postgres_template: tuple[Path, str],
    new_database: Callable[..., str],
    tmp_path: Path,
) -> Path:
    """A data folder of this test's own whose database is in PostgreSQL."""
    template, name = postgres_template
    data = tmp_path / "postgres"
    shutil.copytree(template, data)
    text = (data / "livepin.toml").read_text()
    (data / "livepin.toml").write_text(text.replace(name, new_database(name)))
    return data


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
        return self.services.api_keys.create(name, Role(role), account, INTENT)[1]

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
            targets = [target(each, os.environ) for each in self.folder.settings.export]
            runner.run(
                serve(self.folder, self._management, targets=targets, started=self._on_start)
            )

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
def running(data: Path, *, clock: FakeClock | None = None, **environment: str) -> Iterator[Server]:
    """Run a server on a data folder for a while; without a limit of requests unless it is set."""
    environment = {"LIVEPIN_REQUESTS_PER_SECOND": "100000", **environment}
    with folder.opened(data, environment, clock=clock or FakeClock(), look=unseen) as found:
        server = Server(found)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[Server]]:
    """Run a server for a while, by a clock of the test's own."""
    return running


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


@pytest.fixture
def run_server() -> Iterator[Callable[..., Server]]:
    """Run servers on data folders of the test's own."""
    with contextlib.ExitStack() as stack:
        yield lambda data, **environment: stack.enter_context(running(data, **environment))
