"""The heads in signed configs: which log a config speaks of, and whether it was really signed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from livepin.bootstrap import Bootstrap
from livepin.documents import Root, config
from livepin.errors import LivepinError, MalformedError
from livepin.jose import Jws, b64url_decode, parse_compact
from livepin.trust import TrustedState
from msgspec import Struct

from livepin_server.errors import TamperedError

from .chain import UNREADABLE, Seal


class _Config(Struct, frozen=True):
    """What is read of a config; the rest may be megabytes."""

    account: str
    root_version: int
    version: int
    audit: str | None = None


_config_of = msgspec.json.Decoder(_Config)


def head_of(raw: bytes) -> bytes | None:
    """Return the head in a config, whose signature is not looked at.

    Raises:
        MalformedError: it is no config.
    """
    _, found = _parsed(raw, "the document")
    return None if found.audit is None else b64url_decode(found.audit.encode("ascii", "replace"))


class Roots:
    """The roots of an account, each verified by the one before: they vouch for configs."""

    def __init__(self) -> None:
        self.account: str | None = None
        self._payloads: dict[int, bytes] = {}
        self._roots: dict[int, Root] = {}

    def add(self, bootstrap: Bootstrap, later: Iterable[bytes] = (), *, where: str) -> None:
        """Add the root of a bootstrap, and those that came after it.

        Raises:
            MalformedError: it is of another account.
            TamperedError: one is not signed as it must be, or is known with other content.
        """
        try:
            state = TrustedState.from_bootstrap(bootstrap)
            for raw in later:
                state = state.advance_root(raw)
        except LivepinError as exc:
            raise TamperedError(
                f"root and config of {where} do not hold: {exc}",
                hint="if it is whole, it was changed: ask who holds the root key",
            ) from exc
        self._require_one_account(state.account, where)
        for root in state.roots:
            version = root.document.version
            if self._payloads.setdefault(version, root.payload) != root.payload:
                raise TamperedError(
                    f"root {version} of {where} is not the one that was known before",
                    hint="one of the two is not the account's: ask who holds the root key",
                )
            self._roots[version] = root.document

    def seal(self, raw: bytes, *, where: str) -> Seal | None:
        """Return the seal that a signed config is, or None if it carries no head.

        Raises:
            MalformedError: it is no config, of another account, or its root is not here.
            TamperedError: it is not signed by a key that its root names.
        """
        jws, found = _parsed(raw, where)
        self._require_one_account(found.account, where)
        root = self._roots.get(found.root_version)
        if root is None:
            raise MalformedError(
                f"{where} is signed under root {found.root_version}, which is not here",
                hint="give a bootstrap with that root, too: --bootstrap FILE",
            )
        (signature,) = jws.signatures
        key = root.roles["config"].keys.get(signature.kid)
        if key is None or not signature.verified_by(key):
            raise TamperedError(
                f"{where} is not signed by a key that root {found.root_version} names",
                hint="it was changed, or it is not from this account's server",
            )
        if found.audit is None:
            return None
        return Seal(head=found.audit, where=where, version=found.version)

    def _require_one_account(self, account: str, where: str) -> None:
        if self.account is None:
            self.account = account
        if account != self.account:
            raise MalformedError(
                f"{where} is of the account {account}, not of {self.account}",
                hint="name another file, or another --account",
            )


def kept(roots: Roots, configs: Iterable[tuple[int, bytes]]) -> Iterator[Seal]:
    """Give the seals of the configs that the server keeps, by version.

    Those from before there was a log carry no head; from the first that does, all do.

    Raises:
        TamperedError: one is not what it was.
    """
    begun = False
    for version, raw in configs:
        where = f"the server's config {version}"
        try:
            seal = roots.seal(raw, where=where)
        except MalformedError as exc:
            raise TamperedError(f"{where} does not hold: {exc}") from exc
        if seal is None and begun:
            raise TamperedError(
                f"{where} carries no head, though an older one does",
                hint="this server's software did not publish it",
            )
        if seal is not None:
            begun = True
            yield seal


def _parsed(raw: bytes, where: str) -> tuple[Jws, _Config]:
    try:
        jws = parse_compact(raw, typ=config.TYP)
        return jws, _config_of.decode(jws.payload)
    except (MalformedError, *UNREADABLE) as exc:
        raise MalformedError(
            f"{where} is no signed config: {exc}",
            hint="expected it as it is delivered: one line of three parts",
        ) from exc
