"""The guard before every publish: what would clients say to exactly these bytes?"""

from __future__ import annotations

import gzip
from datetime import datetime

from livepin.bootstrap import Bootstrap
from livepin.documents.config import MAX_COMPRESSED
from livepin.errors import VerificationError
from livepin.trust import TrustedState
from sqlalchemy import ColumnElement, Connection, select

from livepin_server.errors import ConflictError, InvalidError
from livepin_server.storage.schema import configs, roots


def check(connection: Connection, account: str, stream: str, raw: bytes) -> None:
    """Run the rules of trust on `raw`, from the previous config and from the oldest bootstrap.

    Raises:
        ConflictError: a client would refuse it; nothing may be published.
    """
    _check_packed(raw)
    chain = _roots(connection, account)
    of_stream = (configs.c.account == account, configs.c.stream == stream)
    try:
        for document, root_version in _starts(connection, *of_stream) or [(raw, max(chain))]:
            _walked(chain, document, root_version).advance_config(raw)
    except VerificationError as exc:
        raise ConflictError(
            f"clients would refuse this config: {exc}", hint="nothing was published"
        ) from exc


def check_root(connection: Connection, account: str, raw: bytes) -> None:
    """Run the rules of trust on the next root, from the newest config and the oldest bootstrap.

    Raises:
        ConflictError: a client would refuse it; nothing may be published.
    """
    chain = _roots(connection, account)
    try:
        for document, root_version in _starts(connection, configs.c.account == account):
            _walked(chain, document, root_version).advance_root(raw)
    except VerificationError as exc:
        raise ConflictError(
            f"clients would refuse this root: {exc}",
            hint="nothing was published; a signature is added by: livepin root sign",
        ) from exc


def check_override(
    connection: Connection, account: str, stream: str, raw: bytes, *, thumbprint: str, now: datetime
) -> TrustedState:
    """Run the rules of trust on an override, from the newest config of a stream.

    It returns the state of the app whose installation has this key.

    Raises:
        InvalidError: the app would refuse it; nothing may be delivered.
    """
    of_stream = (configs.c.account == account, configs.c.stream == stream)
    document, root_version = _starts(connection, *of_stream)[0]
    state = _walked(_roots(connection, account), document, root_version)
    try:
        return state.advance_override(raw, thumbprint=thumbprint, now=now)
    except VerificationError as exc:
        raise InvalidError(
            f"the app would refuse this override: {exc}", hint="nothing was signed for delivery"
        ) from exc


def _walked(chain: dict[int, bytes], document: bytes, root_version: int) -> TrustedState:
    """Return the state of an app with this config, once it has all the roots."""
    state = TrustedState.from_bootstrap(Bootstrap(root=chain[root_version], config=document))
    for version in range(root_version + 1, max(chain) + 1):
        state = state.advance_root(chain[version])
    return state


def _check_packed(raw: bytes) -> None:
    """Rule 1 holds for what is sent, too: delivery sends a config packed."""
    if len(raw) > MAX_COMPRESSED and len(gzip.compress(raw, 6)) > MAX_COMPRESSED:
        raise ConflictError(
            f"clients would refuse this config: expected at most {MAX_COMPRESSED} bytes packed",
            hint="nothing was published; remove pins that are not used any more",
        )


def _roots(connection: Connection, account: str) -> dict[int, bytes]:
    rows = connection.execute(
        select(roots.c.version, roots.c.document).where(roots.c.account == account)
    )
    return {row.version: row.document for row in rows}


def _starts(connection: Connection, *where: ColumnElement[bool]) -> list[tuple[bytes, int]]:
    """Return the newest and the oldest of these configs, each with its root's version."""
    columns = select(configs.c.document, configs.c.root_version).where(*where)
    newest = connection.execute(columns.order_by(configs.c.version.desc()).limit(1)).first()
    oldest = connection.execute(columns.order_by(configs.c.version).limit(1)).first()
    return [(row.document, row.root_version) for row in (newest, oldest) if row is not None]
