"""`Change`: what all changes are. It is applied to the rows in the transaction that publishes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from msgspec import Struct
from sqlalchemy import Connection

from livepin_server.services.audit import Action
from livepin_server.services.model import Role
from livepin_server.services.publishing.published import require_stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was changed that no config tells of: in lines for people, and in members."""

    action: Action
    lines: list[str]
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applying:
    """Where and when changes are applied, and by whom; `told` is what no config will tell of."""

    connection: Connection
    account: str
    author: str
    now: datetime
    told: list[Told] = field(default_factory=list)

    def require_stream(self, name: str) -> None:
        """Refuse a stream that the account does not have."""
        require_stream(self.connection, self.account, name)


class Change(Struct, frozen=True, kw_only=True, tag_field="change", forbid_unknown_fields=True):
    """A change of one account. Each kind is a struct with its own tag, so that it can be kept.

    `needs` is the role of who makes it, or publishes it from the stage; `action` what the audit
    log calls it.
    """

    needs: ClassVar[Role] = Role.OPERATOR
    action: ClassVar[Action] = "config.publish"

    def apply(self, at: Applying) -> dict[str, list[str]]:
        """Change the rows; return by stream what was changed, in lines for people.

        A stream that is named is published, also where nothing of it was changed. What no config
        tells of goes into `at.told`.

        Raises:
            ServiceError: it cannot be made, for the state is another one.
        """
        raise NotImplementedError
