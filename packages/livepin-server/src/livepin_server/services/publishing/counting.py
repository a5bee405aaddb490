"""The one counter of an account, from which configs and overrides take their numbers."""

from __future__ import annotations

from sqlalchemy import Connection, update

from livepin_server.storage.schema import accounts


def next_version(connection: Connection, account: str) -> int:
    """Return the next number of an account, inside the transaction that uses it."""
    taken: int = connection.execute(
        update(accounts)
        .where(accounts.c.name == account)
        .values(last_version=accounts.c.last_version + 1)
        .returning(accounts.c.last_version)
    ).scalar_one()
    return taken
