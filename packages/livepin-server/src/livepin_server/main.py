"""The composition root: the only reader of the environment and the clock; it starts everything."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import uvloop
from litestar import Litestar

from livepin_server import folder, layout, lock
from livepin_server.folder import Folder, Node, Plan
from livepin_server.management.app import build_app, build_watching_app
from livepin_server.serving import Running, serve
from livepin_server.storage import moving, schema_version
from livepin_server.storage.database import Database
from livepin_server.telemetry import logs
from livepin_server.telemetry.metrics import Metrics


def clock() -> datetime:
    """Return the time of day, aware, in UTC."""
    return datetime.now(timezone.utc)


def initialise(plan: Plan) -> None:
    """Make a data folder; see `folder.initialise`."""
    folder.initialise(plan, clock=clock)


def run_server(data: Path, *, started: Callable[[Running], Awaitable[None]] | None = None) -> None:
    """Serve a data folder until SIGTERM or SIGINT, holding its lock."""
    with lock.holding(data), folder.opened(data, os.environ, clock=clock) as opened:
        coroutine = serve(opened, lambda metrics: management_app(opened, metrics), started=started)
        _run(opened, coroutine)


def run_delivery(
    data: Path, *, started: Callable[[Running], Awaitable[None]] | None = None
) -> None:
    """Serve delivery alone until SIGTERM or SIGINT: on PostgreSQL, without any signing key."""
    with lock.holding(data), folder.delivering(data, os.environ, clock=clock) as node:
        _run(node, serve(node, lambda metrics: _watching_app(node, metrics), started=started))


@contextmanager
def in_process(data: Path) -> Iterator[tuple[Litestar, str]]:
    """Give the management application and the operator's key, holding the folder's lock."""
    with lock.holding(data), folder.opened(data, os.environ, clock=clock) as opened:
        key = (data / layout.OPERATOR_KEY).read_text().strip()
        yield management_app(opened, Metrics()), key


def upgrade(data: Path) -> tuple[str, Path | None]:
    """Bring the database of a data folder to this version; return schema and backup."""
    with (
        lock.holding(data),
        folder.opened(data, os.environ, clock=clock, upgrading=True) as opened,
    ):
        backup = schema_version.upgrade(opened.services.database, now=clock())
        return schema_version.head(), backup


def move(data: Path, url: str) -> int:
    """Copy the database of a data folder into another, empty one; return the number of rows."""
    with lock.holding(data), folder.opened(data, os.environ, clock=clock) as opened:
        target = Database(url)
        try:
            return moving.move(opened.services.database, target)
        finally:
            target.close()


def renew_delivery_keys(data: Path) -> None:
    """Give delivery new keys while the server is stopped; see `folder.renew_identity`."""
    with lock.holding(data), folder.opened(data, os.environ, clock=clock) as opened:
        folder.renew_identity(opened, clock=clock)


def renew_operator_key(data: Path) -> str:
    """Give the commands a new key while the server is stopped; return what it is called."""
    with lock.holding(data), folder.opened(data, os.environ, clock=clock) as opened:
        return folder.renew_operator_key(opened)


def _run(node: Node, coroutine: Coroutine[Any, Any, None]) -> None:
    # Only now: the HTTP server's own set-up of logs happens on import.
    logs.configure(node.settings.log_level, node.settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(coroutine)


def _watching_app(node: Node, metrics: Metrics) -> Litestar:
    return build_watching_app(node.api_keys, metrics, ask_database=node.published.accounts)


def management_app(opened: Folder, metrics: Metrics) -> Litestar:
    """Return the management application of an opened data folder."""
    return build_app(opened.services, metrics, delivery_expires=opened.identity.expires)
