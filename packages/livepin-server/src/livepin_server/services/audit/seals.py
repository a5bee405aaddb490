"""The heads in signed configs: which log a config speaks of, and whether it was really signed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from livepin.bootstrap import Bootstrap
from livepin.documents import Root, config
from livepin.errors import LivepinError
from livepin.jose import b64url_decode, parse_compact
from livepin.trust import TrustedState
from msgspec import Struct

from livepin_server.errors import TamperedError

from .chain import Seal


class _Config(Struct, frozen=True):
    """What is read of a config; the rest may be megabytes."""

    account: str
    root_version: int
    version: int
    audit: str | None = None


_config_of = msgspec.json.Decoder(_Config)


def head_of(raw: bytes) -> bytes | None:
    """Return the head in a signed config, whose signature is not verified.

    Raises:
        MalformedError, msgspec.DecodeError: it is no config.
    """
    found = _config_of.decode(parse_compact(raw, typ=config.TYP).payload)
    return None if found.audit is None else b64url_decode(found.audit.encode())


class Roots:
    """The roots of an account, each verified by the one before: they vouch for configs."""

    def __init__(self) -> None:
        self.account: str | None = None
        self._payloads: dict[int, bytes] = {}
        self._roots: dict[int, Root] = {}

    def add(self, bootstrap: Bootstrap, later: Iterable[bytes] = (), *, where: str) -> None:
        """Add the root of a bootstrap, and those that came after it.

        Raises:
            TamperedError: one is not signed as it must be, or is known with other content.
        """
        try:
            state = TrustedState.from_bootstrap(bootstrap)
            for raw in later:
                state = state.advance_root(raw)
        except LivepinError as exc:
            raise TamperedError(
                f"the roots of {where} do not hold: {exc}",
                hint="is it whole? else they were exchanged: keep it, and ask who holds the root "
                "key",
            ) from exc
        self._require_one_account(state.account, where)
        for root in state.roots:
            version = root.document.version
            if self._payloads.setdefault(version, root.payload) != root.payload:
                raise TamperedError(
                    f"root {version} of {where} is another one than was known",
                    hint="one of them is not the account's: ask who holds the root key",
                )
            self._roots[version] = root.document

    def seal(self, raw: bytes, *, where: str) -> Seal | None:
        """Return the seal that a signed config is, or None if it carries no head.

        `{version}` in `where` becomes that of the config.

        Raises:
            TamperedError: it is no config, or not signed by a key that its root names.
        """
        try:
            jws = parse_compact(raw, typ=config.TYP)
            found = _config_of.decode(jws.payload)
        except (LivepinError, msgspec.DecodeError, UnicodeError) as exc:
            raise TamperedError(
                f"{where.format(version='?')} is no signed config: {exc}",
                hint="as it is delivered: one line of three parts",
            ) from exc
        where = where.format(version=found.version)
        self._require_one_account(found.account, where)
        root = self._roots.get(found.root_version)
        if root is None:
            raise TamperedError(
                f"{where} names root {found.root_version}, which is not here",
                hint="give a bootstrap with that root, or verify where the server answers",
            )
        (signature,) = jws.signatures
        key = root.roles["config"].keys.get(signature.kid)
        if key is None or not signature.verified_by(key):
            raise TamperedError(
                f"{where} is not signed by a key that root {found.root_version} names",
                hint="it was changed, or it is not from this server",
            )
        if found.audit is None:
            return None
        return Seal(head=found.audit, where=where, version=found.version)

    def _require_one_account(self, account: str, where: str) -> None:
        if self.account is None:
            self.account = account
        if account != self.account:
            raise TamperedError(
                f"{where} is of the account {account}, not of {self.account}",
                hint="--account, or another file",
            )
