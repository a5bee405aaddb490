"""`Case`: one pattern that a change touches, and which domain decides there before and after."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from livepin.documents import Domain, Mode

from livepin_server.probing.probe import Target

from .difference import Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A pattern whose protection changes, and the domains that decide there.

    They may be another pattern's: where a host below `*.host` is removed, `*.host` decides.
    `target` is what to look at there, None where nobody knows a host.
    """

    pattern: str
    was: Domain | None
    now: Domain | None
    keeps_pins: bool
    target: Target | None

    @property
    def enforced(self) -> Domain | None:
        """The domain that decides from now on, if it is enforced."""
        return self.now if self.now is not None and self.now.mode is Mode.ENFORCE else None

    @property
    def was_enforced(self) -> bool:
        """Whether the domain that decided until now was enforced."""
        return self.was is not None and self.was.mode is Mode.ENFORCE

    @property
    def judged_anew(self) -> bool:
        """Whether the pins that apps enforce there are others from now on."""
        return self.enforced is not None and not (self.was_enforced and self.keeps_pins)


def cases(change: Difference, known: Mapping[str, Target]) -> list[Case]:
    """Return a case for each pattern that a change touches; `known` has endpoints by pattern."""
    found = []
    for pattern in change.touched:
        was = None if change.old is None else change.old.lookup(pattern)
        now = change.new.lookup(pattern)
        keeps = was is not None and now is not None and change.keeps_pins(was, now)
        target = known.get(pattern)
        if target is None and not pattern.startswith("*."):
            target = Target(host=pattern)
        found.append(Case(pattern=pattern, was=was, now=now, keeps_pins=keeps, target=target))
    return found


def command(words: str, change: Difference, pattern: str, *more: str) -> str:
    """Return what to type about a pattern, in the stream of a change."""
    stream = change.new.stream
    where = [] if stream == "main" else ["--stream", shlex.quote(stream)]
    return " ".join(["livepin", words, shlex.quote(pattern), *more, *where])
