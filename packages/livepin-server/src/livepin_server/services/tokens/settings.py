"""`TokenSettings`: what stands in tokens of an account and of each domain, and who signs them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import to_builtins
from sqlalchemy import Connection, delete, insert, select

from livepin_server.bus.memory import Bus, TokensChanged
from livepin_server.errors import InvalidError
from livepin_server.services.audit import entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.changes.domains import canonical
from livepin_server.services.model import Intent
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import token_settings

from .keys import MAIN, living
from .model import AccountTokens, AccountTokensChange, DomainTokens, DomainTokensChange

_ACCOUNT = ""  # the pattern of what is for the whole account


class TokenSettings:
    """Shows and changes how tokens are made. A change takes effect at once, on every server."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._audit = Audit(database)

    def all(self, account: str) -> tuple[AccountTokens, dict[str, DomainTokens]]:
        """Return the settings of an account, and those of its domains that have any, by pattern."""
        with self._database.reading() as connection:
            require_account(connection, account)
            return read(connection, account)

    def change_account(
        self, account: str, change: AccountTokensChange, intent: Intent
    ) -> AccountTokens:
        """Change the settings of an account."""

        def transaction(connection: Connection) -> AccountTokens:
            require_account(connection, account)
            before, _ = read(connection, account)
            after = change.over(before)
            self._put(connection, account, _ACCOUNT, before, after, intent)
            return after

        after = self._database.write(transaction)
        self._bus.announce(TokensChanged(account=account))
        return after

    def change_domain(
        self, account: str, pattern: str, change: DomainTokensChange, intent: Intent
    ) -> DomainTokens:
        """Change the settings of a domain, of which there need be none yet.

        Raises:
            NotFoundError: no such key. InvalidError: a key of another domain, or one that the
                profile cannot have.
        """
        pattern = canonical(pattern)

        def transaction(connection: Connection) -> DomainTokens:
            require_account(connection, account)
            before = read(connection, account)[1].get(pattern, DomainTokens())
            after = change.over(before)
            self._check_key(connection, account, pattern, after)
            self._put(connection, account, pattern, before, after, intent)
            return after

        after = self._database.write(transaction)
        self._bus.announce(TokensChanged(account=account))
        return after

    def _check_key(
        self, connection: Connection, account: str, pattern: str, settings: DomainTokens
    ) -> None:
        rows = living(connection, account, self._clock())
        named = [row for row in rows if row.name == settings.key]
        if not named and settings.key != MAIN:
            raise not_found("token key", settings.key, {row.name for row in rows})
        algorithm = named[-1].algorithm if named else "ES256"
        if named and named[-1].pattern not in (None, pattern):
            raise InvalidError(
                f"the secret {settings.key} is that of {named[-1].pattern} alone",
                hint=f"livepin token-key add NAME --alg HS256 --domain {pattern}",
            )
        if settings.profile == "approov" and algorithm != "HS256":
            raise InvalidError(
                f"the profile approov needs an HS256 key, and {settings.key} is {algorithm}",
                hint=f"livepin token-key add NAME --alg HS256 --domain {pattern}",
            )

    def _put(
        self,
        connection: Connection,
        account: str,
        pattern: str,
        before: AccountTokens | DomainTokens,
        after: AccountTokens | DomainTokens,
        intent: Intent,
    ) -> None:
        row = {"account": account, "pattern": pattern}
        connection.execute(
            delete(token_settings).where(*(token_settings.c[name] == row[name] for name in row))
        )
        text = msgspec.json.encode(after).decode()
        connection.execute(insert(token_settings).values(**row, settings=text))
        entry = entry_of(
            intent,
            account=account,
            action="tokens.set",
            now=self._clock(),
            target=pattern,
            before=to_builtins(before),
            after=to_builtins(after),
        )
        self._audit.append(connection, entry)
        self._bus.enclose(connection, TokensChanged(account=account))


def read(connection: Connection, account: str) -> tuple[AccountTokens, dict[str, DomainTokens]]:
    """Return the settings of an account, and those of its domains that have any."""
    rows = connection.execute(
        select(token_settings)
        .where(token_settings.c.account == account)
        .order_by(token_settings.c.pattern)
    ).all()
    texts = {row.pattern: row.settings for row in rows}
    of_account = msgspec.json.decode(texts.pop(_ACCOUNT, "{}"), type=AccountTokens)
    found = {name: msgspec.json.decode(text, type=DomainTokens) for name, text in texts.items()}
    return of_account, found
