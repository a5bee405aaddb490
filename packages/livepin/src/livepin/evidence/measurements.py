"""`Measurements`: the files that an app says it runs from, measured as a release of it was.

The level of it is `self`: the process reads its own files, so it catches what was damaged, mixed
up, or changed by somebody who does not know of it. Who controls the machine has it say what he
likes. Nor does it tell what runs: what was loaded before a file changed, bytecode in `__pycache__`,
and what else is imported are not seen (`docs/apps.md`, Which release it is).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .files import Progress, Reader, of_distribution
from .manifest import ITSELF, Manifest
from .wheels import measure_wheel

FORMAT = "measurements"


def measure(path: Path, progress: Progress = lambda _: None) -> Manifest:
    """Return the manifest of a folder, of a wheel as it will be installed, or of any other file.

    Raises:
        MalformedError: a wheel or folder that cannot be measured. OSError: it cannot be read.
    """
    if path.suffix == ".whl":
        return measure_wheel(path, progress)
    return Reader(path.resolve(strict=True), progress=progress).read()


class Measurements:
    """Evidence of the files that an app runs from: a folder, or one file such as a zipapp.

    Files are read when evidence is wanted, in the thread that asks for tokens; later on only those
    that have changed. To have that done before the first token, call `measure`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._set(Path(path).resolve(), [ITSELF])

    @classmethod
    def of_distribution(cls, name: str) -> Measurements:
        """Return the evidence of an installed distribution; its wheel measures the same.

        Raises:
            ConfigurationError: it is not installed here, or does not say what its files are.
        """
        found = cls.__new__(cls)
        found._set(*of_distribution(name))
        return found

    def measure(self) -> Manifest:
        """Return the manifest of the files as they are now.

        Raises:
            MalformedError: they cannot be measured. OSError: they cannot be read.
        """
        return self._reader.read(self._paths)

    def collect(self, nonce: bytes) -> dict[str, Any]:
        """Return the evidence. It carries no nonce: the request that it is in is fresh."""
        found = self.measure()
        return {"format": FORMAT, "digest": found.digest, "files": len(found.files)}

    def _set(self, base: Path, paths: list[str]) -> None:
        self._reader, self._paths = Reader(base), paths
