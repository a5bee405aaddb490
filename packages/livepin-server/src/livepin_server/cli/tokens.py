"""Root keys in a PKCS#11 token: the options that name one, and its PIN, never an option."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from livepin_server.custody.pkcs11 import Token

from .files import read_text
from .output import CommandError

_VARIABLE = "LIVEPIN_PKCS11_PIN"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class InToken:
    """Which key in which token."""

    pkcs11_module: Annotated[
        Path | None, Parameter(metavar="FILE", help="The PKCS#11 library of a token.")
    ] = None
    token: Annotated[str | None, Parameter(metavar="LABEL", help="The label of the token.")] = None
    label: Annotated[
        str | None, Parameter(metavar="NAME", help="The name of the key in the token.")
    ] = None
    pin_file: Annotated[
        Path | None,
        Parameter(metavar="FILE", help=f"Holds the PIN; else {_VARIABLE}, or a question."),
    ] = None

    @property
    def is_said(self) -> bool:
        """Whether a key in a token is meant at all."""
        return any(each is not None for each in (self.pkcs11_module, self.token, self.label))

    def opened(self) -> tuple[Token, str]:
        """Return the token, which is logged in to when it is used, and the name of the key.

        Raises:
            CommandError: one of the three options is missing.
        """
        if self.pkcs11_module is None or self.token is None or self.label is None:
            raise CommandError(
                "expected --pkcs11-module FILE, --token LABEL and --label NAME",
                hint="a key in a token needs all three",
            )
        return Token(self.pkcs11_module, self.token, self._pin), self.label

    def _pin(self) -> str:
        if self.pin_file is not None:
            return read_text(self.pin_file).strip()
        found = os.environ.get(_VARIABLE)
        if found:
            return found
        if not sys.stdin.isatty():
            raise CommandError(
                f"expected the PIN of the token {self.token}",
                hint=f"--pin-file FILE, or the variable {_VARIABLE}",
            )
        try:
            return getpass.getpass(f"PIN of the token {self.token}: ")
        except EOFError as exc:
            raise CommandError("expected the PIN of the token") from exc
