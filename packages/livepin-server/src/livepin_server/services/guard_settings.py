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


class GuardChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of the guards; what is not said stays as it is."""

    most_domains: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    second_person: bool | None = None

    def over(self, before: GuardSettings) -> GuardSettings:
        """Return `before` with what is said here."""
        most, second = self.most_domains, self.second_person
        return GuardSettings(
            most_domains=before.most_domains if most is None else most,
            second_person=before.second_person if second is None else second,
        )


def guard_lines(was: GuardSettings, now: GuardSettings) -> list[str]:
    """Return what changes, in lines for people."""
    found = []
    if was.second_person != now.second_person:
        first, second = ("on" if each.second_person else "off" for each in (was, now))
        found.append(f"* second person: {first} -> {second}")
    if was.most_domains != now.most_domains:
        found.append(f"* most domains at once: {was.most_domains} -> {now.most_domains}")
    return found


def guard_settings(connection: Connection, account: str) -> GuardSettings:
    """Return the settings of an account."""
    text = connection.scalars(select(accounts.c.guards).where(accounts.c.name == account)).one()
    return msgspec.json.decode(text, type=GuardSettings)
