"""livepin app measure: the digest of a release's files; without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from livepin.errors import MalformedError
from livepin.evidence.manifest import MAX_TEXT, Manifest
from livepin.evidence.measurements import measure as measured

from .files import reason
from .output import CommandError, replace, show_json, table, working


def measure(
    path: Annotated[
        Path, Parameter(name="FILES", help="A folder, a wheel, a zipapp or any other file.")
    ],
    /,
    *,
    manifest: Annotated[
        Path | None, Parameter(metavar="FILE", help="Write the list of files to FILE.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
) -> None:
    """Measure the files of a release: the digest that its installations send as evidence.

    It works without a server. A wheel is measured as what is installed of it.
    """
    if manifest is not None and path.is_dir() and _is_in(manifest, path):
        raise CommandError(
            f"{manifest} would be a file of the release itself", hint=f"write it outside of {path}"
        )
    try:
        with working(f"measuring {path}"):
            found = measured(path)
    except OSError as exc:
        where = path if exc.filename is None else exc.filename
        raise CommandError(f"cannot read {where}: {reason(exc)}") from exc
    if manifest is not None:
        replace(manifest, found.text, over=_is_manifest, what="manifest")
    if json:
        show_json({"digest": found.digest, "files": len(found.files), "size": found.size})
    else:
        table(
            ["digest", "files", "bytes"],
            [[found.digest, str(len(found.files)), str(found.size)]],
        )


def _is_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _is_manifest(path: Path) -> bool:
    try:
        if path.stat().st_size > MAX_TEXT:
            return False
        Manifest.parse(path.read_text(encoding="utf-8"))
    except (MalformedError, UnicodeDecodeError):
        return False
    return True
