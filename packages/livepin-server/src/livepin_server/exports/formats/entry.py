"""What is exported, what a format makes of it, and what formats have in common."""

from __future__ import annotations

from collections.abc import Sequence

from livepin.hostnames import is_address, pattern_covers
from msgspec import Struct, structs

from livepin_server.errors import InvalidError


class DeclinedError(InvalidError):
    """A format cannot say what a domain says."""


class ExportPin(Struct, frozen=True, kw_only=True):
    """A pin: the base64 of its SHA-256; its level, None where nobody knows."""

    sha256: str
    level: str | None = None
    timed: bool = False


class Entry(Struct, frozen=True, kw_only=True):
    """A domain to export."""

    pattern: str
    mode: str
    pins: tuple[ExportPin, ...]

    @property
    def hashes(self) -> list[str]:
        """The base64 of each pin."""
        return [each.sha256 for each in self.pins]

    @property
    def wildcard(self) -> bool:
        """Whether it is `*.host`."""
        return self.pattern.startswith("*.")


class Rendered(Struct, frozen=True, kw_only=True):
    """A text in a format, and where that format protects less than Livepin, or otherwise."""

    text: str
    notes: tuple[str, ...] = ()


def fixed(entries: Sequence[Entry], what: str, *, reports: bool = False) -> list[Entry]:
    """Return what pins at all, and decline what no fixed list of pins can say.

    Raises:
        DeclinedError: limits in time, report mode, or a host left open below a wildcard.
    """
    pinned = [each for each in entries if each.mode != "off"]
    for each in entries:
        if each.mode == "off" and any(_below(each, other) for other in pinned):
            raise DeclinedError(
                f"an export leaves nothing open below a wildcard that is pinned, and "
                f"{each.pattern} is off",
                hint="export exact hosts",
            )
    for each in pinned:
        if any(pin.timed for pin in each.pins):
            raise DeclinedError(
                f"{what} cannot say when a pin of {each.pattern} begins or ends",
                hint="replace it by a pin without limits, or export other hosts",
            )
        if each.mode == "report" and not reports:
            raise DeclinedError(
                f"{what} cannot only report, as {each.pattern} does",
                hint="export it once its mode is enforce",
            )
    if not pinned:
        raise DeclinedError("there is no pinned domain to export", hint="see: livepin domain list")
    return pinned


def exact(entries: Sequence[Entry], what: str) -> None:
    """Decline wildcards.

    Raises:
        DeclinedError: there is one.
    """
    for each in entries:
        if each.wildcard:
            raise DeclinedError(
                f"{what} cannot say {each.pattern}, which is any depth below but not the host",
                hint="add the hosts that apps use as domains of their own, and export these",
            )


def named(entries: Sequence[Entry], what: str) -> None:
    """Decline IP addresses.

    Raises:
        DeclinedError: there is one.
    """
    for each in entries:
        if is_address(each.pattern):
            raise DeclinedError(
                f"{what} takes host names, not the address {each.pattern}",
                hint="name the hosts to export",
            )


def folded(entries: Sequence[Entry], what: str) -> list[tuple[Entry, bool]]:
    """Return hosts, and whether all below each is meant too, where that includes the host itself.

    Raises:
        DeclinedError: the host of a wildcard is not pinned alike.
    """
    by_pattern = {each.pattern: each for each in entries}
    wide = set()
    for each in entries:
        if not each.wildcard:
            continue
        host = each.pattern.removeprefix("*.")
        itself = by_pattern.get(host)
        if itself is None or set(itself.hashes) != set(each.hashes) or itself.mode != each.mode:
            raise DeclinedError(
                f"{what} says {each.pattern} only together with {host}, which is not pinned alike",
                hint=f"pin {host} to the same keys, or export exact hosts",
            )
        wide.add(host)
    return [(each, each.pattern in wide) for each in entries if not each.wildcard]


def leaves(entry: Entry, what: str) -> tuple[Entry, tuple[str, ...]]:
    """Return a domain with the pins of leaves alone, and a note on what was left out.

    Raises:
        DeclinedError: none is left, or the level of one is not known.
    """
    levels_known(entry, what)
    kept = tuple(pin for pin in entry.pins if pin.level == "leaf")
    if not kept:
        raise DeclinedError(
            f"{what} matches the leaf only, and {entry.pattern} is pinned to the keys of CAs",
            hint=f"livepin pin add {entry.pattern} --live",
        )
    if len(kept) == len(entry.pins):
        return entry, ()
    note = f"{entry.pattern}: the pins of CAs are left out; a new leaf key needs a new export"
    return structs.replace(entry, pins=kept), (note,)


def levels_known(entry: Entry, what: str) -> None:
    """Decline pins of which nobody knows the level.

    Raises:
        DeclinedError: there is one.
    """
    for pin in entry.pins:
        if pin.level is None:
            raise DeclinedError(
                f"{what} needs to know whether sha256/{pin.sha256} of {entry.pattern} is the key "
                "of a leaf or of a CA",
                hint="say it: --pin-level leaf, intermediate or root",
            )


def overlapping(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Return each domain with a wildcard that covers it as well, and pins otherwise."""
    return [
        (each, other)
        for each in entries
        for other in entries
        if _below(each, other) and set(each.hashes) != set(other.hashes)
    ]


def _below(entry: Entry, other: Entry) -> bool:
    if entry is other or not other.wildcard:
        return False
    return pattern_covers(other.pattern, entry.pattern.replace("*.", "any.", 1))
