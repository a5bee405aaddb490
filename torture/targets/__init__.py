"""What is fuzzed: one target for each document, imported file format, answer of a server, and more.

A target takes any bytes and returns, or fails. It fails where code raises anything but the
exceptions that it declares, and where a property does not hold.
"""

from __future__ import annotations

from pathlib import Path

from . import (
    attestations,
    backends,
    backups,
    documents,
    flights,
    keyfiles,
    names,
    proposals,
    settings,
    token_requests,
    wire,
)
from .target import Target

TARGETS: dict[str, Target] = {
    **documents.TARGETS,
    **names.TARGETS,
    **keyfiles.TARGETS,
    **proposals.TARGETS,
    **settings.TARGETS,
    **token_requests.TARGETS,
    **attestations.TARGETS,
    **wire.TARGETS,
    **backups.TARGETS,
    **backends.TARGETS,
    **flights.TARGETS,
}
CRASHERS = Path(__file__).parents[1] / "crashers"


def inputs(name: str) -> list[bytes]:
    """Return what a target starts from: its seeds, and what made it fail once."""
    past = sorted((CRASHERS / name).glob("*"))
    return [*dict.fromkeys([*TARGETS[name].seeds(), *(each.read_bytes() for each in past)])]
