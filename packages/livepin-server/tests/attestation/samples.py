"""Where public samples of attestations are, if they are on this machine: the project carries none.

`LIVEPIN_VECTORS` names the folder; without it, it is `shared/vectors` beside a parent of the
checkout. What is not found makes no test.
"""

from __future__ import annotations

import os
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[4]


def found(pattern: str) -> list[Path]:
    """Return the files of the samples that match a pattern such as `apple/*.json`."""
    named = os.environ.get("LIVEPIN_VECTORS")
    folders = [Path(each, "shared/vectors") for each in _REPOSITORY.parents]
    for folder in [Path(named)] if named else folders:
        if folder.is_dir():
            return sorted(folder.glob(pattern))
    return []
