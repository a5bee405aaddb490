"""Changes of an account as a whole: where its documents are delivered, and what guards it."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from sqlalchemy import select, update

from livepin_server.errors import ConflictError
from livepin_server.services.audit import Action
from livepin_server.services.delivery_settings import DeliveryChange, DeliverySettings
from livepin_server.services.guard_settings import GuardChange, guard_lines, guard_settings
from livepin_server.services.model import Role
from livepin_server.services.publishing.difference import delivery_lines, interval_line
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.schema import accounts

from .change import Applying, Change, Told


class SetDelivery(Change, frozen=True, kw_only=True, tag="set-delivery"):
    """Change where documents are delivered, in every stream. What is not said stays.

    Raises, when applied:
        InvalidError: no config may carry these. ConflictError: all of it is so already.
    """

    needs: ClassVar[Role] = Role.ADMIN
    action: ClassVar[Action] = "delivery.set"
    wanted: DeliveryChange

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Keep the settings."""
        names = require_account(at.connection, at.account)
        text = at.connection.scalars(
            select(accounts.c.delivery).where(accounts.c.name == at.account)
        ).one()
        before = msgspec.json.decode(text, type=DeliverySettings)
        after = self.wanted.over(before)
        if after == before:
            raise ConflictError("delivery is so already", hint="see: livepin delivery show")
        _keep(at, delivery=msgspec.json.encode(after).decode())
        lines = [
            *delivery_lines(before.document(), after.document()),
            *interval_line("refresh interval", before.interval, after.interval),
        ]
        return dict.fromkeys(names, lines)


class SetGuards(Change, frozen=True, kw_only=True, tag="set-guards"):
    """Change what a publish of this account is measured by. What is not said stays.

    No config tells of it. Raises, when applied:
        ConflictError: they are so already.
    """

    needs: ClassVar[Role] = Role.ADMIN
    action: ClassVar[Action] = "guards.set"
    wanted: GuardChange

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Keep the settings."""
        require_account(at.connection, at.account)
        before = guard_settings(at.connection, at.account)
        after = self.wanted.over(before)
        if after == before:
            raise ConflictError("the guards are so already")
        _keep(at, guards=msgspec.json.encode(after).decode())
        told = Told(
            action=self.action,
            lines=guard_lines(before, after),
            before=msgspec.to_builtins(before),
            after=msgspec.to_builtins(after),
        )
        at.told.append(told)
        return {}


def _keep(at: Applying, **values: Any) -> None:
    at.connection.execute(update(accounts).where(accounts.c.name == at.account).values(**values))
