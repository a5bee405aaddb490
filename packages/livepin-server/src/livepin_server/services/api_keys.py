"""API keys: 256 random bits, kept as SHA-256, compared in constant time."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, ForbiddenError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts, api_keys

from .model import ApiKeyView, Intent, Principal, Role
from .nearest import not_found

_FORM = re.compile(r"lpk_([a-z0-9]{12})_([A-Za-z0-9_-]{43})\Z")
_NOBODY = sha256(b"").digest()


class ApiKeys:
    """Makes, verifies and revokes API keys."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def create(
        self, name: str, role: Role, account: str | None, intent: Intent
    ) -> tuple[ApiKeyView, str]:
        """Return a new key and its text, which is shown this once.

        Raises:
            ConflictError: the name is taken. NotFoundError: no such account.
        """
        identity = secrets.token_hex(6)
        secret = secrets.token_bytes(32)
        view = ApiKeyView(id=identity, name=name, role=role, account=account, created=self._clock())

        digest = sha256(secret).digest()
        self._database.write(lambda connection: _insert(connection, view, digest))
        text = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
        return view, f"lpk_{identity}_{text}"

    def verify(self, text: str) -> Principal:
        """Return whom the text of a key stands for.

        Raises:
            ForbiddenError: not a key, unknown, or revoked; it does not say which.
        """
        match = _FORM.match(text)
        identity, secret = (match[1], match[2]) if match else ("", "A" * 43)
        with self._database.reading() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == identity)).first()
        digest = sha256(base64.urlsafe_b64decode(secret + "=")).digest()
        expected = _NOBODY if row is None or row.revoked is not None else row.digest
        if not hmac.compare_digest(digest, expected) or row is None:
            raise ForbiddenError("the API key is not valid", hint="ask an admin for a new one")
        return Principal(key_id=row.id, name=row.name, role=Role(row.role), account=row.account)

    def all(self) -> list[ApiKeyView]:
        """Return all keys, without secrets."""
        with self._database.reading() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created)).all()
        return [_view(row) for row in rows]

    def revoke(self, identity: str, intent: Intent) -> ApiKeyView:
        """Make a key invalid from now on.

        Raises:
            NotFoundError: no such key. ConflictError: the last admin key of the server.
        """
        now = self._clock()
        self._database.write(lambda connection: _revoke(connection, identity, now))
        return next(view for view in self.all() if view.id == identity)


def _insert(connection: Connection, view: ApiKeyView, digest: bytes) -> None:
    if view.account is not None:
        names = connection.scalars(select(accounts.c.name).where(accounts.c.active)).all()
        if view.account not in names:
            raise not_found("account", view.account, names)
    if connection.execute(select(api_keys.c.id).where(api_keys.c.name == view.name)).first():
        raise ConflictError(f"an API key is named {view.name!r} already")
    connection.execute(
        insert(api_keys).values(
            id=view.id,
            name=view.name,
            role=view.role.value,
            account=view.account,
            digest=digest,
            created=view.created,
        )
    )


def _revoke(connection: Connection, identity: str, now: datetime) -> None:
    valid = connection.execute(select(api_keys).where(api_keys.c.revoked.is_(None))).all()
    found = next((row for row in valid if row.id == identity), None)
    if found is None:
        raise not_found("valid API key", identity, [row.id for row in valid])
    admins = [row for row in valid if row.role == Role.ADMIN.value and row.account is None]
    if admins == [found]:
        raise ConflictError(
            "this is the last admin key of the server", hint="make another one first"
        )
    connection.execute(update(api_keys).where(api_keys.c.id == identity).values(revoked=now))


def _view(row: Row[Any]) -> ApiKeyView:
    return ApiKeyView(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        account=row.account,
        created=row.created,
        revoked=row.revoked,
    )
