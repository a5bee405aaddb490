"""Changes of an account as a whole: where its documents are delivered, and what guards it."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from sqlalchemy import select, update

from livepin_server.errors import ConflictError
from livepin_server.services.audit import Action
from livepin_server.services.delivery_settings import DeliverySettings
from livepin_server.services.guard_settings import GuardSettings
from livepin_server.services.model import Role
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.schema import accounts

from .change import Applying, Change


class SetDelivery(Change, frozen=True, kw_only=True, tag="set-delivery"):
    """Change where documents are delivered, in every stream.

    Raises, when applied:
        InvalidError: no config may carry these.
    """

    needs: ClassVar[Role] = Role.ADMIN
    action: ClassVar[Action] = "delivery.set"
    settings: DeliverySettings

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Keep the settings."""
        settings, names = self.settings.checked(), require_account(at.connection, at.account)
        text = msgspec.json.encode(settings).decode()
        at.connection.execute(
            update(accounts).where(accounts.c.name == at.account).values(delivery=text)
        )
        return {name: [f"delivery is now {', '.join(settings.urls)}"] for name in names}


class SetGuards(Change, frozen=True, kw_only=True, tag="set-guards"):
    """Change what a publish of this account is measured by. No config tells of it.

    Raises, when applied:
        ConflictError: they are so already.
    """

    needs: ClassVar[Role] = Role.ADMIN
    action: ClassVar[Action] = "guards.set"
    guards: GuardSettings

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Keep the settings."""
        require_account(at.connection, at.account)
        this = accounts.c.name == at.account
        before = at.connection.scalars(select(accounts.c.guards).where(this)).one()
        text = msgspec.json.encode(self.guards).decode()
        if msgspec.json.decode(before, type=GuardSettings) == self.guards:
            raise ConflictError("the guards are so already")
        at.connection.execute(update(accounts).where(this).values(guards=text))
        return {}
