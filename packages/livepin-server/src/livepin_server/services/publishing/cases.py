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
    `target` is what to look at there, None where nobody knows a host; `left` what was looked at
    until now, if that is another.
    """

    pattern: str
    was: Domain | None
    now: Domain | None
    keeps_pins: bool
    target: Target | None
    left: Target | None = None

    @property
    def targets(self) -> list[Target]:
        """Where to look: also where the change leads away from, for apps are still there."""
        return [each for each in (self.target, self.left) if each is not None]

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


def cases(
    change: Difference, known: Mapping[str, Target], before: Mapping[str, Target] | None = None
) -> list[Case]:
    """Return a case for each pattern that a change touches.

    `known` has endpoints by pattern, `before` those of before the change, if they differ.
    """
    found = []
    for pattern in change.touched:
        was = None if change.old is None else change.old.lookup(pattern)
        now = change.new.lookup(pattern)
        keeps = was is not None and now is not None and change.keeps_pins(was, now)
        target = _endpoint(pattern, known)
        left = None if was is None or before is None else _endpoint(pattern, before)
        found.append(
            Case(
                pattern=pattern,
                was=was,
                now=now,
                keeps_pins=keeps,
                target=target,
                left=None if left == target else left,
            )
        )
    return found


def _endpoint(pattern: str, known: Mapping[str, Target]) -> Target | None:
    if pattern in known or pattern.startswith("*."):
        return known.get(pattern)
    return Target(host=pattern)


def command(words: str, change: Difference, pattern: str, *more: str) -> str:
    """Return what to type about a pattern, in the stream of a change."""
    stream = change.new.stream
    where = [] if stream == "main" else ["--stream", shlex.quote(stream)]
    return " ".join(["livepin", words, shlex.quote(pattern), *more, *where])
