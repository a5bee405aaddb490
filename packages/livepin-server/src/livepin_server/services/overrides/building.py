"""From what is wanted to the domains of an override: the config's, in another mode. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from livepin.documents import Config, Domain, Mode
from livepin.errors import MalformedError
from livepin.hostnames import parse_pattern, pattern_covers
from livepin.pins import Pin, PinSet

from livepin_server.errors import InvalidError
from livepin_server.services.nearest import nearest

from .model import NewOverride

_OWN = "override"  # what its own pin set is called


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an override is to change, as it was checked; without `pins` the config's are kept."""

    hosts: tuple[str, ...]
    mode: Mode
    pins: PinSet | None

    @classmethod
    def of(cls, new: NewOverride) -> Wanted:
        """Return what is wanted.

        Raises:
            InvalidError: no such hosts or pins, or a mode that does not go with them.
        """
        try:
            hosts = tuple(dict.fromkeys(parse_pattern(each) for each in new.domains))
            pins = tuple(Pin.parse(each) for each in dict.fromkeys(new.pins))
        except MalformedError as exc:
            raise InvalidError(str(exc), hint=exc.hint) from exc
        mode = new.mode or ("enforce" if pins else None)
        if mode is None or (mode == "enforce" and not pins):
            raise InvalidError(
                "expected the mode off or report, or pins of its own",
                hint="--mode off, --mode report, or --pins sha256/...",
            )
        if mode == "off" and pins:
            raise InvalidError(
                "with the mode off no pins are matched", hint="leave out one of --mode and --pins"
            )
        return cls(hosts=hosts, mode=Mode(mode), pins=PinSet(pins) if pins else None)

    @property
    def pin_texts(self) -> list[str]:
        """Its own pins as they are written."""
        return [] if self.pins is None else [str(each) for each in self.pins.pins]


def domains(config: Config, wanted: Wanted) -> tuple[Domain, ...]:
    """Return the domains of the override: nothing is merged, so each is a whole domain.

    Of a pattern with a wildcard there come along the config's domains below it, so that what else
    they say stays as it is, such as whether requests carry a token.

    Raises:
        InvalidError: a host that the config does not list.
    """
    found: dict[str, Domain] = {}
    for pattern in wanted.hosts:
        base = config.lookup(pattern)
        if base is None:
            known = [each.pattern for each in config.domains]
            raise InvalidError(
                f"the config of {config.stream} does not list {pattern}",
                hint=nearest("domain", pattern, known),
            )
        found[pattern] = _changed(base, pattern, wanted)
        for below in config.domains:
            if pattern_covers(pattern, below.pattern):
                found[below.pattern] = _changed(below, below.pattern, wanted)
    return tuple(found[each] for each in sorted(found))


def pin_sets(found: Sequence[Domain]) -> dict[str, PinSet]:
    """Return the pin sets that domains name."""
    return {each.pin_set: each.pins for each in found}


def _changed(base: Domain, pattern: str, wanted: Wanted) -> Domain:
    changed = replace(base, pattern=pattern, mode=wanted.mode)
    # An app that does not know a mode enforces (rule 4): so the config's pins come along in all.
    return changed if wanted.pins is None else replace(changed, pin_set=_OWN, pins=wanted.pins)
