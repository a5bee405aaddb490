"""The token that a platform gives a workload: a file that the platform renews."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_LONGEST = 16 * 1024  # bytes


class WorkloadToken:
    """Evidence from a JWT in a file, a projected service account token for instance.

    The file is read for each request, as platforms replace it before the token in it ends. The
    token cannot carry the nonce, so it is relayable: whoever reads it can send it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def collect(self, nonce: bytes) -> dict[str, Any] | None:
        """Return the token of now, or None where the file is empty.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no JWT in ASCII, or too long.
        """
        with self._path.open("rb") as file:
            found = file.read(_LONGEST + 1).strip()
        if not found:
            return None
        if len(found) > _LONGEST or found.count(b".") != 2:
            raise ValueError(f"expected a JWT of at most {_LONGEST} bytes in {self._path.name}")
        return {"format": "workload-jwt", "token": found.decode("ascii")}
