"""The composition root: the only reader of the environment and the clock; it starts everything.

What serves is imported where a server starts: commands without one need not wait for it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litestar.types import ASGIApp

from livepin_server import folder, layout, lock
from livepin_server.backups import making, mark, restoring
from livepin_server.backups.making import Made, Progress
from livepin_server.backups.restoring import Restored, RestorePlan
from livepin_server.bus.memory import MonitorWanted
from livepin_server.custody.age import Seal
from livepin_server.exports.static import target
from livepin_server.folder import Folder, Node, Plan
from livepin_server.management.app import build_app, build_watching_app
from livepin_server.management.monitoring import untold
from livepin_server.probing.many import look_here
from livepin_server.storage import moving, schema_version
from livepin_server.storage.database import Database
from livepin_server.telemetry import logs
from livepin_server.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from livepin_server.serving import Running

logger = logging.getLogger("livepin.server")

_Started = Callable[["Running"], Awaitable[None]]


def clock() -> datetime:
    """Return the time of day, aware, in UTC."""
    return datetime.now(timezone.utc)


def initialise(plan: Plan) -> None:
    """Make a data folder; see `folder.initialise`."""
    folder.initialise(plan, clock=clock)


def run_server(
    data: Path, *, started: _Started | None = None, tell: Callable[[str], None] | None = None
) -> None:
    """Serve a data folder until SIGTERM or SIGINT, holding its lock.

    Once it serves, `tell` is given what a person has to know of it, such as that nobody will be
    told of what is found wrong; without it that goes to the log.
    """
    from livepin_server.serving import serve

    with lock.holding(data), folder.opened(data, os.environ, clock=clock) as opened:
        _log(opened)
        mark.go_on(opened)
        coroutine = serve(
            opened,
            lambda metrics: management_app(opened, metrics),
            targets=[target(each, os.environ) for each in opened.settings.export],
            started=_settled(_telling(opened, started, tell or logger.warning)),
        )
        _run(coroutine)


def run_delivery(data: Path, *, started: _Started | None = None) -> None:
    """Serve delivery alone until SIGTERM or SIGINT: on PostgreSQL, without any signing key."""
    from livepin_server.serving import serve

    with lock.holding(data), folder.delivering(data, os.environ, clock=clock) as node:
        _log(node)
        coroutine = serve(
            node, lambda metrics: _watching_app(node, metrics), started=_settled(started)
        )
        _run(coroutine)


def run_worker(data: Path, *, vantage: str, started: Callable[[], object] | None = None) -> None:
    """Look at endpoints from a vantage until SIGTERM or SIGINT: on PostgreSQL, without any key.

    It does not hold the folder's lock: a server may serve it meanwhile.

    Raises:
        ConfigurationError, SchemaError: it cannot be done; the message says why.
    """
    from livepin_server.worker import work

    with folder.looking(data, os.environ, clock=clock) as found:
        logs.configure(found.settings.log_level, found.settings.log_format)
        _run(work(found, vantage=vantage, started=started))


@contextmanager
def in_process(data: Path) -> Iterator[tuple[ASGIApp, str]]:
    """Give the management application and the operator's key, holding the folder's lock."""
    with (
        lock.holding(data),
        folder.opened(data, os.environ, clock=clock, look=look_here) as opened,
    ):
        key = (data / layout.OPERATOR_KEY).read_text().strip()
        with _inside(opened):
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


def back_up(data: Path, file: Path, seal: Seal, *, progress: Progress) -> Made:
    """Make a backup of a data folder, which may be in use; see `backups.making`."""
    return making.make(data, os.environ, file, seal, now=clock(), progress=progress)


def restore(plan: RestorePlan, *, progress: Progress) -> Restored:
    """Make a data folder out of a backup; see `backups.restoring`."""
    return restoring.restore(plan, os.environ, clock=clock, progress=progress)


def _log(node: Node) -> None:
    # Only now: the HTTP server's own set-up of logs happens on import.
    logs.configure(node.settings.log_level, node.settings.log_format)


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(coroutine)


def _settled(started: _Started | None) -> _Started:
    """Return what is called once it serves: what is there by then stays, and is no garbage."""

    async def one(running: Running) -> None:
        gc.freeze()
        if started is not None:
            await started(running)

    return one


@contextmanager
def _inside(opened: Folder) -> Iterator[None]:
    """Have what a command wants looked at, or told, done in this process."""
    with ExitStack() as stack:
        services = opened.services

        def start(news: MonitorWanted) -> None:
            end()  # what monitors hears by itself from now on
            from livepin_server.monitor.inside import Inside  # it takes a while, and few want it

            inside = Inside(
                services, services.channels, opened.bus, opened.mail, clock=opened.clock
            )
            stack.enter_context(inside)

        end = opened.bus.subscribe(start, MonitorWanted)
        yield


def _telling(opened: Folder, started: _Started | None, tell: Callable[[str], None]) -> _Started:
    """Return what ends the start with the accounts in which nobody will be told of anything."""

    async def one(running: Running) -> None:
        if started is not None:
            await started(running)
        for text in await asyncio.to_thread(_untold, opened):
            tell(text)

    return one


def _untold(opened: Folder) -> list[str]:
    services = opened.services
    return untold(services, [each.name for each in services.accounts.all()])


def _watching_app(node: Node, metrics: Metrics) -> ASGIApp:
    return build_watching_app(node.api_keys, metrics, ask_database=node.published.accounts)


def management_app(opened: Folder, metrics: Metrics) -> ASGIApp:
    """Return the management application of an opened data folder."""
    metrics.attention.add(lambda: mark.notes(opened))
    return build_app(opened.services, metrics, delivery_expires=opened.identity.expires)
