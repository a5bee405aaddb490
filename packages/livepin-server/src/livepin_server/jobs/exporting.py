"""Exporting on every publish: one thread for each target, so that none waits for another.

A publish never waits for it. What could not be written is tried again, with longer and longer
pauses; of several publishes meanwhile the newest counts. Being cut off at any moment does no harm.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime

from livepin_server.bus.memory import Announcement, OverridesChanged
from livepin_server.errors import ExportError, NotFoundError, ServiceError
from livepin_server.exports.static import Documents, Outcome, Target, export
from livepin_server.services.publishing.published import Published
from livepin_server.telemetry.attention import Note
from livepin_server.telemetry.metrics import Metrics

PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds after a failure, doubled each time
_LEAVE = 5.0  # seconds to end what is under way

logger = logging.getLogger("livepin.export")


class Exporting:
    """Keeps a target in step with what is published, whichever process publishes it."""

    def __init__(
        self,
        published: Published,
        target: Target,
        metrics: Metrics,
        *,
        clock: Callable[[], datetime],
        pause: float = PAUSE,
    ) -> None:
        self._published = published
        self._target = target
        self._clock = clock
        self._metric = metrics.exported.labels(target.name)
        self._first_pause = pause
        self._news = threading.Condition()
        self._wanted: set[str] = set()
        self._all = True  # at the start: what was published before may not have arrived
        self._stopped = False
        self._trouble: str | None = None
        self._removed: set[tuple[str, str]] = set()  # account and thumbprint of an override
        self._thread = threading.Thread(target=self._run, name="livepin-export", daemon=True)

    def start(self) -> None:
        """Begin with everything that is published."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; what is not written is written after the next start."""
        with self._news:
            self._stopped = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join(_LEAVE)

    def announced(self, news: Announcement | OverridesChanged) -> None:
        """Export an account, soon."""
        with self._news:
            self._wanted.add(news.account)
            self._news.notify()

    def in_step(self, found: bool) -> None:
        """Export everything anew: what was announced before may not have been heard."""
        if found:
            with self._news:
                self._all = True
                self._news.notify()

    def notes(self) -> Iterator[Note]:
        """Give what there is to say of the target."""
        if self._trouble is not None:
            yield Note(f"the export to {self._target.name} is behind: {self._trouble}")

    def _run(self) -> None:
        pause = self._first_pause
        while self._wait_for_news():
            trouble = self._tried()
            self._report(trouble)
            if trouble is None:
                pause = self._first_pause
                continue
            with self._news:
                self._news.wait_for(lambda: self._stopped, pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _wait_for_news(self) -> bool:
        with self._news:
            self._news.wait_for(lambda: self._stopped or self._all or self._wanted)
            return not self._stopped

    def _tried(self) -> str | None:
        """Export what is wanted; return why it could not be done."""
        try:
            self._export()
        except (ExportError, ServiceError) as exc:
            return str(exc)
        except Exception:
            logger.exception("the export to %s failed", self._target.name)
            return "an unexpected fault; the server's log has it"
        return None

    def _export(self) -> None:
        with self._news:
            everything, self._all = self._all, False
            accounts, self._wanted = self._wanted, set()
        try:
            if everything:
                accounts.update(self._published.accounts())
            for account in sorted(accounts):
                self._one(account)
                accounts.discard(account)
        except BaseException:
            with self._news:
                self._wanted |= accounts
                self._all = self._all or everything
            raise

    def _one(self, account: str) -> None:
        try:
            found = self._published.documents(account)
            overrides = self._published.overrides(account)
        except NotFoundError:
            return  # it is being made
        configs = {stream: each.raw for stream, each in found.configs.items()}
        now = self._clock()
        live = {
            each: override.raw
            for each, override in overrides.items()
            if override is not None and now < override.until
        }
        self._removed -= {(account, each) for each in live}
        gone = {
            each for each in overrides if each not in live and (account, each) not in self._removed
        }
        documents = Documents(
            account=account, roots=found.roots, configs=configs, overrides=live, gone=gone
        )
        self._tell(account, export(documents, self._target))
        self._removed |= {(account, each) for each in gone}

    def _tell(self, account: str, outcome: Outcome) -> None:
        extra = {"target": self._target.name, "account": account}
        if outcome.strange:
            logger.warning(
                "what was there was not of this account, and was replaced",
                extra=extra | {"paths": outcome.strange},
            )
        if outcome.left:
            logger.warning(
                "overrides that are over could not be removed; apps take them no more",
                extra=extra | {"paths": outcome.left},
            )
        if outcome.newer:
            logger.info("what is there is newer", extra=extra | {"paths": outcome.newer})
        logger.info("exported", extra=extra | {"written": len(outcome.written)})

    def _report(self, trouble: str | None) -> None:
        """Say how it goes when that changes; the log would fill up otherwise."""
        extra = {"target": self._target.name}
        if trouble not in (None, self._trouble):
            logger.warning("cannot export, and will try again: %s", trouble, extra=extra)
        elif trouble is None and self._trouble is not None:
            logger.info("exports are in step again", extra=extra)
        self._trouble = trouble
        self._metric.set(trouble is None)
