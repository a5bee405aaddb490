"""What a publish of an account is measured by: kept beside where it is delivered."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import Connection, select

from livepin_server.storage.schema import accounts


class GuardSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many domains one change may touch, and whether a second person publishes it.

    With `second_person` every change is staged, and published by another API key.
    """

    most_domains: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    second_person: bool = False


def guard_settings(connection: Connection, account: str) -> GuardSettings:
    """Return the settings of an account."""
    text = connection.scalars(select(accounts.c.guards).where(accounts.c.name == account)).one()
    return msgspec.json.decode(text, type=GuardSettings)
