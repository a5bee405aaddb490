"""What apps will say to what live endpoints serve at this moment.

Only verified chains count: what was merely presented proves nothing, for anybody can append a
pinned certificate. Who could not be seen is never said to have wrong pins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from livepin.documents import Domain
from livepin.pins import PinSet

from livepin_server.probing.probe import Observation, Target

from .cases import Case, command
from .difference import Difference
from .findings import FORCE, Finding
from .lasting import SOON, Counting, end_of, minute

MOST_LOOKED_AT = 200  # endpoints, for one change
LONGEST = 200  # characters of why an endpoint was not seen

Observations = Mapping[Target, Sequence[Observation]]  # each address of an endpoint apart


class Served:
    """The rules on what was seen of live endpoints."""

    def __init__(self, change: Difference, counting: Counting, observations: Observations) -> None:
        self._change = change
        self._counting = counting
        self._observations = observations

    def refusals(self, case: Case) -> Iterator[Finding]:
        """Dropping the pin that is served now, and pins of which none matches."""
        domain, seen = case.enforced, self._seen(case.target)
        if domain is None or not case.judged_anew:
            return
        everywhere = seen + self._seen(case.left)  # else a change could look away from its harm
        dropped = self._dropped(case, domain, everywhere)
        if dropped is not None:
            yield self._drops_served(
                case, domain, dropped, everywhere=not any(self._matching(domain, everywhere))
            )
        elif seen and not any(self._matching(domain, seen)):
            yield self._none_matches(case, domain, seen[0])

    def warnings(self, case: Case) -> Iterator[Finding]:
        """Endpoints that nobody saw, and addresses of one at which no pin matches."""
        domain, seen = case.enforced, self._seen(case.target)
        if domain is None or not case.judged_anew:
            return
        refused = [each for each in seen if self._matched(domain, each) is None]
        if not seen and not self._only_widens(case, domain):
            yield self._not_seen(case)
        elif refused and refused != seen:
            yield self._not_everywhere(case, domain, refused)
        yield from self._ends(case, domain, seen)

    def used(self, case: Case) -> set[str]:
        """Return the pins by which apps get in at this moment."""
        domain = case.enforced
        if domain is None:
            return set()
        return {*self._matching(domain, self._seen(case.target))}

    def _seen(self, target: Target | None) -> list[Observation]:
        found = () if target is None else self._observations.get(target, ())
        return [each for each in found if each.verified and each.chain]

    def _matching(self, domain: Domain, seen: Sequence[Observation]) -> Iterator[str]:
        """Give the pin by which apps get in, at each place where they do."""
        found = (self._matched(domain, each) for each in seen)
        return (pin for pin in found if pin is not None)

    def _matched(self, domain: Domain, seen: Observation) -> str | None:
        pins = self._counting.of(domain.pins).now
        return next((key for key in _keys(seen) if key in pins), None)

    def _only_widens(self, case: Case, domain: Domain) -> bool:
        """Tell whether each pin that apps accept now is kept: then the change shuts out nobody."""
        if case.was is None or not case.was_enforced:
            return False
        return self._counting.of(case.was.pins).now <= self._counting.of(domain.pins).now

    def _dropped(
        self, case: Case, domain: Domain, seen: Sequence[Observation]
    ) -> tuple[str, Observation] | None:
        """Return a pin that goes though apps need it now, and where it was seen.

        They need the leaf's, which is the same on each device, also where a pin of the rest of
        the chain is left: a device may verify another chain than this server.
        """
        if case.was is None:
            return None
        lost = self._counting.of(case.was.pins).now - self._counting.of(domain.pins).now
        found = []
        for each in seen:
            keys = _keys(each)
            gone = [key for key in keys if key in lost]
            if gone and (gone[0] == keys[0] or self._matched(domain, each) is None):
                found.append((gone[0], each))
        # Where nothing is left comes first.
        found.sort(key=lambda pair: self._matched(domain, pair[1]) is not None)
        return found[0] if found else None

    def _drops_served(
        self, case: Case, domain: Domain, dropped: tuple[str, Observation], *, everywhere: bool
    ) -> Finding:
        pin, seen = dropped
        left = self._matched(domain, seen)
        if left is not None:
            then = f"only {left}, the key of a CA, lets apps in, and a device may verify another"
            then += " chain"
        else:
            whose = f"follow {self._change.new.stream}" if everywhere else f"get to {seen.address}"
            then = f"apps that {whose} would be refused"
        return Finding(
            code="drops-served-pin",
            domain=case.pattern,
            message=f"{seen.host} serves {pin} at this moment, which {domain.pattern} would not "
            f"pin any more: {then}",
            hint=f"change the certificate first, and keep the pin until then; {FORCE}",
            forcible=True,
        )

    def _none_matches(self, case: Case, domain: Domain, seen: Observation) -> Finding:
        leaf = _keys(seen)[0]
        return Finding(
            code="no-chain-matches",
            domain=case.pattern,
            message=f"no pin of {domain.pattern} matches what {seen.host} serves at this moment, "
            f"{leaf}: apps that follow {self._change.new.stream} would be refused",
            hint=f"{self._pin_it(domain, leaf)}; {FORCE}",
            forcible=True,
        )

    def _not_everywhere(
        self, case: Case, domain: Domain, refused: Sequence[Observation]
    ) -> Finding:
        leaf, host = _keys(refused[0])[0], refused[0].host
        where = ", ".join(each.address or "an address" for each in refused)
        return Finding(
            code="not-matched-everywhere",
            domain=case.pattern,
            message=f"no pin of {domain.pattern} matches what {host} serves at {where}, {leaf}: "
            "apps that get there are refused",
            hint=self._pin_it(domain, leaf),
        )

    def _ends(self, case: Case, domain: Domain, seen: Sequence[Observation]) -> Iterator[Finding]:
        """Say until when apps get in by what is served now, where another key would have to be."""
        counting = self._counting
        soon, last = counting.now + SOON, counting.of(domain.pins).end
        if domain.pins.timeless or (last is not None and last <= soon):
            return  # no pin ends, or all do, which is said already
        for each in seen:
            keys = set(_keys(each)) & counting.of(domain.pins).now
            end = end_of(PinSet(tuple(p for p in domain.pins.pins if str(p) in keys)), counting.now)
            if keys and end is not None and end <= soon:
                check = command("domain check", self._change, each.host)
                yield Finding(
                    code="served-pin-ends",
                    domain=case.pattern,
                    message=f"no pin of {domain.pattern} matches what {each.host} serves at this "
                    f"moment, {_keys(each)[0]}, from {minute(end)} on: apps are refused then",
                    hint=f"change the certificate before then, and see: {check}",
                )
                return

    def _not_seen(self, case: Case) -> Finding:
        if case.target is None:
            why = "it is no host that one can look at"
        elif case.target in self._observations:
            errors = (each.error for each in self._observations[case.target])
            why = next(filter(None, errors), "no chain was verified")[:LONGEST]
        else:
            why = f"it is none of the {MOST_LOOKED_AT} endpoints that are looked at for one change"
        host = "HOST" if case.target is None else case.target.host
        return Finding(
            code="not-seen",
            domain=case.pattern,
            message=f"the server could not see whether apps get in at {case.pattern}: {why}",
            hint=f"look from where one can: {command('domain check', self._change, host)}",
        )

    def _pin_it(self, domain: Domain, pin: str) -> str:
        """Say how to pin a key that was seen; whose it is, the server cannot know."""
        is_new = self._change.domains.get(domain.pattern, (domain,))[0] is None
        words, more = ("domain add", ("--pin", pin)) if is_new else ("pin add", (pin,))
        return f"if that key is yours: {command(words, self._change, domain.pattern, *more)}"


def _keys(seen: Observation) -> list[str]:
    return [each.sha256 for each in seen.chain]
