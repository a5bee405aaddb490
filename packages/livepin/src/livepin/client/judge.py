"""The pin check: may this verified chain speak for this host, by what is trusted now?

It decides; what stops a connection is `context`, and what fetches newer pins is `healing`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, Protocol

from livepin.documents import Domain, Mode, Stale
from livepin.errors import PinMismatchError, StaleConfigError, UnlistedHostError
from livepin.pins import fingerprint_text
from livepin.trust import TrustedState

from .clocks import Clock

Unlisted = Literal["system", "refuse"]

_MOST_SETTLED = 256
_MOST_WARNINGS = 1024  # hosts; a crawler must not fill the memory

logger = logging.getLogger("livepin")


class Judge(Protocol):
    """Decides on chains. `generation` changes whenever a decision could."""

    generation: int

    def check(
        self, host: str, leaf: bytes, chain: Callable[[], Sequence[bytes]]
    ) -> PinMismatchError | None:
        """Return if the chain may speak for the normalised host, else raise `PinningError`.

        `leaf` is the SPKI fingerprint of the leaf; `chain` gives those of the whole verified
        chain, leaf first, and is called only where the leaf alone does not decide. What is
        returned is a mismatch that the domain's mode only reports.
        """


class ConfigJudge:
    """Judges the hosts of apps by the domains of the active config."""

    def __init__(
        self,
        trusted: Callable[[], TrustedState],
        *,
        clock: Clock,
        unlisted: Unlisted,
    ) -> None:
        self.generation = 0
        self._trusted = trusted
        self._clock = clock
        self._unlisted = unlisted
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._settled: tuple[TrustedState | None, dict[str, frozenset[bytes]]] = None, {}

    def check(
        self, host: str, leaf: bytes, chain: Callable[[], Sequence[bytes]]
    ) -> PinMismatchError | None:
        """Judge by the domain that covers `host`, if any."""
        state = self._trusted()
        settled_by, settled = self._settled
        if settled_by is state and (pinned := settled.get(host)) is not None:
            matched = leaf in pinned or not pinned.isdisjoint(chain())
            if matched:
                return None
        domain = state.lookup(host)
        if domain is None:
            self._check_unlisted(host, state)
            return None
        if domain.mode is Mode.OFF:
            return None
        now = self._clock()
        if domain.stale is Stale.REFUSE and state.is_past_grace(now=now):
            raise _stale(host, state)
        trusted_now = state.trusted_now(now=now)
        if domain.stale is not Stale.REFUSE:
            self._settle(host, domain, state)
        if domain.pins.match((leaf,), now=trusted_now) is not None:
            return None
        found = chain()
        if domain.pins.match(found, now=trusted_now) is not None:
            return None
        error = mismatch(host, found, domain, state, now=now)
        if domain.mode is Mode.REPORT:
            return error
        raise error

    def _settle(self, host: str, domain: Domain, state: TrustedState) -> None:
        """Remember the pins that are right whatever the time, as long as `state` is active."""
        # With limits, the leaf may match by a pin that is not among them: then the chain must not
        # be asked for, which a resumed session does not have.
        if state.trusted_override is not None or not domain.pins.timeless:
            return
        settled_by, settled = self._settled
        if settled_by is not state or len(settled) >= _MOST_SETTLED:
            settled = {}
        self._settled = state, settled | {host: domain.pins.unlimited}

    def _check_unlisted(self, host: str, state: TrustedState) -> None:
        if self._unlisted == "refuse":
            raise UnlistedHostError(
                f"{host} is not listed in config version {state.config.version}, and unlisted "
                "hosts are refused",
                host=host,
                hint=_unlisted_hint(host, state),
            )
        with self._lock:
            if host in self._warned or len(self._warned) >= _MOST_WARNINGS:
                return
            self._warned.add(host)
        hint = _unlisted_hint(host, state)  # once: with many domains, it takes milliseconds
        logger.warning("%s is not pinned: no domain of the config covers it (%s)", host, hint)

    def reset_lock(self) -> None:
        """Forget a lock that another thread held when this process was forked."""
        self._lock = threading.Lock()

    @property
    def unlisted_hosts(self) -> tuple[str, ...]:
        """The hosts that were connected to without pins, because no domain covers them."""
        with self._lock:
            return tuple(sorted(self._warned))


class DeliveryJudge:
    """Judges Livepin's own channel: delivery hosts by the delivery pins, nothing else."""

    def __init__(
        self, trusted: Callable[[], TrustedState], hosts: frozenset[str], *, clock: Clock
    ) -> None:
        self.generation = 0
        self._trusted = trusted
        self._hosts = hosts
        self._clock = clock

    def check(self, host: str, leaf: bytes, chain: Callable[[], Sequence[bytes]]) -> None:
        """Judge a delivery host."""
        if host not in self._hosts:
            raise UnlistedHostError(f"{host} is not a delivery host", host=host)
        state, now = self._trusted(), self._clock()
        pins = state.config.delivery.pins
        trusted_now = state.trusted_now(now=now)
        if pins.match((leaf,), now=trusted_now) is not None:
            return
        found = chain()
        if pins.match(found, now=trusted_now) is None:
            domain = Domain(pattern=host, pin_set="delivery", pins=pins)
            raise mismatch(host, found, domain, state, now=now)


def mismatch(
    host: str, chain: Sequence[bytes], domain: Domain, state: TrustedState, *, now: datetime
) -> PinMismatchError:
    """Return the error that names everything needed to understand a mismatch."""
    expected = domain.pins.texts(now=state.trusted_now(now=now))
    seen = tuple(fingerprint_text(each) for each in chain)
    age = (now - state.config.issued).total_seconds()
    return PinMismatchError(
        f"no pinned key in the verified chain of {host}: found {', '.join(seen)}; expected one "
        f"of {', '.join(expected) or 'no pin in force'}; config version {state.config.version}, "
        f"issued {_duration(age)} ago",
        host=host,
        chain=seen,
        expected=expected,
        root_version=state.config.root_version,
        config_version=state.config.version,
        config_age=age,
        hint=f"the operator checks with: livepin domain check {host}",
    )


def _stale(host: str, state: TrustedState) -> StaleConfigError:
    config = state.config
    return StaleConfigError(
        f"config version {config.version} expired on {config.expires:%Y-%m-%d %H:%M} UTC, "
        f"over {_duration(config.stale_grace.total_seconds())} ago, and {host} refuses stale pins",
        host=host,
        hint="the app needs a connection to the delivery service",
    )


def _unlisted_hint(host: str, state: TrustedState) -> str:
    nearest = _nearest(host, state)
    return f"did you mean {nearest}?" if nearest else f"to pin it: livepin domain add {host}"


def _nearest(host: str, state: TrustedState) -> str | None:
    import difflib  # late, as few apps ever need it

    listed = [domain.pattern for domain in state.config.domains[:2000]]
    found = difflib.get_close_matches(host, listed, n=1, cutoff=0.8)
    return found[0] if found else None


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
