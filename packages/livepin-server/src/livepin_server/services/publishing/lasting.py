"""Which pins count now and until when, and whether apps can go on when a key is lost or ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from livepin.documents import Domain
from livepin.pins import PinSet

from livepin_server.services.model import PinView

from .cases import Case, command
from .difference import Difference
from .findings import Finding

_SOON = timedelta(days=30)


class Counting:
    """What pin sets hold at one moment; a set that many domains follow is read once."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._texts: dict[int, frozenset[str]] = {}
        self._ends: dict[int, datetime | None] = {}

    def texts(self, pins: PinSet) -> frozenset[str]:
        """Return the pins that count now, as `sha256/BASE64`."""
        if id(pins) not in self._texts:
            self._texts[id(pins)] = frozenset(pins.texts(now=self.now))
        return self._texts[id(pins)]

    def end(self, pins: PinSet) -> datetime | None:
        """Return the first moment from now on at which no pin counts, None if there is none."""
        if id(pins) not in self._ends:
            self._ends[id(pins)] = _gap(pins, self.now)
        return self._ends[id(pins)]


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

    def refusals(self, case: Case) -> Iterator[Finding]:
        """A domain that is enforced without a pin that counts now shuts out every app."""
        domain = case.enforced
        if domain is None or self._counting.texts(domain.pins):
            return
        limits = [pin.not_before for pin in domain.pins.pins if pin.sha256 is not None]
        starts = [each for each in limits if each is not None and each > self._counting.now]
        when = f"the next one does from {_minute(min(starts))} on" if starts else "all have ended"
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
        if domain is None or not self._counting.texts(domain.pins):
            return
        if not self._backups(domain, set(used)):
            yield Finding(
                code="no-backup-pin",
                domain=case.pattern,
                message=f"{domain.pattern} has no backup pin: if its key is lost, apps are refused "
                "until they get another config",
                hint=command("pin new-backup", self._change, domain.pattern, "--out", "backup.key"),
            )
        end = self._counting.end(domain.pins)
        if end is not None and end <= self._counting.now + _SOON:
            add = command("pin add", self._change, domain.pattern, "PIN")
            yield Finding(
                code="pins-end",
                domain=case.pattern,
                message=f"no pin of {domain.pattern} counts from {_minute(end)} on: apps are "
                "refused then",
                hint=f"pin the next key in time: {add}",
            )

    def _backups(self, domain: Domain, used: set[str]) -> set[str]:
        """Return the pins by which apps get in when the key in use is lost.

        Where nobody saw which one that is, it is the first that is not marked as a backup.
        """
        now = self._counting.now
        usable = [
            str(pin)
            for pin in domain.pins.pins
            if pin.sha256 is not None and (pin.not_after is None or now < pin.not_after)
        ]
        if self._views is None:
            return {*usable} - (used or {usable[0]})
        views = self._views.get(domain.pin_set, ())
        marked = {each.sha256 for each in views if each.backup}
        roots = {each.sha256 for each in views if each.level == "root"}
        used = used or {next((pin for pin in usable if pin not in marked), usable[0])}
        # Of managed roots, each other one is a way on.
        return ({*usable} - used) & (marked | roots if used <= roots else marked)


def _gap(pins: PinSet, now: datetime) -> datetime | None:
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


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
