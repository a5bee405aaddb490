"""The rows of private keys, inside the caller's transaction: what is kept of each, never a key."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from livepin.documents import Root
from livepin.jose import Signer
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.custody.keeping import Custody, NewKey
from livepin_server.custody.label import SEALED, Kept, Label
from livepin_server.storage.schema import apps, channels, keys, token_keys

TOKEN, DECOY, PLAY, CHANNEL = "token", "decoy", "play", "channel"
_COLUMNS = {TOKEN: "sealed", DECOY: "decoy"}
ONLINE = ("config", "override")  # the roles whose keys a server needs


def add(connection: Connection, new: NewKey, *, now: datetime) -> None:
    """Keep a key that was made.

    Raises:
        CustodyError: this server could not open it again.
    """
    kept = new.keep(one_sealed(connection))
    label = kept.label
    connection.execute(
        insert(keys).values(
            kid=label.kid, account=label.account, role=label.role, sealed=kept.data, created=now
        )
    )


def of_account(connection: Connection, account: str) -> list[Row[Any]]:
    """Return the rows of an account, the oldest first."""
    query = select(keys).where(keys.c.account == account).order_by(keys.c.created, keys.c.kid)
    return list(connection.execute(query).all())


def signer(
    connection: Connection, custody: Custody, account: str, role: str, root: Root
) -> Signer | None:
    """Return a key that the server holds and a root names in this role, or None.

    Raises:
        CustodyError: it does not open.
    """
    for row in of_account(connection, account):
        if row.role == role and row.kid in root.roles[role].keys:
            return custody.open(row.sealed, label(row))
    return None


def drop(connection: Connection, account: str, *, but: Collection[str] = ()) -> list[Kept]:
    """Keep no other keys of an account than these; return what was kept of the others."""
    others = [row for row in of_account(connection, account) if row.kid not in but]
    kids = [row.kid for row in others]
    connection.execute(delete(keys).where(keys.c.account == account, keys.c.kid.in_(kids)))
    return [Kept(label(row), row.sealed) for row in others]


def sealed(connection: Connection) -> list[Kept]:
    """Return all that is sealed under the master key.

    That is of roots and configs, tokens, apps, and channels.
    """
    found = [Kept(label(row), row.sealed) for row in connection.execute(_SEALED).all()]
    for row in connection.execute(select(token_keys)).all():
        found += [token_key(row), decoy_key(row)]
    found += [app_keys(row) for row in connection.execute(_SEALED_APPS).all()]
    return found + [channel(row) for row in connection.execute(_SEALED_CHANNELS).all()]


def one_sealed(connection: Connection) -> Kept | None:
    """Return one of the keys that are sealed under the master key, if there are any."""
    row = connection.execute(_SEALED.limit(1)).first()
    if row is not None:
        return Kept(label(row), row.sealed)
    # Private keys may be in a token, and those that sign tokens never are.
    row = connection.execute(select(token_keys).limit(1)).first()
    if row is not None:
        return token_key(row)
    row = connection.execute(_SEALED_APPS.limit(1)).first()
    if row is not None:
        return app_keys(row)
    row = connection.execute(_SEALED_CHANNELS.limit(1)).first()
    return None if row is None else channel(row)


def replace(connection: Connection, kept: Kept, data: bytes) -> None:
    """Keep a key as these bytes from now on."""
    label = kept.label
    if label.role in _COLUMNS:
        of_key = (token_keys.c.account == label.account, token_keys.c.kid == label.kid)
        values = {_COLUMNS[label.role]: data}
        connection.execute(update(token_keys).where(*of_key).values(values))
    elif label.role == PLAY:
        of_app = (apps.c.account == label.account, apps.c.name == label.kid)
        connection.execute(update(apps).where(*of_app).values(sealed=data))
    elif label.role == CHANNEL:
        of_channel = (channels.c.account == label.account, channels.c.name == label.kid)
        connection.execute(update(channels).where(*of_channel).values(sealed=data))
    else:
        connection.execute(update(keys).where(keys.c.kid == label.kid).values(sealed=data))


def token_key(row: Row[Any]) -> Kept:
    """Return what is kept of a key that signs tokens."""
    return Kept(Label(row.account, TOKEN, row.kid), row.sealed)


def decoy_key(row: Row[Any]) -> Kept:
    """Return what is kept of the decoy of such a key."""
    return Kept(Label(row.account, DECOY, row.kid), row.decoy)


def app_keys(row: Row[Any]) -> Kept:
    """Return what is kept of the keys of an app that has some."""
    return Kept(Label(row.account, PLAY, row.name), row.sealed)


def channel(row: Row[Any]) -> Kept:
    """Return what is kept of the settings of a channel."""
    return Kept(Label(row.account, CHANNEL, row.name), row.sealed)


def label(row: Row[Any]) -> Label:
    """Return what the key of a row is for."""
    return Label(row.account, row.role, row.kid)


_SEALED = (
    select(keys)
    .where(func.substr(keys.c.sealed, 1, 1) == SEALED)
    .order_by(keys.c.created.desc(), keys.c.kid)
)
_SEALED_APPS = select(apps).where(apps.c.sealed.is_not(None))
_SEALED_CHANNELS = select(channels).where(channels.c.sealed.is_not(None))
