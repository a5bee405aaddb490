"""From an observation and the published pins to a verdict. Pure: no network, no storage."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypedDict

from .probe import Observation

_MOST_LISTED = 10  # pins in a note
_MISMATCH = {
    "enforce": "no pin matches; apps are refused",
    "report": "no pin matches; apps connect all the same, and report it",
    "off": "no pin matches; apps connect, for pinning is off",
}
_CURE = {"enforce": "to let apps in", "report": "before it is enforced"}


class Verdict(TypedDict):
    """Whether apps get through, in a line, and what else is worth knowing.

    A `mismatch` wants attention though apps get through, if the mode is `report`.
    """

    passes: bool
    mismatch: bool
    matched: str | None
    summary: str
    notes: list[str]


def judge(seen: Observation, pins: list[dict[str, Any]], *, mode: str) -> Verdict:
    """Return what the pins of a domain say to a verified chain."""
    published = {pin["sha256"]: pin for pin in pins}
    matched = next((each for each in seen.chain if each.sha256 in published), None)
    leaf = seen.chain[0]
    notes = [f"certificate of {leaf.subject} until {leaf.not_after:%Y-%m-%d}, {leaf.key_type}"]
    if matched is None:
        notes.append(f"served: {', '.join(each.sha256 for each in seen.chain)}")
        few = len(published) <= _MOST_LISTED
        notes.append(f"pinned: {', '.join(published) if few else f'{len(published)} keys'}")
        if mode in _CURE:
            notes.append(f"{_CURE[mode]}: livepin pin add {seen.host} {leaf.sha256}")
        return Verdict(
            passes=mode != "enforce",
            mismatch=mode != "off",
            matched=None,
            summary=_MISMATCH[mode],
            notes=notes,
        )
    pin = published[matched.sha256]
    others = [each for each in pins if each is not pin]
    if not any(each["backup"] or each["level"] == pin["level"] == "root" for each in others):
        notes.append("there is no backup pin besides the one in use")
    return Verdict(
        passes=True,
        mismatch=False,
        matched=matched.sha256,
        summary=f"the pin {matched.sha256} matches {matched.subject}",
        notes=notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Whether apps can fetch their configs at an endpoint, and why, in a line."""

    answers: bool
    passes: bool
    summary: str


def judge_delivery(seen: Observation, pins: Collection[str]) -> Delivered:
    """Return what apps say to an endpoint of delivery: they verify by its CA, then match its pins.

    That CA is the only one they go by, so a chain that is merely presented is refused for sure.
    """
    if not seen.verified:
        why = seen.error or "no chain was verified"
        return Delivered(answers=bool(seen.presented), passes=False, summary=why)
    if not any(each.sha256 in pins for each in seen.chain):
        why = f"none of the delivery pins matches its key, {seen.chain[0].sha256}"
        return Delivered(answers=True, passes=False, summary=why)
    return Delivered(answers=True, passes=True, summary="apps can fetch their configs here")
