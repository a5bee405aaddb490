"""What the server's tests share: a data folder, its opened parts, pins and domains to put in."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.folder import Folder, Plan
from livepin_server.services.composition import Services
from livepin_server.services.model import NewDomain, NewPin, Publication
from livepin_server.services.publishing.publisher import Intent
from livepin_server.settings import Settings
from livepin_server.storage.database import Database
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
