"""What apps will say where they fetch their configs: the channel over which all else is put right.

What is wrong with it no later config puts right, for apps do not get that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from livepin.documents import Delivery
from livepin.documents.config import check_url

from livepin_server.probing.judge import Delivered, judge_delivery
from livepin_server.probing.probe import Observation, Target

from .difference import Difference
from .findings import FORCE, Finding
from .served import LONGEST, Observations

_CURE = (
    "does a server with the keys of delivery answer there? its host belongs into delivery_urls of "
    "livepin.toml, then: livepin delivery renew-keys"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One delivery URL, and what apps say to what was seen of it."""

    url: str
    passes: bool
    refused: list[tuple[Observation, Delivered]]
    why_not: str  # as far as it does not pass

    @property
    def trouble(self) -> str | None:
        """Why apps are refused there, at one address at least. Who was not seen refuses nobody."""
        return self.refused[0][1].summary if self.refused else None


def looked_at(delivery: Delivery) -> dict[str, Target]:
    """Return by URL where to look, and by which CA, as apps do."""
    return {
        url: Target(
            host=check_url(url, schemes=("https",)), port=urlsplit(url).port or 443, ca=delivery.ca
        )
        for url in delivery.urls
    }


def places(delivery: Delivery, observations: Observations) -> list[Place]:
    """Return what apps say to each delivery URL, by what was seen of it."""
    pins = {str(each) for each in delivery.pins.pins}
    found = []
    for url, target in looked_at(delivery).items():
        seen = [(each, judge_delivery(each, pins)) for each in observations.get(target, ())]
        failed = [verdict.summary for _, verdict in seen if not verdict.passes]
        found.append(
            Place(
                url=url,
                passes=any(verdict.passes for _, verdict in seen),
                refused=[pair for pair in seen if pair[1].answers and not pair[1].passes],
                why_not=next(iter(failed), "it was not looked at")[:LONGEST],
            )
        )
    return found


def to_look_at(change: Difference) -> list[Target]:
    """Return where to look if the channel changes: at all of it, for what stays has to work."""
    if change.old is None or not (_drops(change) or {*change.new.delivery.urls} - _kept(change)):
        return []
    return [*looked_at(change.new.delivery).values()]


class Channel:
    """The rules on what was seen of the delivery URLs."""

    def __init__(self, change: Difference, observations: Observations) -> None:
        self._drops, self._old = _drops(change), _kept(change)
        self._places = places(change.new.delivery, observations) if to_look_at(change) else []

    def refusals(self) -> Iterator[Finding]:
        """URLs at which apps will be refused, and were not before."""
        for each in self._places:
            if each.trouble and not each.passes and each.url not in self._old:
                yield Finding(
                    code="delivery-refused",
                    domain="",
                    message=f"apps would refuse {each.url}: {each.trouble}",
                    hint=f"{_CURE}; {FORCE}",
                    forcible=True,
                )

    def to_confirm(self) -> Iterator[Finding]:
        """A change that leads away from where configs are, to where the server sees none."""
        if not self._drops or any(each.passes for each in self._places) or any(self.refusals()):
            return
        nowhere = "; ".join(f"{each.url}: {each.why_not}" for each in self._places)
        yield Finding(
            code="no-delivery-seen",
            domain="",
            message=f"the server sees nowhere that apps could fetch the next config: {nowhere}",
            hint="to agree: --yes",
        )

    def warnings(self) -> Iterator[Finding]:
        """URLs that nobody saw, or where apps are refused already, or at some addresses."""
        if any(self.to_confirm()):
            return  # it says so of each
        for each in self._places:
            is_new = each.url not in self._old
            if each.trouble and (each.passes or not is_new):
                where = ", ".join(seen.address or "an address" for seen, _ in each.refused)
                yield Finding(
                    code="delivery-refused-somewhere",
                    domain="",
                    message=f"apps are refused at {each.url}, {where}: {each.trouble}",
                    hint=_CURE,
                )
            elif is_new and not each.passes and not each.trouble:
                yield Finding(
                    code="delivery-not-seen",
                    domain="",
                    message=f"the server could not see whether apps can fetch their configs at "
                    f"{each.url}: {each.why_not}",
                    hint="look from where one can: livepin delivery check",
                )


def _kept(change: Difference) -> set[str]:
    """Return the URLs at which nothing changes for apps that get in there now."""
    if change.old is None:
        return set()
    was, now = change.old.delivery, change.new.delivery
    widens = {*was.pins.pins} <= {*now.pins.pins} and was.ca == now.ca
    return {*was.urls} & {*now.urls} if widens else set()


def _drops(change: Difference) -> bool:
    """Tell whether a URL goes by which apps may get in now, or its pins or CA are others."""
    return change.old is not None and bool({*change.old.delivery.urls} - _kept(change))
