"""From an observation and the published pins to a verdict. Pure: no network, no storage."""

from __future__ import annotations

from typing import Any, TypedDict

from .probe import Observation


class Verdict(TypedDict):
    """Whether apps get through, in a line, and what else is worth knowing."""

    passes: bool
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
        notes.append(f"pinned: {', '.join(published)}")
        if mode == "enforce":
            notes.append(f"to let apps in: livepin pin add {seen.host} {leaf.sha256}")
        return Verdict(
            passes=mode != "enforce",
            matched=None,
            summary=f"no pin matches; apps {'are refused' if mode == 'enforce' else 'report'}",
            notes=notes,
        )
    pin = published[matched.sha256]
    if not any(each["backup"] for each in pins if each is not pin):
        notes.append("there is no backup pin besides the one in use")
    return Verdict(
        passes=True,
        matched=matched.sha256,
        summary=f"the pin {matched.sha256} matches {matched.subject}",
        notes=notes,
    )
