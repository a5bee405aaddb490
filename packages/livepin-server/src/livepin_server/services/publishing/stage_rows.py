"""Stages as the database has them: each is changed and taken down only as it was seen."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.errors import ConflictError, NotFoundError, OutdatedError
from livepin_server.services.changes import Change, decode
from livepin_server.services.model import Intent, StagedChange, StageView
from livepin_server.storage.schema import accounts, staged_changes, stages

from .published import require_account

_MOST_STAGES = 100  # of an account


def of(account: str, number: int) -> tuple[Any, Any]:
    """Return what the changes of a stage have in common."""
    return staged_changes.c.account == account, staged_changes.c.stage == number


def find(connection: Connection, account: str, number: int | None) -> Row[Any] | None:
    """Return a stage, the open one unless a number is given."""
    this = stages.c.at.is_(None) if number is None else stages.c.number == number
    return connection.execute(select(stages).where(stages.c.account == account, this)).first()


def require(connection: Connection, account: str, number: int | None) -> Row[Any]:
    """Return a stage that there is.

    Raises:
        NotFoundError: nothing is staged, no such stage, or no such account.
    """
    require_account(connection, account)
    row = find(connection, account, number)
    if row is None:
        what = "nothing is staged" if number is None else f"there is no stage {number}"
        raise NotFoundError(f"{what} in {account}", hint="see: livepin status")
    return row


def new(connection: Connection, account: str, now: datetime, intent: Intent) -> int:
    """Make a stage, and return its number, which no other had or will have.

    Raises:
        ConflictError: there are too many.
    """
    held = select(func.count()).select_from(stages).where(stages.c.account == account)
    if (connection.scalar(held) or 0) >= _MOST_STAGES:
        raise ConflictError(
            f"expected at most {_MOST_STAGES} stages in an account", hint="see: livepin status"
        )
    number = connection.execute(
        update(accounts)
        .where(accounts.c.name == account)
        .values(last_stage=accounts.c.last_stage + 1)
        .returning(accounts.c.last_stage)
    ).scalar_one()
    kept = None if intent.how.at is None else msgspec.json.encode(intent).decode()
    connection.execute(
        insert(stages).values(
            account=account, number=number, revision=0, created=now, at=intent.how.at, intent=kept
        )
    )
    return int(number)


def touch(connection: Connection, account: str, number: int) -> None:
    """Have whoever saw a stage look again."""
    this = (stages.c.account == account, stages.c.number == number)
    connection.execute(update(stages).where(*this).values(revision=stages.c.revision + 1))


def update_seen(
    connection: Connection, account: str, view: StageView, values: dict[str, Any]
) -> None:
    """Change a stage that is still as it was seen.

    Raises:
        OutdatedError: it is not.
    """
    done = connection.execute(
        update(stages)
        .where(
            stages.c.account == account,
            stages.c.number == view.number,
            stages.c.revision == view.revision,
        )
        .values(**values, revision=view.revision + 1)
    )
    if done.rowcount != 1:
        raise outdated(view)


def keep_failure(connection: Connection, account: str, number: int, failure: str) -> None:
    """Note why a stage could not be published when its time had come."""
    this = (stages.c.account == account, stages.c.number == number)
    connection.execute(update(stages).where(*this).values(failure=failure))


def take_down(connection: Connection, account: str, view: StageView) -> None:
    """Remove a stage that is still as it was seen, with its changes.

    Raises:
        OutdatedError: it is not.
    """
    done = connection.execute(
        delete(stages).where(
            stages.c.account == account,
            stages.c.number == view.number,
            stages.c.revision == view.revision,
        )
    )
    if done.rowcount != 1:
        raise outdated(view)


def outdated(view: StageView) -> OutdatedError:
    """Return what to tell who has seen a stage that is another now."""
    return OutdatedError(
        f"stage {view.number} has changed, or was published or discarded meanwhile",
        hint="see: livepin diff",
    )


def changes_of(connection: Connection, account: str, number: int) -> list[Change]:
    """Return the changes of a stage, in order."""
    kept = select(staged_changes.c.change).where(*of(account, number))
    found = connection.scalars(kept.order_by(staged_changes.c.position))
    return [decode(each) for each in found]


def view_of(connection: Connection, row: Row[Any]) -> StageView:
    """Return a stage as people see it."""
    kept = select(staged_changes).where(*of(row.account, row.number))
    return StageView(
        number=row.number,
        account=row.account,
        revision=row.revision,
        created=row.created,
        at=row.at,
        approved_by=row.approved_by,
        failure=row.failure,
        changes=[
            StagedChange(
                action=decode(each.change).action,
                changed=json.loads(each.changed),
                author=each.author,
                reason=each.reason,
                created=each.created,
            )
            for each in connection.execute(kept.order_by(staged_changes.c.position))
        ],
    )
