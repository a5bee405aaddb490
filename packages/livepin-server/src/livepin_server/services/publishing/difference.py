"""What one config changes against the one before it: in the words of the history, and in members.

Pure. A config knows neither the labels of pins nor the pin sets that no domain follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any

from livepin.documents import Config, Delivery, Domain
from livepin.documents.config import domain_json, pin_sets_json
from livepin.pins import Pin, PinSet

from livepin_server.services.naming import is_shared, said

MOST_DOMAINS = 200  # in `before` and `after`, which the audit log keeps for good
MOST_PINS = 500
_MEMBERS = ("mode", "token", "stale")  # of a domain, in the order of the history
_NONE = PinSet(())
_ALWAYS = "always"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What the config `new` changes against `old`, which is None for the first of a stream.

    `domains` and `pin_sets` hold what differs, by pattern and by name, as it was and as it is;
    None where there is none. The order of domains and pins is no difference.
    """

    old: Config | None
    new: Config
    domains: dict[str, tuple[Domain | None, Domain | None]]
    pin_sets: dict[str, tuple[PinSet | None, PinSet | None]]
    _kept: dict[tuple[str, str], bool] = field(default_factory=dict, repr=False, compare=False)
    _held: dict[int, frozenset[Pin]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def touched(self) -> list[str]:
        """The patterns whose protection changes: mode, token, stale, or the pins that count."""
        found = {pattern for pattern, pair in self.domains.items() if self._protects_anew(*pair)}
        changed = {name for name, pair in self.pin_sets.items() if None not in pair}
        if changed:
            follow = (each.pattern for each in self.new.domains if each.pin_set in changed)
            found.update(pattern for pattern in follow if pattern not in self.domains)
        return sorted(found)

    def keeps_pins(self, was: Domain, now: Domain) -> bool:
        """Tell whether a domain of `new` has the pins that one of `old` had, in the same limits.

        Each set is read once, and each pair compared once: thousands of domains may follow one.
        """
        pair = was.pin_set, now.pin_set
        if pair not in self._kept:
            self._kept[pair] = self._content(was.pins) == self._content(now.pins)
        return self._kept[pair]

    def lines(self) -> list[str]:
        """Return what changes in lines: domains with pins of their own, shared sets, delivery."""
        own = {n.removesuffix("."): pair for n, pair in self.pin_sets.items() if not is_shared(n)}
        found: list[str] = []
        for pattern in sorted({*self.domains, *own}):
            was, now = self.domains.get(pattern, (None, None))
            found += _of_domain(was, now)
            before, after = own.get(pattern, (None, None))
            # A set of its own starts as a copy of the one that was followed; the line says so.
            copied = before is None and was and now and self.keeps_pins(was, now)
            if after is not None and not copied:
                found += _of_pins(f"pin {pattern}", before or _NONE, after)
        for name in sorted(filter(is_shared, self.pin_sets)):
            found += _of_set(name, *self.pin_sets[name])
        return [*found, *_of_delivery(self.old, self.new)]

    @property
    def before(self) -> dict[str, Any]:
        """The members that differ, as they were; of many, the first ones."""
        return {} if self.old is None else self._members(0, self.old, self.new)

    @property
    def after(self) -> dict[str, Any]:
        """The members that differ, as they are; of many, the first ones."""
        return self._members(1, self.new, self.old)

    def _protects_anew(self, was: Domain | None, now: Domain | None) -> bool:
        if was is None or now is None:
            return True
        same = all(getattr(was, each) == getattr(now, each) for each in _MEMBERS)
        return not (same and self.keeps_pins(was, now))

    def _content(self, pins: PinSet) -> frozenset[Pin]:
        if id(pins) not in self._held:
            self._held[id(pins)] = frozenset(pins.pins)
        return self._held[id(pins)]

    def _members(self, side: int, mine: Config, other: Config | None) -> dict[str, Any]:
        against = {} if other is None else _delivery_members(other)
        members = {
            "domains": self._domain_members(side),
            "pin_sets": pin_sets_json(self._pin_members(side)),
            "delivery": _without(_delivery_members(mine), against),
        }
        return {name: each for name, each in members.items() if each}

    def _domain_members(self, side: int) -> dict[str, Any]:
        found = {}
        for pattern in sorted(self.domains)[:MOST_DOMAINS]:
            pair = self.domains[pattern]
            mine, other = _members_of(pair[side]), _members_of(pair[1 - side])
            if mine:
                found[pattern] = _without(mine, other)
        return found

    def _pin_members(self, side: int) -> dict[str, PinSet]:
        found, room = {}, MOST_PINS
        for name in sorted(self.pin_sets):
            pair = self.pin_sets[name]
            mine, other = pair[side] or _NONE, {*(pair[1 - side] or _NONE).pins}
            pins = tuple(pin for pin in mine.pins if pin not in other)[:room]
            if pins:
                found[name] = PinSet(pins)
            room -= len(pins)
        return found


def difference(before: Config | None, after: Config) -> Difference:
    """Return what the config `after` changes against `before`, or against none at all."""
    held = {} if before is None else {each.pattern: each for each in before.domains}
    sets = {} if before is None else before.pin_sets
    domains: dict[str, tuple[Domain | None, Domain | None]] = {}
    for now in after.domains:
        was = held.pop(now.pattern, None)
        # Member by member: this is asked for each of ten thousand domains.
        if (
            was is None
            or was.pin_set != now.pin_set
            or was.mode is not now.mode
            or was.token is not now.token
            or was.stale is not now.stale
        ):
            domains[now.pattern] = was, now
    domains.update((pattern, (was, None)) for pattern, was in held.items())
    pin_sets: dict[str, tuple[PinSet | None, PinSet | None]] = {
        name: (sets.get(name), pins)
        for name, pins in after.pin_sets.items()
        if name not in sets or _differ(sets[name], pins)
    }
    pin_sets.update((n, (pins, None)) for n, pins in sets.items() if n not in after.pin_sets)
    return Difference(old=before, new=after, domains=domains, pin_sets=pin_sets)


def _differ(was: PinSet, now: PinSet) -> bool:
    return was.pins != now.pins and {*was.pins} != {*now.pins}


# -- in lines --------------------------------------------------------------------------------------


def _of_domain(was: Domain | None, now: Domain | None) -> Iterator[str]:
    if now is None:
        if was is not None:
            yield f"- domain {was.pattern}"
    elif was is None:
        more = [f"{each} {_word(now, each)}" for each in _unusual(now)]
        yield ", ".join([f"+ domain {now.pattern} ({now.mode.value})", *more])
    else:
        for member in _MEMBERS:
            first, second = _word(was, member), _word(now, member)
            if first != second:
                yield f"* domain {now.pattern}: {member} {first} -> {second}"
        first, second = said(was.pin_set), said(now.pin_set)
        if first != second:
            yield f"* domain {now.pattern}: pin set {first} -> {second}"


def _unusual(domain: Domain) -> Iterator[str]:
    if domain.token:
        yield "token"
    if domain.stale.value != "enforce":
        yield "stale"
    if is_shared(domain.pin_set):
        yield "pin set"


def _word(domain: Domain, member: str) -> str:
    return {
        "mode": domain.mode.value,
        "token": "on" if domain.token else "off",
        "stale": domain.stale.value,
        "pin set": domain.pin_set,
    }[member]


def _of_set(name: str, was: PinSet | None, now: PinSet | None) -> Iterator[str]:
    if now is None:
        yield f"- pin set {name}"
        return
    if was is None:
        yield f"+ pin set {name}"
    yield from _of_pins(f"pin set {name}", was or _NONE, now)


def _of_pins(what: str, was: PinSet, now: PinSet) -> Iterator[str]:
    """Say which pins go, which count at other times from now on, and which come."""
    held, kept = _times(was), _times(now)
    yield from (f"- {what} {text}" for text in held if text not in kept)
    for text, times in held.items():
        if text in kept and kept[text] != times:
            yield f"* {what} {text}: {' or '.join(times)} -> {' or '.join(kept[text])}"
    for text, times in kept.items():
        if text not in held:
            yield f"+ {what} {text}" + ("" if times == [_ALWAYS] else f", {' or '.join(times)}")


def _times(pins: PinSet) -> dict[str, list[str]]:
    """Return when each pin counts, in words: a set may hold it more than once."""
    found: dict[str, set[str]] = {}
    for pin in pins.pins:
        limits = ("from", pin.not_before), ("until", pin.not_after)
        words = [f"{word} {at:%Y-%m-%dT%H:%M:%SZ}" for word, at in limits if at is not None]
        found.setdefault(str(pin), set()).add(" ".join(words) or _ALWAYS)
    return {text: sorted(times) for text, times in found.items()}


def _of_delivery(old: Config | None, new: Config) -> Iterator[str]:
    if old is None:
        # The first of a stream: where it is delivered is all there is to say.
        yield f"delivery is now {', '.join(new.delivery.urls)}"
        return
    yield from delivery_lines(old.delivery, new.delivery)
    yield from interval_line("refresh interval", old.refresh_interval, new.refresh_interval)
    yield from interval_line("stale grace", old.stale_grace, new.stale_grace)


def delivery_lines(was: Delivery, now: Delivery) -> Iterator[str]:
    """Say what changes of the channel over which apps get their configs."""
    for name, *urls in (
        ("URLs", was.urls, now.urls),
        ("recovery URLs", was.recovery_urls, now.recovery_urls),
    ):
        first, second = (", ".join(each) or "none" for each in urls)
        if first != second:
            yield f"* delivery: {name} {first} -> {second}"
    if _differ(was.pins, now.pins):
        yield from _of_pins("delivery pin", was.pins, now.pins)
    if was.ca != now.ca:
        first, second = (_authority(each) for each in (was.ca, now.ca))
        yield f"* delivery: CA {first} -> {'another one' if first == second else second}"


def interval_line(name: str, was: timedelta, now: timedelta) -> Iterator[str]:
    """Say what changes of an interval that goes with the channel."""
    if was != now:
        yield f"* delivery: {name} {_seconds(was)} s -> {_seconds(now)} s"


def _authority(ca: str | None) -> str:
    return "those of the system" if ca is None else "a private one"


# -- in members ------------------------------------------------------------------------------------


def _without(members: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    return {n: each for n, each in members.items() if n not in others or others[n] != each}


def _members_of(domain: Domain | None) -> dict[str, Any]:
    members = {} if domain is None else domain_json(domain)
    members.pop("pattern", None)  # by which it is named
    return members


def _delivery_members(config: Config) -> dict[str, Any]:
    found = config.delivery
    return {
        "urls": list(found.urls),
        "recovery_urls": list(found.recovery_urls),
        "pins": sorted(map(str, found.pins.pins))[:MOST_PINS],
        # It may be long, and what one wants to know is whether it is the same.
        "ca_sha256": found.ca and sha256(found.ca.encode()).hexdigest(),
        "refresh_interval": _seconds(config.refresh_interval),
        "stale_grace": _seconds(config.stale_grace),
    }


def _seconds(interval: timedelta) -> int:
    return int(interval.total_seconds())
