"""Which pins count now and until when, and whether apps can go on when a key is lost or ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from livepin.documents import Domain
from livepin.pins import PinSet

from livepin_server.services.model import PinView

from .cases import Case, command
from .difference import Difference
from .findings import Finding

SOON = timedelta(days=30)  # what ends before is worth a word


@dataclass(frozen=True, slots=True)
class InTime:
    """The pins of a set as `sha256/BASE64`: those that count now, and those that may yet, in order.

    `end` is the first moment from now on at which none counts, None if there is no such moment.
    """

    now: frozenset[str]
    from_now: tuple[str, ...]
    end: datetime | None


class Counting:
    """What pin sets hold at one moment; a set that many domains follow is read once."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._read: dict[int, InTime] = {}

    def of(self, pins: PinSet) -> InTime:
        """Return what a pin set holds."""
        found = self._read.get(id(pins))
        if found is None:
            texts = frozenset(pins.texts(now=self.now))
            found = InTime(texts, tuple(_from(pins, self.now)), end_of(pins, self.now))
            self._read[id(pins)] = found
        return found


class Lasting:
    """The rules on pins in time. `views` are the pins of the rows by set, which tell backups."""

    def __init__(
        self,
        change: Difference,
        counting: Counting,
        views: Mapping[str, Sequence[PinView]] | None,
    ) -> None:
        self._change = change
        self._counting = counting
        self._views = views
        self._marked: dict[str, tuple[frozenset[str], frozenset[str]]] = {}

    def refusals(self, case: Case) -> Iterator[Finding]:
        """A domain that is enforced without a pin that counts now shuts out every app."""
        domain = case.enforced
        if domain is None or self._counting.of(domain.pins).now:
            return
        limits = [pin.not_before for pin in domain.pins.pins if pin.sha256 is not None]
        starts = [each for each in limits if each is not None and each > self._counting.now]
        when = f"the next one does from {minute(min(starts))} on" if starts else "all have ended"
        add = command("pin add", self._change, domain.pattern, "PIN")
        yield Finding(
            code="no-pin-in-force",
            domain=case.pattern,
            message=f"no pin of {domain.pattern} counts now, {when}: every app would be refused",
            hint=f"first add one that counts now: {add}",
        )

    def warnings(self, case: Case, used: Iterable[str]) -> Iterator[Finding]:
        """What becomes of apps when the key in `used` is lost, or the last pin has ended."""
        domain = case.enforced
        if domain is None or not self._counting.of(domain.pins).now:
            return
        if not self._has_backup(domain, set(used)):
            yield Finding(
                code="no-backup-pin",
                domain=case.pattern,
                message=f"{domain.pattern} has no backup pin: if its key is lost, apps are refused "
                "until they get another config",
                hint=command("pin new-backup", self._change, domain.pattern, "--out", "backup.key"),
            )
        end = self._counting.of(domain.pins).end
        if end is not None and end <= self._counting.now + SOON:
            add = command("pin add", self._change, domain.pattern, "PIN")
            yield Finding(
                code="pins-end",
                domain=case.pattern,
                message=f"no pin of {domain.pattern} counts from {minute(end)} on: apps are "
                "refused then",
                hint=f"pin the next key in time: {add}",
            )

    def _has_backup(self, domain: Domain, used: set[str]) -> bool:
        """Tell whether apps get in by another pin when the key in use is lost.

        Where nobody saw which one that is, it is the first that is not marked as a backup.
        """
        pins = self._counting.of(domain.pins).from_now
        if self._views is None:
            used = used or {pins[0]}
            return any(pin not in used for pin in pins)
        marked, roots = self._marks(domain.pin_set)
        used = used or {next((pin for pin in pins if pin not in marked), pins[0])}
        # Of managed roots, each other one is a way on.
        ways = roots if used <= roots else frozenset()
        return any(pin not in used and (pin in marked or pin in ways) for pin in pins)

    def _marks(self, pin_set: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return the pins of a set that are marked as backups, and those of roots."""
        if pin_set not in self._marked:
            views = (self._views or {}).get(pin_set, ())
            self._marked[pin_set] = (
                frozenset(each.sha256 for each in views if each.backup),
                frozenset(each.sha256 for each in views if each.level == "root"),
            )
        return self._marked[pin_set]


def _from(pins: PinSet, now: datetime) -> Iterator[str]:
    for pin in pins.pins:
        if pin.sha256 is not None and (pin.not_after is None or now < pin.not_after):
            yield str(pin)


def end_of(pins: PinSet, now: datetime) -> datetime | None:
    """Return the first moment from `now` on at which no pin counts, None if there is none."""
    if pins.unlimited:
        return None
    known = (pin for pin in pins.pins if pin.sha256 is not None)
    at = now
    for pin in sorted(known, key=lambda each: max(each.not_before or now, now)):
        if pin.not_before is not None and pin.not_before > at:
            break
        if pin.not_after is None:
            return None
        at = max(at, pin.not_after)
    return at


def minute(moment: datetime) -> str:
    """Return a moment as people write it."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
