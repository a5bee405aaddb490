"""`livepin serve`: the listeners, the snapshot kept in step, the jobs, and a graceful end."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from livepin.documents.config import check_url
from livepin.errors import ConfigurationError

from livepin_server import descriptors
from livepin_server.bus.memory import Announcement, OverridesChanged
from livepin_server.delivery.app import DeliveryApp
from livepin_server.delivery.claims import Claims
from livepin_server.delivery.credentials import Credentials
from livepin_server.delivery.events import Events
from livepin_server.delivery.overrides import Overrides
from livepin_server.delivery.reports import Reports
from livepin_server.delivery.snapshot import Snapshot
from livepin_server.delivery.token_loader import TokenLoader
from livepin_server.delivery.tokens import TokenDesk
from livepin_server.errors import NotFoundError, UnavailableError
from livepin_server.exports.static import Target
from livepin_server.folder import Folder, Node
from livepin_server.jobs import revoking
from livepin_server.jobs.exporting import Exporting
from livepin_server.jobs.revoking import RevocationRefresh
from livepin_server.jobs.runner import Job, run_forever
from livepin_server.jobs.watching import DeliveryWatch
from livepin_server.layout import REVOKED, RUN_FILE
from livepin_server.listener import Listener
from livepin_server.monitor import running
from livepin_server.monitor.running import Monitor
from livepin_server.probing.many import Lookout
from livepin_server.probing.prober import Prober
from livepin_server.services import expiry
from livepin_server.services.appraisal.verifiers import Verifiers
from livepin_server.services.appraisal.verifying import Verifying
from livepin_server.services.tokens.challenges import Challenges
from livepin_server.settings import Settings
from livepin_server.storage.database import MOST_WAITING
from livepin_server.telemetry.metrics import Metrics
from livepin_server.telemetry.monitoring import MonitoringCollector
from livepin_server.web.admission import Admission
from livepin_server.web.limits import RateLimit

_PUBLISH_EVERY = 5.0  # seconds; what is staged for a time is at most so late
_RESIGN_EVERY = 3600.0  # seconds; configs live days
_WATCH_EVERY = 60.0  # seconds
_LOOK_EVERY = 300.0  # seconds; at the delivery URLs
_LOOK_FIRST = 30.0  # seconds; by then whoever serves them with this process is up
_USES_EVERY = 60.0  # seconds: of the last uses of API keys, a crash loses so much
_FORGET_EVERY = 86400.0  # seconds
_REMEMBERED = timedelta(days=180)  # installations that ask for no token any more
_CLAIMS_EVERY = 3600.0  # seconds: of claims that nobody makes any more, so many are kept
_ENDED_KEPT = timedelta(days=30)  # overrides; the audit log has all of them
_EXPIRED_EVERY = 60.0  # seconds; of overrides, until they are out of copies and out of memory
_SEEN_EVERY = 1.0  # seconds: of when installations were last seen, a crash loses so much
_AGAIN = 1.0  # seconds until what could not be loaded is tried again
_MOST_MANAGEMENT = 512  # connections
_MOST_FETCHING = 4096  # connections of delivery that are no event streams
_FILES = 256  # descriptors for everything that is no connection
_THREADS = MOST_WAITING + 32  # where as many changes wait, others still find one
_LEAST_AT_ONCE = 12.0  # requests of an address: a report costs eleven, and must be possible

logger = logging.getLogger("livepin.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that serves."""

    delivery: Listener
    management: Listener
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def listeners(self) -> list[Listener]:
        """What listens."""
        return [self.delivery, self.management]

    async def until_one_ends(self) -> None:
        """Stop everything if a listener ends by itself: half a server misleads."""
        ended = [asyncio.create_task(each.ended()) for each in self.listeners]
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        self.stop.set()


async def serve(
    node: Node,
    private_app: Callable[[Metrics], Any],
    *,
    targets: Sequence[Target] = (),
    started: Callable[[Running], Awaitable[None]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `started` is awaited once all listeners answer.

    `private_app` makes what the private listener answers: management, or, where delivery is served
    alone, metrics and health. What is published goes to each of `targets` too.

    Raises:
        ConfigurationError: a port cannot be listened on.
    """
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="livepin")
    asyncio.get_running_loop().set_default_executor(threads)
    metrics, snapshot, settings = Metrics(), Snapshot(), node.settings
    streams, connections = _room(settings.max_streams)
    events = Events(
        snapshot, metrics, most=streams, most_per_address=settings.max_streams_per_address
    )
    claims, overrides = Claims(snapshot, metrics), Overrides(metrics, clock=node.clock)
    metrics.attention.add(claims.notes)
    desk, revocation = _desk(node, metrics) or (None, None)
    app = DeliveryApp(
        snapshot,
        events,
        Reports(metrics, claims),
        claims,
        overrides,
        metrics,
        limit=_limit(settings),
        tokens=desk,
        credentials=Credentials(node.api_keys),
    )
    running = Running(
        delivery=_delivery_listener(node, app, connections),
        management=_management_listener(node, private_app(metrics), metrics),
    )
    _stop_on_signals(running.stop)
    loader = _Loader(node, snapshot, overrides, events, metrics)
    loader.tokens = _token_loader(node, desk, loader.report)
    exports = [Exporting(node.published, each, metrics, clock=node.clock) for each in targets]
    unsubscribe = [
        node.bus.subscribe(loader.announced),
        node.bus.subscribe(loader.overrides_changed, OverridesChanged),
    ]
    unsubscribe += [] if loader.tokens is None else loader.tokens.subscribe()
    for kind in (Announcement, OverridesChanged):
        unsubscribe += [node.bus.subscribe(each.announced, kind) for each in exports]
    for each in exports:
        metrics.attention.add(each.notes)
    tasks: list[asyncio.Task[None]] = []
    try:
        await loader.load_all()
        app.ready = True
        for each in exports:
            each.start()
        background = _background(node, events, loader, exports, metrics)
        if revocation is not None:
            job = Job(name="revoked", seconds=revoking.SECONDS, run=revocation.run)
            background.append(run_forever(job))
        tasks += [asyncio.create_task(each) for each in background]
        for listener in running.listeners:
            await listener.start()
        tasks.append(asyncio.create_task(running.until_one_ends()))
        if isinstance(node, Folder):  # else there is nothing for the commands
            _write_run_file(node.data, running.management)
        ports = {"delivery": running.delivery.port, "management": running.management.port}
        logger.info("serving", extra={**ports, "data": str(node.data)})
        if started is not None:
            await started(running)
        await running.stop.wait()
    finally:
        logger.info("stopping")
        for end in unsubscribe:
            end()
        with suppress(OSError):  # nothing may keep the listeners from stopping
            (node.data / RUN_FILE).unlink(missing_ok=True)
        events.close()
        await asyncio.gather(*(each.stop() for each in running.listeners))
        for each in exports:
            await asyncio.to_thread(each.stop)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Loader:
    """Keeps the snapshot in step with what is published, whichever process publishes it.

    What cannot be loaded is still served as it was, and tried again.
    """

    def __init__(
        self,
        node: Node,
        snapshot: Snapshot,
        overrides: Overrides,
        events: Events,
        metrics: Metrics,
    ) -> None:
        self.tokens: TokenLoader | None = None
        self._published = node.published
        self._snapshot = snapshot
        self._overrides = overrides
        self._events = events
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._order = asyncio.Lock()
        self._loading: set[asyncio.Task[None]] = set()
        self._missed: set[str] = set()
        self._missed_overrides: set[str] = set()
        self._missed_any = False
        self._hears = True

    def announced(self, announcement: Announcement) -> None:
        """Load the account anew, on the loop."""
        self._metrics.publications.labels(announcement.account, announcement.stream).inc()
        self._loop.call_soon_threadsafe(self._start, self._load, announcement.account)

    def overrides_changed(self, news: OverridesChanged) -> None:
        """Load the overrides of an account anew, on the loop, and nothing that others fetch."""
        self._loop.call_soon_threadsafe(self._start, self._load_overrides, news.account)

    def in_step(self, found: bool) -> None:
        """Load everything anew: what was announced before may not have been heard."""
        self._hears = found
        self.report()
        if found:
            self._start(self._load_again)

    async def load_all(self) -> None:
        """Load every account.

        Raises:
            UnavailableError: the database is not there.
        """
        for account in await asyncio.to_thread(self._published.accounts):
            await self._load(account)
        self.report()

    async def catch_up(self) -> None:
        """Try again what could not be loaded, until cancelled."""
        while True:
            await asyncio.sleep(_AGAIN)
            if self._missed_any:
                await self._load_again()
            for account in list(self._missed):
                await self._load(account)
            for account in list(self._missed_overrides):
                await self._load_overrides(account)

    def report(self) -> None:
        """Tell whether everything that is published is served."""
        missed = self._missed | self._missed_overrides
        missed |= set() if self.tokens is None else self.tokens.missed
        self._metrics.in_step.set(self._hears and not missed and not self._missed_any)

    async def _load_again(self) -> None:
        try:
            await self.load_all()
            self._missed_any = False
        except Exception:
            if not self._missed_any:
                logger.exception("the documents could not be loaded again")
            self._missed_any = True
        self.report()

    def _start(self, load: Callable[..., Coroutine[Any, Any, None]], *arguments: str) -> None:
        task = self._loop.create_task(load(*arguments))
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    async def _load(self, account: str) -> None:
        async with self._order:  # so that an older reading never replaces a newer one
            try:
                documents = await asyncio.to_thread(self._published.documents, account)
                # It packs what is sent, which takes long for a large config.
                await asyncio.to_thread(self._snapshot.replace, account, documents)
            except NotFoundError:
                self._missed.discard(account)
                logger.exception("the documents of %s could not be loaded", account)
                return
            except Exception:  # whatever it is: what was acknowledged is to be delivered
                if account not in self._missed:
                    logger.exception("the documents of %s could not be loaded", account)
                self._missed.add(account)
                self.report()
                return
        self._missed.discard(account)
        self.report()
        for stream, config in documents.configs.items():
            self._metrics.versions.labels(account, stream).set(config.version)
        self._events.wake(account)
        await self._load_overrides(account)  # a new root ends them
        if self.tokens is not None:
            await self.tokens.load(account)

    async def _load_overrides(self, account: str) -> None:
        async with self._order:
            try:
                found = await asyncio.to_thread(self._published.overrides, account)
                await asyncio.to_thread(self._overrides.replace, account, found)
                self._missed_overrides.discard(account)
            except NotFoundError:
                self._missed_overrides.discard(account)
            except Exception:  # configs are delivered all the same
                if account not in self._missed_overrides:
                    logger.exception("the overrides of %s could not be loaded", account)
                self._missed_overrides.add(account)
        self.report()


def _desk(node: Node, metrics: Metrics) -> tuple[TokenDesk, RevocationRefresh] | None:
    """Return who answers token requests, and who keeps the list of revoked keys of Android.

    Who delivers alone has no key to sign tokens with.
    """
    if not isinstance(node, Folder):
        return None
    services = node.services
    challenges = Challenges(services.tokens.challenge_key())
    revocation = RevocationRefresh(
        node.data / REVOKED, lambda: desk.verifies_android, clock=services.clock
    )
    verifiers = Verifiers(clock=services.clock, revoked=lambda: revocation.revoked)
    verifying = Verifying(services.database, verifiers)
    desk = TokenDesk(challenges, verifying, services.recording, metrics, clock=services.clock)
    metrics.attention.add(services.verdicts.notes)
    metrics.attention.add(revocation.notes)
    return desk, revocation


def _token_loader(
    node: Node, desk: TokenDesk | None, report: Callable[[], None]
) -> TokenLoader | None:
    if desk is None or not isinstance(node, Folder):
        return None
    services = node.services
    return TokenLoader(desk, services.tokens, node.bus, clock=services.clock, report=report)


def _background(
    node: Node,
    events: Events,
    loader: _Loader,
    exports: list[Exporting],
    metrics: Metrics,
) -> list[Coroutine[Any, Any, None]]:
    """Return what runs beside the listeners until the end."""

    def in_step(hears: bool) -> None:
        loader.in_step(hears)
        if loader.tokens is not None:
            loader.tokens.hears(hears)
        for each in exports:
            each.in_step(hears)
        if monitor is not None:
            monitor.in_step(hears)

    monitor = _monitor(node)
    found = [events.beat(), loader.catch_up(), node.bus.listen(in_step)]
    if isinstance(node, Folder):
        found.append(run_forever(_resign(node)))
        found.append(run_forever(_publish_due(node)))
        found.append(run_forever(_keep_uses(node)))
        found.append(run_forever(_keep_seen(node)))
        found.append(run_forever(_forget_unseen(node)))
        found.append(run_forever(_forget_claims(node)))
        found.append(run_forever(_tell_expired(node)))
        found.append(run_forever(_forget_overrides(node)))
        found.append(run_forever(_look(node, metrics)))
        found += _monitoring(node, metrics)
    if monitor is not None:
        found.append(monitor.run())
    found.append(run_forever(_watch(node, metrics)))
    if loader.tokens is not None:
        found += loader.tokens.background()
    return found


def _monitor(node: Node) -> Monitor | None:
    """Return what looks at endpoints from here; it starts a process once something is due."""
    if not isinstance(node, Folder) or not node.settings.monitoring:
        return None
    return Monitor(node.services, Prober(), node.bus, clock=node.clock)


def _monitoring(folder: Folder, metrics: Metrics) -> list[Coroutine[Any, Any, None]]:
    """Return what tells of what is found, whoever looks."""
    services, most = folder.services, folder.settings.max_endpoint_metrics
    metrics.registry.register(MonitoringCollector(lambda: services.metering.read(most=most)))
    notifying = running.notifying_by(
        services.outbox, services.channels, folder.mail, clock=folder.clock
    )
    jobs = running.jobs(services, clock=folder.clock)
    return [running.notify(notifying, folder.bus), *map(run_forever, jobs)]


def _room(wanted: int) -> tuple[int, int]:
    """Return how many event streams and connections to take, so that descriptors never run out."""
    others = _MOST_MANAGEMENT + _FILES
    needed = wanted + _MOST_FETCHING + others
    allowed = descriptors.allow(needed)
    connections = max(allowed - others, allowed // 4)
    streams = min(wanted, max(connections - _MOST_FETCHING, connections // 2))
    if streams < wanted:
        logger.warning(
            "this process may open %d files, so it takes %d event streams instead of %d "
            "(systemd: LimitNOFILE=%d; shell: ulimit -n)",
            allowed, streams, wanted, needed,
        )  # fmt: skip
    return streams, connections


def _delivery_listener(node: Node, app: DeliveryApp, connections: int) -> Listener:
    settings = node.settings
    return Listener(
        app,
        settings.delivery_host,
        settings.delivery_port,
        interface="rsgi",
        certificate=node.identity.certificate,
        key=node.identity.key,
        most_connections=connections,
    )


def _management_listener(node: Node, app: Any, metrics: Metrics) -> Listener:
    settings = node.settings
    return Listener(
        Admission(app, metrics, hosts=_hosts(settings), limit=_limit(settings)),
        settings.management_host,
        settings.management_port,
        interface="asginl",  # no lifespan: the routes are of all servers of a process
        certificate=node.identity.certificate,
        key=node.identity.key,
        most_connections=_MOST_MANAGEMENT,
    )


def _limit(settings: Settings) -> RateLimit:
    rate = settings.requests_per_second
    return RateLimit(rate, max(4 * rate, _LEAST_AT_ONCE))


def _hosts(settings: Settings) -> set[str]:
    """Return the names that management may be called by: its certificate has those of delivery."""
    named = {check_url(url, schemes=("https",)) for url in settings.delivery_urls}
    return named | {settings.management_host}


def _resign(folder: Folder) -> Job:
    return Job(name="re-sign", seconds=_RESIGN_EVERY, run=folder.services.publisher.resign_due)


def _publish_due(folder: Folder) -> Job:
    return Job(name="publish", seconds=_PUBLISH_EVERY, run=folder.services.stage.publish_due)


def _keep_uses(folder: Folder) -> Job:
    return Job(name="key-uses", seconds=_USES_EVERY, run=folder.api_keys.keep_uses)


def _keep_seen(folder: Folder) -> Job:
    def run() -> None:
        with suppress(UnavailableError):  # it is kept for the next time
            folder.services.recording.keep()

    return Job(name="installations", seconds=_SEEN_EVERY, run=run)


def _forget_unseen(folder: Folder) -> Job:
    services = folder.services

    def run() -> None:
        services.recording.forget(services.clock() - _REMEMBERED)

    return Job(name="unseen", seconds=_FORGET_EVERY, run=run, first=_FORGET_EVERY)


def _forget_claims(folder: Folder) -> Job:
    services = folder.services

    def run() -> None:
        services.recording.forget_claims(services.clock() - timedelta(seconds=_CLAIMS_EVERY))

    return Job(name="claims", seconds=_CLAIMS_EVERY, run=run, first=_CLAIMS_EVERY)


def _tell_expired(folder: Folder) -> Job:
    run = folder.services.overrides.tell_expired
    return Job(name="expired-overrides", seconds=_EXPIRED_EVERY, run=run)


def _forget_overrides(folder: Folder) -> Job:
    services = folder.services

    def run() -> None:
        services.overrides.forget(services.clock() - _ENDED_KEPT)

    return Job(name="ended-overrides", seconds=_FORGET_EVERY, run=run, first=_FORGET_EVERY)


def _look(folder: Folder, metrics: Metrics) -> Job:
    watch = DeliveryWatch(folder.published, Lookout().look)
    metrics.attention.add(watch.notes)
    return Job(name="look", seconds=_LOOK_EVERY, run=watch.run, first=_LOOK_FIRST)


def _watch(node: Node, metrics: Metrics) -> Job:
    """Return the job that tells when what expires does, and warns in the log, of each once."""
    said: set[str] | None = None

    def run() -> None:
        nonlocal said
        found = node.published.expiries()
        metrics.delivery_expires.set(node.identity.expires.timestamp())
        for each in found:
            moment = each.expires.timestamp()
            if each.kind == "root":
                metrics.root_expires.labels(each.account).set(moment)
            else:
                metrics.config_expires.labels(each.account, each.stream).set(moment)
        if said is None:
            said = set()  # at the start, what is due is about to be signed
        else:
            texts = {*metrics.attention.texts()}
            if isinstance(node, Folder):
                now = node.services.clock()
                keys = expiry.key_warnings(node.api_keys.all(), now)
                texts |= {*expiry.warnings(found, now), *_of_delivery(node, now), *keys}
                texts |= {*node.services.private_keys.warnings()}
                overrides = node.services.overrides
                texts |= {w for name in node.published.accounts() for w in overrides.warnings(name)}
            for text in sorted(texts - said):
                logger.warning(text)
            said = texts

    return Job(name="watch", seconds=_WATCH_EVERY, run=run)


def _of_delivery(node: Node, now: datetime) -> list[str]:
    text = expiry.delivery_warning(node.identity.expires, now)
    return [] if text is None else [text]


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError, RuntimeError):  # not on the main thread: whoever runs it stops it
            loop.add_signal_handler(each, stop.set)


def _write_run_file(data: Path, management: Listener) -> None:
    """Tell the commands on this machine where management is."""
    path = data / RUN_FILE
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        beside = path.with_suffix(".tmp")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"host": management.host, "port": management.port, "pid": os.getpid()}, file)
        beside.replace(path)
    except OSError as exc:
        if exc.errno == errno.ENOSPC:  # apps are served all the same
            logger.error("cannot write %s: the disk is full; commands here will not find it", path)
            return
        raise ConfigurationError(f"cannot write {path}: {exc.strerror}") from exc
