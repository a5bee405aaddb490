"""Overrides: the domains of this one installation, for a pentest, and when they are asked for.

They come with tokens, and from a path that carries the thumbprint of the installation's key. That
is asked for where it can matter alone: when the newest config did not make a chain right, and while
one is in force, to hear of its end. An installation that has no key yet has no override. By which
rules one is taken is in `livepin.trust`, how its run time is counted in `trusted`.
"""

from __future__ import annotations

import functools
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from livepin.documents import Mode, Override, override
from livepin.errors import FetchError, LivepinError, RollbackError, VerificationError
from livepin.jose import parse_compact

from .clocks import Clock
from .context import PinnedContext
from .installation import Installation
from .trusted import Trusted
from .updater import DEADLINE, PAST_CACHES, Updater

logger = logging.getLogger("livepin")

_BOUNDS = override.MAX_SIZE, override.MAX_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideInForce:
    """What the override in force changes: the mode of each of its patterns.

    It ends at `until`, if the clock of the device is right from now on, and not later if it is not.
    """

    version: int
    until: datetime
    modes: Mapping[str, Mode]


class Overrides:
    """Takes the overrides of one installation. `problem` is why the last was not taken, or None."""

    def __init__(
        self, trusted: Trusted, updater: Updater, installation: Installation, *, clock: Clock
    ) -> None:
        self.problem: str | None = None
        self._trusted = trusted
        self._updater = updater
        self._installation = installation
        self._clock = clock
        self._told: int | None = None  # the version of which the log has told

    def fetch(self, timeout: float = DEADLINE) -> None:
        """Ask for the override of this installation, on both channels, and take it."""
        thumbprint = self._installation.existing()
        if thumbprint is not None:
            walk = functools.partial(self._walk, thumbprint)
            self._note(self._updater.race(walk, timeout=timeout).error)

    def follow(self, timeout: float = DEADLINE) -> None:
        """Ask for what comes after the override in force, if there is one: it may have ended."""
        if timeout > 0 and self.in_force() is not None:
            self.fetch(timeout)

    def take(self, raw: bytes, base: str, *, deadline: float) -> None:
        """Take an override that came along with tokens from the delivery URL `base`."""
        path = f"{base}/v1/{self._trusted().account}"
        thumbprint = self._installation.key().public.kid
        try:
            self._advance(thumbprint, raw, path, self._updater.delivery_context(), deadline)
        except LivepinError as exc:
            self._note(exc)
        else:
            self._note(None)

    def in_force(self) -> OverrideInForce | None:
        """Return what the override in force changes, and until when."""
        active, end = self._trusted().trusted_override, self._trusted.override_end()
        if active is None or end is None or not active.document.domains:
            return None
        modes = {domain.pattern: domain.mode for domain in active.document.domains}
        return OverrideInForce(version=active.document.version, until=end, modes=modes)

    def tell(self) -> None:
        """Log what an override changes, once, and that it has ended."""
        found = self.in_force()
        version = None if found is None else found.version
        if version != self._told:
            self._told = version
            logger.warning("%s", _ENDED if found is None else _described(found))

    def _walk(
        self, thumbprint: str, base: str, context: ssl.SSLContext | None, deadline: float
    ) -> None:
        path = f"{base}/v1/{self._trusted().account}"
        url = f"{path}/override/{thumbprint}"
        raw = self._updater.get(
            url, context, deadline, bounds=_BOUNDS, headers=PAST_CACHES, nothing=404
        )
        if raw is not None:
            self._advance(thumbprint, raw, path, context, deadline)
        else:
            _require_service(context, f"{url}: there is none")

    def _advance(
        self,
        thumbprint: str,
        raw: bytes,
        path: str,
        context: ssl.SSLContext | None,
        deadline: float,
    ) -> None:
        state = self._trusted()
        missing = state.missing_roots_of_override(raw)
        state = self._updater.with_roots(state, missing, path, context, deadline)
        try:
            state = state.advance_override(raw, thumbprint=thumbprint, now=self._clock())
        except RollbackError:
            if _version(raw) != state.override_floor:
                raise
            # It was taken before, and has ended here: by run time, or a clock that is ahead. The
            # service has it until its own time has come, which is nothing new, and no attack.
            _require_service(context, f"{path}: nothing is newer")
        self._trusted.adopt(state)

    def _note(self, error: LivepinError | None) -> None:
        """Keep why an override was refused; that there is none, or no answer, is no such thing."""
        if isinstance(error, VerificationError):
            if self.problem != str(error):
                logger.warning("the override of this installation was not taken: %s", error)
            self.problem = str(error)
        elif error is None:
            self.problem = None
        else:
            logger.debug("no override: %s", error)


def _require_service(context: ssl.SSLContext | None, found: str) -> None:
    """Refuse what a copy says: it may be older than the override, and the service knows."""
    if not isinstance(context, PinnedContext):
        raise FetchError(found)


def _version(raw: bytes) -> int:
    return Override.parse(parse_compact(raw, typ=override.TYP).payload).version


_ENDED = "the override of this installation has ended"


def _described(found: OverrideInForce) -> str:
    unpinned = [pattern for pattern, mode in found.modes.items() if mode is not Mode.ENFORCE]
    others = [pattern for pattern, mode in found.modes.items() if mode is Mode.ENFORCE]
    parts = [f"is not pinned at {', '.join(unpinned)}"] if unpinned else []
    parts += [f"has pins of its own at {', '.join(others)}"] if others else []
    end = f"{found.until:%Y-%m-%d %H:%M:%S} UTC"
    return f"this installation {' and '.join(parts)} until {end}, by override {found.version}"
