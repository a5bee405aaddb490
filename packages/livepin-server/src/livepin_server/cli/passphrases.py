"""Passphrases: from a file, the environment or a question."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Sequence
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

ROOT_VARIABLE = "LIVEPIN_ROOT_PASSPHRASE"
BACKUP_VARIABLE = "LIVEPIN_BACKUP_PASSPHRASE"


def new_passphrase(root_key: Path, file: Path | None) -> str:
    """Return the passphrase for a new root key file: if it is asked for, then twice.

    Raises:
        CommandError: there is such a file already, or the passphrase is none, or too short.
    """
    if root_key.exists():
        raise CommandError(f"{root_key} exists already", hint="name a new file")
    if not root_key.absolute().parent.is_dir():
        raise CommandError(f"{root_key.parent} is not a folder", hint="make it first")
    question = f"Passphrase for the root key (at least {SHORTEST_PASSPHRASE}): "
    found = passphrase("the root key", ROOT_VARIABLE, file, question, "The same again: ")
    if len(found) < SHORTEST_PASSPHRASE:
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
    return passphrase("the root key", ROOT_VARIABLE, file, f"Passphrase of {root_key}: ")


def passphrase(what: str, variable: str, file: Path | None, *questions: str) -> str:
    """Return a passphrase from a file, the environment, or the answers to questions, which agree.

    Raises:
        CommandError: nobody is here to be asked, or the answers differ.
    """
    if file is not None:
        return read_text(file).strip()
    return os.environ.get(variable) or _asked(what, variable, questions)


def _asked(what: str, variable: str, questions: Sequence[str]) -> str:
    if not sys.stdin.isatty():
        raise CommandError(
            f"expected a passphrase for {what}",
            hint=f"--passphrase-file FILE, or the variable {variable}",
        )
    try:
        first, *others = [getpass.getpass(each) for each in questions]
    except EOFError as exc:
        raise CommandError(f"expected a passphrase for {what}") from exc
    if any(each != first for each in others):
        raise CommandError("the two passphrases differ", hint="nothing was made: try again")
    return first
