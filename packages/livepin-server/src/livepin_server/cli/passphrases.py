"""The passphrases of root key files: from a file, the environment or a question."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from livepin_server.custody.root_file import SHORTEST_PASSPHRASE

from .files import read_text
from .output import CommandError

PassphraseFile = Annotated[
    Path | None,
    Parameter(
        metavar="FILE", help="Holds the passphrase; else LIVEPIN_ROOT_PASSPHRASE, or a question."
    ),
]

_VARIABLE = "LIVEPIN_ROOT_PASSPHRASE"
_NOT_ASKED = f"--passphrase-file FILE, or the variable {_VARIABLE}"


def new_passphrase(root_key: Path, file: Path | None) -> str:
    """Return the passphrase for a new root key file: if it is asked for, then twice.

    Raises:
        CommandError: there is such a file already, or the passphrase is none, or too short.
    """
    if root_key.exists():
        raise CommandError(f"{root_key} exists already", hint="name a new file")
    if not root_key.absolute().parent.is_dir():
        raise CommandError(f"{root_key.parent} is not a folder", hint="make it first")
    found = _given(file)
    if not found and file is None:
        question = f"Passphrase for the root key (at least {SHORTEST_PASSPHRASE}): "
        found = _asked(question, "The same again: ")
    if not found or len(found) < SHORTEST_PASSPHRASE:
        raise CommandError(
            f"expected a passphrase of at least {SHORTEST_PASSPHRASE} characters",
            hint="six random words are long enough, and can be remembered",
        )
    return found


def passphrase_of(root_key: Path, file: Path | None) -> str:
    """Return the passphrase of a root key file that there is.

    Raises:
        CommandError: nobody is here to be asked.
    """
    return _given(file) or _asked(f"Passphrase of {root_key}: ")


def _given(file: Path | None) -> str | None:
    return os.environ.get(_VARIABLE) if file is None else read_text(file).strip()


def _asked(*questions: str) -> str:
    """Return the answer to each of these questions, which must be one."""
    if not sys.stdin.isatty():
        raise CommandError("expected a passphrase for the root key", hint=_NOT_ASKED)
    try:
        first, *others = [getpass.getpass(each) for each in questions]
    except EOFError as exc:
        raise CommandError("expected a passphrase for the root key") from exc
    if any(each != first for each in others):
        raise CommandError("the two passphrases differ", hint="nothing was made: try again")
    return first
