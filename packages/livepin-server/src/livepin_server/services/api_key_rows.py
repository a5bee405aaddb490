"""API keys as the database has them: which are valid, how one is found, how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError
from livepin_server.storage.schema import api_keys

from .last_uses import Use
from .model import ApiKeyView, Area, Role
from .nearest import not_found
from .publishing.published import require_account

_NOBODY = sha256(b"").digest()  # of no secret: they have 32 bytes


def every(connection: Connection, account: str | None = None) -> list[Row[Any]]:
    """Return the keys of an account, or all there are, the oldest first.

    Raises:
        NotFoundError: no such account.
    """
    query = select(api_keys).order_by(api_keys.c.created, api_keys.c.id)
    if account is not None:
        require_account(connection, account)
        query = query.where(api_keys.c.account == account)
    return list(connection.execute(query).all())


def unrevoked(rows: Iterable[Row[Any]]) -> list[Row[Any]]:
    """Return those that were not revoked; they may have expired."""
    return [row for row in rows if row.revoked is None]


def is_valid(row: Row[Any], now: datetime) -> bool:
    """Tell whether a key is neither revoked nor expired."""
    return row.revoked is None and (row.expires is None or now < row.expires)


def ended(connection: Connection, key_id: str, now: datetime) -> str | None:
    """Return the name of the key of that ID if it was revoked or has expired meanwhile."""
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
    return None if row is None or is_valid(row, now) else str(row.name)


def is_lasting(row: Row[Any]) -> bool:
    """Tell whether a key can do everything, for ever, unless it is revoked."""
    admin = row.role == Role.ADMIN.value and row.account is None
    return admin and row.scopes is None and row.expires is None


def find(rows: Sequence[Row[Any]], key: str, what: str = "API key") -> Row[Any]:
    """Return the key of that ID, or else of that name; a revoked one only if no other has it.

    Raises:
        NotFoundError: there is none. ConflictError: there are several.
    """
    named = [row for row in rows if row.name == key]
    meant = [row for row in rows if row.id == key] or unrevoked(named) or named
    if not meant:
        raise not_found(what, key, {row.name for row in unrevoked(rows)})
    if len(meant) > 1:
        listed = ", ".join(f"{row.id} ({_told(row)})" for row in meant[-5:])
        raise ConflictError(f"{len(meant)} API keys are named {key!r}", hint=f"by ID: {listed}")
    return meant[0]


def digests(row: Row[Any] | None, now: datetime) -> tuple[bytes, bytes]:
    """Return the digests of the secrets that are right now: the newest, and that of an overlap.

    No secret has the digests of a key that is not there, was revoked or has expired.
    """
    if row is None or not is_valid(row, now):
        return _NOBODY, _NOBODY
    overlaps = row.overlap_until is not None and now < row.overlap_until
    return row.digest, row.previous if overlaps else _NOBODY


def scopes_of(row: Row[Any]) -> tuple[Area, ...] | None:
    """Return the areas of a key. One that this version does not know opens nothing."""
    if row.scopes is None:
        return None
    return tuple(area for area in Area if area.value in row.scopes.split())


def view_of(row: Row[Any], use: Use | None = None) -> ApiKeyView:
    """Return a key without its secret; `use` is one that the row may not tell of yet."""
    if use is None or (row.last_used is not None and row.last_used > use.moment):
        used, origin = row.last_used, row.last_used_from
    else:
        used, origin = use.moment, use.origin
    return ApiKeyView(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        account=row.account,
        scopes=scopes_of(row),
        expires=row.expires,
        created=row.created,
        created_by=row.created_by,
        rotated=row.rotated,
        overlap_until=row.overlap_until,
        last_used=used,
        last_used_from=origin,
        revoked=row.revoked,
    )


def _told(row: Row[Any]) -> str:
    """Return what tells a key from others of its name."""
    whose = f"of {row.account}" if row.account else "of the server"
    return whose if row.revoked is None else f"{whose}, revoked on {row.revoked:%Y-%m-%d}"
