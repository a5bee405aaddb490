"""Where public samples of attestations are, if they are on this machine: the project carries none.

`ATTESTATION_SAMPLES` names the folder; without it, it is `shared/vectors` beside a parent of the
checkout. What is not found makes no test. (A variable that begins with `LIVEPIN_` is a setting, and
servers refuse those that they do not know.)
"""

from __future__ import annotations

import os
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[4]


def folder() -> Path | None:
    """Return where they are."""
    named = os.environ.get("ATTESTATION_SAMPLES")
    beside = [Path(each, "shared/vectors") for each in _REPOSITORY.parents]
    return next((each for each in ([Path(named)] if named else beside) if each.is_dir()), None)


def found(pattern: str) -> list[Path]:
    """Return the files of the samples that match a pattern such as `apple/*.json`."""
    place = folder()
    return [] if place is None else sorted(place.glob(pattern))
