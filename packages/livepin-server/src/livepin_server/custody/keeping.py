"""One interface to private keys, wherever they are kept: made and opened for a label.

Everything but custody sees a `Signer`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from livepin.documents import Role
from livepin.jose import Signer

from livepin_server.errors import CustodyError, ServiceError, UnavailableError

from .label import IN_TOKEN, Kept, Label
from .sealed import Sealed

logger = logging.getLogger("livepin.custody")


class Keeper(Protocol):
    """A way to keep private keys: sealed in the database, or in a token."""

    @property
    def where(self) -> str:
        """Where the keys are, in words."""

    def new(self, account: str, role: str) -> Signer:
        """Make a key."""

    def keep(self, key: Signer, label: Label, *, beside: Kept | None) -> bytes:
        """Return what is to be kept of a key that was made here.

        `beside` is another key that is sealed, if there is one: what does not open that may seal
        no other.
        """

    def open(self, kept: bytes, label: Label) -> Signer:
        """Return the key that is kept for `label`."""

    def forget(self, kept: bytes, label: Label) -> None:
        """Destroy what there is of a key beside what was kept of it."""

    def warning(self, one: Kept | None) -> str | None:
        """Return why keys cannot be used now, if so. `one` is a key that is sealed."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made, and is not kept yet."""

    label: Label
    signer: Signer
    keeper: Keeper

    def role(self) -> Role:
        """Return the role that this key alone has."""
        return Role(keys={self.label.kid: self.signer.public})

    def keep(self, beside: Kept | None) -> Kept:
        """Return what is to be kept of it; see `Keeper.keep`."""
        return Kept(self.label, self.keeper.keep(self.signer, self.label, beside=beside))


class Custody:
    """Makes new keys in the token, if there is one, else to be sealed; opens those of both."""

    def __init__(self, sealed: Sealed, token: Keeper | None = None) -> None:
        self.sealed = sealed
        self._token = token

    def new(self, account: str, role: str) -> NewKey:
        """Make a key."""
        keeper = self._token or self.sealed
        signer = keeper.new(account, role)
        return NewKey(Label(account, role, signer.public.kid), signer, keeper)

    @contextmanager
    def making(self, account: str, roles: Iterable[str]) -> Iterator[list[NewKey]]:
        """Give a new key for each role; they are destroyed if what they are for is refused."""
        made = [self.new(account, role) for role in roles]
        try:
            yield made
        except UnavailableError:
            raise  # nobody knows whether it was kept
        except (ServiceError, CustodyError):
            self.forget(each.keep(None) for each in made)
            raise

    def open(self, kept: bytes, label: Label) -> Signer:
        """Return the key that is kept for `label`.

        Raises:
            CustodyError: another label, damage, or what keeps it is not at hand.
        """
        keeper = self._keeper(kept)
        if keeper is None:
            raise CustodyError(
                f"the {label.role} key {label.kid} of {label.account} is in a token, "
                "and none is set up",
                hint="set pkcs11_module and pkcs11_token",
            )
        return keeper.open(kept, label)

    def forget(self, found: Iterable[Kept]) -> None:
        """Destroy keys of which nothing is kept any more, as far as that can be done now."""
        for each in found:
            keeper = self._keeper(each.data)
            try:
                if keeper is not None:
                    keeper.forget(each.data, each.label)
            except CustodyError as exc:  # what it was dropped for is done
                logger.warning("a dropped %s key is still there: %s", each.label.role, exc)

    def where(self, kept: bytes) -> str:
        """Return where a key is, in words."""
        keeper = self._keeper(kept)
        return "in a token that is not set up" if keeper is None else keeper.where

    def warnings(self, one: Kept | None) -> list[str]:
        """Return why keys cannot be used now. `one` is a key that is sealed, if there is any."""
        keepers: list[Keeper | None] = [self.sealed, self._token]
        found = [each.warning(one) for each in keepers if each is not None]
        return [text for text in found if text is not None]

    def _keeper(self, kept: bytes) -> Keeper | None:
        return self._token if kept[:1] == IN_TOKEN else self.sealed
