"""`Stage`: changes are published at once, or gathered here and published together, or later.

A staged change is kept as a value and made anew when it is published: what others published
meanwhile stays, and what does not fit any more is refused then.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from livepin.errors import LivepinError
from msgspec import structs
from sqlalchemy import Connection, insert, select
from sqlalchemy.engine import Row

from livepin_server.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    OutdatedError,
    ServiceError,
    UnavailableError,
)
from livepin_server.services import api_key_rows
from livepin_server.services.audit import Action, entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.changes import Applying, Change, encode
from livepin_server.services.guard_settings import GuardSettings, guard_settings
from livepin_server.services.model import (
    Intent,
    Publication,
    Role,
    Staged,
    StageView,
)
from livepin_server.storage.database import Database
from livepin_server.storage.schema import staged_changes, stages

from . import stage_rows
from .published import Published, require_account
from .publisher import Publisher, StreamTrial
from .refusing import require_reason

_MOST_CHANGES = 1000  # on one stage
_LONGEST = timedelta(days=366)
_SOON = timedelta(days=1)  # before its time, a stage that is not approved is a warning

logger = logging.getLogger("livepin.stage")

_T = TypeVar("_T")


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What publishing a stage would do now, and what was published since it was begun.

    `changed` is what no config tells of.
    """

    stage: StageView
    changed: list[str]
    streams: list[StreamTrial]
    meanwhile: list[Publication]


class _GoneError(Exception):
    """Another process has published it."""


class Stage:
    """Publishes changes, or keeps them until somebody does, or until their time has come."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        published: Published,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._audit = Audit(database)
        self._database = database
        self._publisher = publisher
        self._published = published
        self._clock = clock

    def make(self, account: str, change: Change, intent: Intent) -> list[Publication] | Staged:
        """Publish a change, or keep it for later if `intent.how` says so.

        Raises:
            ConflictError: its state does not allow it, or a second person has to publish it.
            ServiceError: refused; nothing was changed.
        """
        if intent.how.stage or intent.how.at is not None:
            return self._add(account, change, intent)

        def claim(connection: Connection, _: datetime) -> None:
            require_account(connection, account)
            if guard_settings(connection, account).second_person:
                raise ConflictError(
                    f"changes of {account} are published by a second person",
                    hint="add --stage; then, by another API key: livepin publish --approve",
                )

        return self._publisher.publish(account, [change], intent, claim=claim)

    def read(self, account: str, read: Callable[[Connection], _T], *, staged: bool = False) -> _T:
        """Return what `read` finds; with `staged`, as if the open stage were published."""
        if not staged:
            with self._database.reading() as connection:
                return read(connection)

        def transaction(connection: Connection) -> _T:
            found = stage_rows.find(connection, account, None)
            if found is not None:
                changes = stage_rows.changes_of(connection, account, found.number)
                self._replay(connection, account, changes, author="")
            return read(connection)

        return self._database.try_out(transaction)

    def guards(self, account: str) -> GuardSettings:
        """Return what publishes of an account are measured by."""
        with self._database.reading() as connection:
            require_account(connection, account)
            return guard_settings(connection, account)

    # -- the stages of an account -------------------------------------------------------------

    def all(self, account: str) -> list[StageView]:
        """Return the stages of an account: the open one first, then by time."""
        with self._database.reading() as connection:
            require_account(connection, account)
            found = connection.execute(
                select(stages).where(stages.c.account == account).order_by(stages.c.number)
            ).all()
            views = [stage_rows.view_of(connection, row) for row in found]
        return sorted(views, key=lambda each: (each.at is not None, each.at or each.created))

    def warnings(self, account: str) -> list[str]:
        """Return what there is to say of the stages of an account."""
        found = self.all(account)
        second_person, now = self.guards(account).second_person, self._clock()
        said = [
            f"stage {each.number} of {account} was not published: {each.failure}"
            for each in found
            if each.failure is not None
        ]
        return said + [
            f"stage {each.number} of {account} is due at {each.at:%Y-%m-%d %H:%M} UTC "
            f"and not approved: livepin publish {each.number} --approve"
            for each in found
            if second_person and each.failure is None and each.approved_by is None
            if each.at is not None and each.at - now < _SOON
        ]

    def show(self, account: str, number: int | None = None) -> StageView:
        """Return one stage, or the open one.

        Raises:
            NotFoundError: nothing is staged, or no such stage.
        """
        return self._load(account, number)[0]

    def try_out(self, account: str, number: int | None, intent: Intent) -> Trial:
        """Return what publishing a stage would do now, and what there is to say against it."""
        view, changes = self._load(account, number)
        streams, changed = self._publisher.try_out(account, changes, intent)
        return Trial(
            stage=view,
            changed=changed,
            streams=streams,
            meanwhile=self._published.changed_since(account, view.created),
        )

    def publish(
        self, account: str, number: int | None, intent: Intent, *, role: Role, approve: bool = False
    ) -> list[Publication] | StageView:
        """Publish a stage; or with `intent.how.at`, or approving one that has a time, then.

        `intent.how.expected` is the revision of the stage that its publisher has seen.

        Raises:
            OutdatedError: the stage has changed since. ForbiddenError: it holds what only an
                admin may change. ConflictError: a second person has to publish it, or a guard
                refuses.
        """
        require_reason(intent)
        view, changes = self._load(account, number)
        _require_seen(view, intent.how.expected)
        _require_role(changes, role)
        at = intent.how.at or (view.at if approve else None)
        how = structs.replace(intent.how, at=at, expected=None)
        intent = structs.replace(intent, how=how, reason=intent.reason or _reasons(view))
        if at is not None and at > self._clock():
            return self._schedule(account, view, intent, approve=approve)

        def claim(connection: Connection, _: datetime) -> None:
            self._check_person(connection, account, view, intent, approve=approve)
            stage_rows.take_down(connection, account, view)

        return self._publisher.publish(account, changes, intent, claim=claim)

    def discard(self, account: str, number: int | None, intent: Intent) -> StageView:
        """Forget a stage and its changes; nothing was published."""
        view, _ = self._load(account, number)
        _require_seen(view, intent.how.expected)

        def transaction(connection: Connection) -> None:
            stage_rows.take_down(connection, account, view)
            self._tell(connection, "stage.discard", view, intent, {"changed": _lines(view)})

        self._database.write(transaction)
        return view

    def publish_due(self) -> list[Publication]:
        """Publish the stages whose time has come.

        One that cannot be published keeps the reason, and stays until somebody looks at it.
        """
        now = self._clock()
        with self._database.reading() as connection:
            due = connection.execute(
                select(stages).where(stages.c.at <= now, stages.c.failure.is_(None))
            ).all()
        done: list[Publication] = []
        for row in due:
            try:
                done += self._publish_due(row)
            except _GoneError:
                logger.debug("stage %s of %s is published already", row.number, row.account)
            except UnavailableError:
                logger.exception("stage %s of %s waits for the database", row.number, row.account)
            except (ServiceError, LivepinError) as exc:
                logger.exception("stage %s of %s was not published", row.number, row.account)
                self._keep_failure(row, str(exc))
        return done

    # -- within transactions --------------------------------------------------------------------

    def _add(self, account: str, change: Change, intent: Intent) -> Staged:
        """Keep a change on the open stage, or on one of its own that has a time."""
        now, at = self._clock(), intent.how.at
        _require_soon(at, now)

        def transaction(connection: Connection) -> Staged:
            require_account(connection, account)
            second_person = guard_settings(connection, account).second_person
            row = None if at is not None else stage_rows.find(connection, account, None)
            before = [] if row is None else stage_rows.changes_of(connection, account, row.number)
            if len(before) >= _MOST_CHANGES:
                raise ConflictError(
                    f"expected at most {_MOST_CHANGES} changes on a stage",
                    hint="publish or discard them: livepin publish, livepin discard",
                )
            with connection.begin_nested() as trial:
                self._replay(connection, account, before, intent.author)
                changed = self._replay(connection, account, [change], intent.author)
                trial.rollback()
            number = (
                row.number if row is not None else stage_rows.new(connection, account, now, intent)
            )
            values = {"account": account, "stage": number, "position": len(before)}
            connection.execute(
                insert(staged_changes).values(
                    **values,
                    change=encode(change),
                    changed=json.dumps(changed),
                    author=intent.author,
                    key_id=intent.key_id,
                    reason=intent.reason,
                    created=now,
                )
            )
            stage_rows.touch(connection, account, number)
            view = stage_rows.view_of(connection, stage_rows.require(connection, account, number))
            self._tell(connection, "stage.add", view, intent, {"changed": changed, "at": at})
            return Staged(
                stage=number,
                changed=changed,
                number=len(before) + 1,
                at=at,
                second_person=second_person,
            )

        return self._database.write(transaction)

    def _schedule(
        self, account: str, view: StageView, intent: Intent, *, approve: bool
    ) -> StageView:
        """Have a stage published at its time; without the second person it waits for that, too.

        What was approved before was approved as it was to be published then, and is not any more:
        else the first person could force it, and choose the time, after the second had looked.
        """
        _require_soon(intent.how.at, self._clock())

        def transaction(connection: Connection) -> StageView:
            if approve:
                self._check_person(connection, account, view, intent, approve=True)
            values = {
                "at": intent.how.at,
                "intent": msgspec.json.encode(intent).decode(),
                "approved_by": intent.author if approve else None,
                "failure": None,
            }
            stage_rows.update_seen(connection, account, view, values)
            action: Action = "stage.approve" if approve else "stage.schedule"
            told = {"at": intent.how.at, "changed": _lines(view)}
            self._tell(connection, action, view, intent, told)
            return stage_rows.view_of(
                connection, stage_rows.require(connection, account, view.number)
            )

        return self._database.write(transaction)

    def _publish_due(self, row: Row[Any]) -> list[Publication]:
        view, changes = self._load(row.account, row.number)
        intent = msgspec.json.decode(row.intent, type=Intent)
        how = structs.replace(intent.how, at=None, stage=False)

        def claim(connection: Connection, now: datetime) -> None:
            ended = api_key_rows.ended(connection, intent.key_id, now)
            if ended is not None:
                raise ConflictError(
                    f"the API key {ended!r}, which gave it its time, is not valid any more",
                    hint=f"livepin publish {view.number}, or livepin discard {view.number}",
                )
            if guard_settings(connection, row.account).second_person and view.approved_by is None:
                raise ConflictError(
                    "its time came before a second person had approved it",
                    hint=f"livepin publish {view.number} --approve",
                )
            try:
                stage_rows.take_down(connection, row.account, view)
            except OutdatedError as exc:
                raise _GoneError from exc

        return self._publisher.publish(
            row.account, changes, structs.replace(intent, how=how), claim=claim
        )

    def _keep_failure(self, row: Row[Any], failure: str) -> None:
        intent = Intent(author="livepin", reason="its time had come")

        def transaction(connection: Connection) -> None:
            stage_rows.keep_failure(connection, row.account, row.number, failure)
            view = stage_rows.view_of(
                connection, stage_rows.require(connection, row.account, row.number)
            )
            self._tell(connection, "stage.fail", view, intent, {"failure": failure})

        self._database.write(transaction)

    def _tell(
        self,
        connection: Connection,
        action: Action,
        view: StageView,
        intent: Intent,
        after: dict[str, Any],
    ) -> None:
        """Tell the audit log of a stage."""
        entry = entry_of(
            intent,
            account=view.account,
            action=action,
            now=self._clock(),
            target=str(view.number),
            after=after,
        )
        self._audit.append(connection, entry)

    def _replay(
        self, connection: Connection, account: str, changes: Sequence[Change], author: str
    ) -> list[str]:
        """Make changes, and return what they changed; of several streams, each line once."""
        at = Applying(connection=connection, account=account, author=author, now=self._clock())
        made = [line for each in changes for lines in each.apply(at).values() for line in lines]
        return [*dict.fromkeys(made), *(line for told in at.told for line in told.lines)]

    def _load(self, account: str, number: int | None) -> tuple[StageView, list[Change]]:
        with self._database.reading() as connection:
            row = stage_rows.require(connection, account, number)
            return stage_rows.view_of(connection, row), stage_rows.changes_of(
                connection, account, row.number
            )

    def _check_person(
        self,
        connection: Connection,
        account: str,
        view: StageView,
        intent: Intent,
        *,
        approve: bool,
    ) -> None:
        """Refuse to publish alone what takes two."""
        if not approve and not guard_settings(connection, account).second_person:
            return
        if not approve:
            raise ConflictError(
                f"changes of {account} are published by a second person",
                hint="by another API key: livepin publish --approve",
            )
        of_stage = stage_rows.of(account, view.number)
        if intent.key_id in connection.scalars(select(staged_changes.c.key_id).where(*of_stage)):
            raise ConflictError(
                "nobody approves their own changes: this API key has staged one of them",
                hint="by another API key: livepin publish --approve",
            )


def only(outcome: list[Publication] | Staged) -> Publication | Staged:
    """Return the one publication of a change of one stream."""
    if isinstance(outcome, Staged):
        return outcome
    (publication,) = outcome
    return publication


def _require_seen(view: StageView, revision: int | None) -> None:
    if revision not in (None, view.revision):
        raise stage_rows.outdated(view)


def _require_role(changes: Sequence[Change], role: Role) -> None:
    if role is not Role.ADMIN and any(each.needs is Role.ADMIN for each in changes):
        raise ForbiddenError(
            "expected the role admin: the stage holds what only an admin may change",
            hint="an admin runs: livepin publish",
        )


def _require_soon(at: datetime | None, now: datetime) -> None:
    if at is not None and not now < at <= now + _LONGEST:
        raise InvalidError(
            f"expected a time within a year from now, found {at:%Y-%m-%d %H:%M} UTC",
            hint="such as --at 2027-01-31T12:00:00Z",
        )


def _lines(view: StageView) -> list[str]:
    return [line for each in view.changes for line in each.changed]


def _reasons(view: StageView) -> str:
    """Return why the changes of a stage were made, for the history."""
    return "; ".join(dict.fromkeys(each.reason for each in view.changes if each.reason))[:500]
