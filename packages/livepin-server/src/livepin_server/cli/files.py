"""Files that a person named."""

from __future__ import annotations

from pathlib import Path

from .output import CommandError


def read_text(path: Path, *, hint: str = "is it the right file?") -> str:
    """Return the text of a file that a person named."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"cannot read {path}: {reason(exc)}", hint=hint) from exc


def reason(exc: Exception) -> str:
    """Return why a file or folder cannot be used."""
    if isinstance(exc, UnicodeDecodeError):
        return "it is not text"
    return getattr(exc, "strerror", None) or str(exc)
