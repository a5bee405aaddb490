"""What a publish is refused for before anything is signed: no reason, a guard, a newer version."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from livepin_server.errors import ConflictError, InvalidError, OutdatedError, UnconfirmedError
from livepin_server.services.model import How, Intent, Publication
from livepin_server.storage.schema import configs

from .findings import Findings
from .published import RECORD, publication_of

_MOST_TOLD = 3  # versions, and lines of each, in an error


def require_reason(intent: Intent) -> None:
    """Refuse to force anything without saying why."""
    if intent.how.force and not intent.reason:
        raise InvalidError("expected a reason, for it is forced", hint="--reason TEXT")


def require_standing(found: Sequence[Findings], how: How) -> None:
    """Refuse what a guard refuses, and what it asks where nobody has agreed.

    Of several streams, each is said once.
    """
    standing = [
        finding
        for each in found
        for finding in each.refused
        if not (how.force and finding.forcible)
    ]
    if standing:
        raise ConflictError(
            "; ".join([*dict.fromkeys(each.message for each in standing)][:_MOST_TOLD]),
            hint=standing[0].hint,
        )
    asked = dict.fromkeys(finding.message for each in found for finding in each.to_confirm)
    if asked and not how.confirmed:
        raise UnconfirmedError([*asked])


def require_expected(
    connection: Connection, account: str, streams: list[str] | None, expected: int | None
) -> None:
    """Refuse where one of these streams, or any, has changed after the version `expected`."""
    if expected is None:
        return
    query = select(*RECORD).where(
        configs.c.account == account, configs.c.version > expected, configs.c.changed != "[]"
    )
    if streams is not None:
        query = query.where(configs.c.stream.in_(streams))
    found = connection.execute(query.order_by(configs.c.version)).all()
    if found:
        said = "; ".join(_told(publication_of(row)) for row in found[:_MOST_TOLD])
        more = f"; and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
        raise OutdatedError(
            f"meanwhile was published: {said}{more}", hint="look at it, then try again"
        )


def _told(found: Publication) -> str:
    lines = ", ".join(found.changed[:_MOST_TOLD])
    more = ", ..." if len(found.changed) > _MOST_TOLD else ""
    return f"version {found.version} of {found.stream} by {found.author} ({lines}{more})"
