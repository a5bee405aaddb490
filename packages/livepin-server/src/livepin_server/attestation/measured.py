"""Evidence of the format `measurements`: the files of a process are those of a release.

The process says so itself. It tells a file that was exchanged or forgotten; whoever knows of it,
and controls the process, sends the digest of a release instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from livepin.evidence.manifest import MAX_FILES
from msgspec import Meta, Struct

from .attested import Asked, Attested, EvidenceError

FORMAT = "measurements"  # the format


class _Measurements(Struct, frozen=True):
    format: Literal["measurements"]
    digest: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]\Z")]
    files: Annotated[int, Meta(ge=1, le=MAX_FILES)]


def verify(evidence: Mapping[str, Any], asked: Asked, releases: Mapping[str, str]) -> Attested:
    """Return which release has these files; `releases` has the version of each by its digest.

    Raises:
        EvidenceError: malformed, or unregistered.
    """
    try:
        found = msgspec.convert(evidence, _Measurements)
    except msgspec.ValidationError as exc:
        raise EvidenceError("malformed", str(exc)) from exc
    version = releases.get(found.digest)
    if version is None:
        raise EvidenceError(
            "unregistered",
            f"expected the files of a registered release of {asked.app}, found {found.digest} "
            f"of {found.files} files",
        )
    return Attested(format=FORMAT, level="self", said={"release": version})
