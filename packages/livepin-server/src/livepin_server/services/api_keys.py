"""API keys: 256 random bits, kept as SHA-256, compared in constant time.

A key has a role, and may be limited to an account, to areas and to a time. What a caller may do
with keys is decided in the transaction that does it, by the row of the caller's own key: one that
was just revoked makes no other.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, or_, select, update
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, ForbiddenError, InvalidError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import api_keys

from . import api_key_text
from .api_key_rows import digests, every, find, is_lasting, is_valid, scopes_of, unrevoked, view_of
from .audit import SERVER, Action, entry_of
from .audit.log import Audit
from .last_uses import LastUses, Use
from .model import ApiKeyView, Area, Intent, Principal, Role
from .publishing.published import require_account
from .rights import beyond, checked_expiry, checked_name, checked_scopes

LONGEST_OVERLAP = timedelta(days=30)
OVERLAP = timedelta(hours=24)

_MOST = 1000  # valid keys of an account, or of the server
_PRECISION = timedelta(minutes=1)  # of the last use
_AHEAD = timedelta(hours=1)  # of the clocks of other processes
_NO_OVERLAP: dict[str, Any] = {"previous": None, "overlap_until": None}


class ApiKeys:
    """Makes, verifies, rotates and revokes API keys."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._uses = LastUses()
        self._audit = Audit(database)

    def create(
        self,
        name: str,
        role: Role,
        account: str | None,
        intent: Intent,
        *,
        scopes: Sequence[Area] | None = None,
        expires: datetime | None = None,
    ) -> tuple[ApiKeyView, str]:
        """Return a new key and its text, which is shown this once.

        Raises:
            ConflictError: the name is taken. NotFoundError: no such account. InvalidError: no
                such key can be. ForbiddenError: it could do more than the caller's own.
        """
        now = self._clock()
        made = ApiKeyView(
            id=api_key_text.new_id(),
            name=checked_name(name),
            role=role,
            account=account,
            scopes=checked_scopes(scopes, account),
            expires=checked_expiry(expires, now),
            created=now,
            created_by=intent.author,
        )
        secret = api_key_text.new_secret()

        def transaction(connection: Connection) -> None:
            _insert(connection, made, sha256(secret).digest(), intent, now)
            self._tell(connection, "api-key.create", None, made, intent, now)

        self._database.write(transaction)
        return made, api_key_text.written(made.id, secret)

    def verify(self, text: str, origin: str = "") -> Principal:
        """Return whom the text of a key stands for, and remember that it was used from there.

        Raises:
            ForbiddenError: not a key, unknown, revoked, rotated or expired; it does not say
                which, nor is there less to do for any of these.
        """
        now = self._clock()
        identity, secret = api_key_text.parse(text) or ("", bytes(32))
        with self._database.reading() as connection:
            row = _row(connection, identity)
        digest = sha256(secret).digest()
        newest, previous = digests(row, now)
        right = hmac.compare_digest(digest, newest) | hmac.compare_digest(digest, previous)
        if not right or row is None:
            raise ForbiddenError("the API key is not valid", hint="ask an admin for a new one")
        self._note(row, Use(now, origin[:64]))
        return Principal(
            key_id=row.id,
            name=row.name,
            role=Role(row.role),
            account=row.account,
            scopes=scopes_of(row),
        )

    def all(self, account: str | None = None) -> list[ApiKeyView]:
        """Return the keys of an account, or all there are; without secrets.

        Raises:
            NotFoundError: no such account.
        """
        with self._database.reading() as connection:
            return [self._view(row) for row in every(connection, account)]

    def show(self, key: str, account: str | None = None) -> ApiKeyView:
        """Return a key by its ID or name.

        Raises:
            NotFoundError: no such key. ConflictError: several have this name.
        """
        with self._database.reading() as connection:
            return self._view(find(every(connection, account), key))

    def rotate(
        self,
        key: str,
        intent: Intent,
        *,
        overlap: timedelta = OVERLAP,
        account: str | None = None,
    ) -> tuple[ApiKeyView, str]:
        """Return a key with a new secret, and its new text, which is shown this once.

        The secret of until now is taken until the overlap ends; the one before it, no more.

        Raises:
            NotFoundError: no such key. ConflictError: it has expired. ForbiddenError: it can do
                more than the caller's own.
        """
        if not timedelta() <= overlap <= LONGEST_OVERLAP:
            raise InvalidError(f"expected an overlap of at most {LONGEST_OVERLAP.days} days")
        now, secret = self._clock(), api_key_text.new_secret()
        digest = sha256(secret).digest()

        def transaction(connection: Connection) -> Row[Any]:
            row = _unrevoked(connection, key, account)
            if not is_valid(row, now):
                raise ConflictError(
                    f"the API key {row.name!r} has expired", hint="revoke it, and make another one"
                )
            _require_within(connection, view_of(row), intent, now)
            # Without an overlap nothing is kept of it: a clock that goes back brings none back.
            former = (
                {"previous": row.digest, "overlap_until": now + overlap} if overlap else _NO_OVERLAP
            )
            done = _changed(connection, row.id, digest=digest, rotated=now, **former)
            self._tell(connection, "api-key.rotate", view_of(row), view_of(done), intent, now)
            return done

        row = self._database.write(transaction)
        return self._view(row), api_key_text.written(row.id, secret)

    def revoke(self, key: str, intent: Intent, *, account: str | None = None) -> ApiKeyView:
        """Make a key invalid from now on.

        Raises:
            NotFoundError: no such key. ConflictError: the last admin key of the server.
        """
        now = self._clock()

        def transaction(connection: Connection) -> Row[Any]:
            row = _unrevoked(connection, key, account)
            _require_caller(connection, intent, now)
            lasting = [each.id for each in unrevoked(every(connection)) if is_lasting(each)]
            if lasting == [row.id]:
                raise ConflictError(
                    "this is the last admin key of the server that neither ends nor has scopes",
                    hint="make another one first",
                )
            done = _changed(connection, row.id, revoked=now)
            self._tell(connection, "api-key.revoke", view_of(row), None, intent, now)
            return done

        return self._view(self._database.write(transaction))

    def _tell(
        self,
        connection: Connection,
        action: Action,
        before: ApiKeyView | None,
        after: ApiKeyView | None,
        intent: Intent,
        now: datetime,
    ) -> None:
        """Tell the log of a key: that of its account, or of the server where it is for all."""
        key = after or before
        assert key is not None
        entry = entry_of(
            intent,
            account=key.account or SERVER,
            action=action,
            now=now,
            target=key.id,
            before=None if before is None else msgspec.to_builtins(before),
            after=None if after is None else msgspec.to_builtins(after),
        )
        self._audit.append(connection, entry)

    def keep_uses(self) -> None:
        """Write down the last uses that are not yet.

        Raises:
            UnavailableError: the database cannot do it now; they are tried again next time.
        """
        taken, now = self._uses.take(), self._clock()
        if not taken:
            return
        try:
            self._database.write(lambda connection: _keep(connection, taken, now))
        except BaseException:
            self._uses.give_back(taken)
            raise

    def _note(self, row: Row[Any], use: Use) -> None:
        """Remember a use, unless the row tells of one like it: a busy key is no busy database."""
        known = row.last_used is not None and abs(use.moment - row.last_used) < _PRECISION
        if not (known and row.last_used_from == use.origin):
            self._uses.note(row.id, use)

    def _view(self, row: Row[Any]) -> ApiKeyView:
        return view_of(row, self._uses.of(row.id))


def _unrevoked(connection: Connection, key: str, account: str | None) -> Row[Any]:
    return find(unrevoked(every(connection, account)), key, "valid API key")


def _require_caller(connection: Connection, intent: Intent, now: datetime) -> ApiKeyView | None:
    """Return the key that the caller uses; None where he needs none, on the machine itself.

    Raises:
        ForbiddenError: it is not valid any more.
    """
    if not intent.key_id:
        return None
    row = _row(connection, intent.key_id)
    if row is None or not is_valid(row, now):
        raise ForbiddenError("the API key is not valid any more")
    return view_of(row)


def _require_within(
    connection: Connection, wanted: ApiKeyView, intent: Intent, now: datetime
) -> None:
    """Refuse to hand out a key that can do more than the caller's."""
    own = _require_caller(connection, intent, now)
    more = None if own is None else beyond(wanted, own)
    if more is not None:
        raise ForbiddenError(
            f"an API key cannot give what it does not have: {more}",
            hint="it takes a key that may do as much itself",
        )


def _require_free(connection: Connection, wanted: ApiKeyView) -> None:
    """Refuse a name that a valid key has which the same people see, and too many keys."""
    query = select(api_keys).where(api_keys.c.revoked.is_(None))
    if wanted.account is not None:
        own = or_(api_keys.c.account == wanted.account, api_keys.c.account.is_(None))
        query = query.where(own)
    rows = connection.execute(query).all()
    if any(row.name == wanted.name for row in rows):
        raise ConflictError(
            f"an API key is named {wanted.name!r} already",
            hint="choose another name, or revoke that one first",
        )
    if len([row for row in rows if row.account == wanted.account]) >= _MOST:
        raise ConflictError(f"there are {_MOST} API keys already", hint="revoke what nobody uses")


def _row(connection: Connection, identity: str) -> Row[Any] | None:
    return connection.execute(select(api_keys).where(api_keys.c.id == identity)).first()


def _insert(
    connection: Connection, made: ApiKeyView, digest: bytes, intent: Intent, now: datetime
) -> None:
    if made.account is not None:
        require_account(connection, made.account)
    _require_within(connection, made, intent, now)
    _require_free(connection, made)
    scopes = None if made.scopes is None else " ".join(each.value for each in made.scopes)
    connection.execute(
        insert(api_keys).values(
            id=made.id,
            name=made.name,
            role=made.role.value,
            account=made.account,
            digest=digest,
            created=made.created,
            scopes=scopes,
            expires=made.expires,
            created_by=made.created_by,
        )
    )


def _changed(connection: Connection, identity: str, **values: Any) -> Row[Any]:
    connection.execute(update(api_keys).where(api_keys.c.id == identity).values(**values))
    return connection.execute(select(api_keys).where(api_keys.c.id == identity)).one()


def _keep(connection: Connection, uses: dict[str, Use], now: datetime) -> None:
    """Write down uses. A later one of another process stays, unless a clock was wrong."""
    last = api_keys.c.last_used
    for identity, use in uses.items():
        connection.execute(
            update(api_keys)
            .where(api_keys.c.id == identity)
            .where(or_(last.is_(None), last < use.moment, last > now + _AHEAD))
            .values(last_used=use.moment, last_used_from=use.origin)
        )
