"""`Publisher`: every change of pins becomes a new, immutable, signed config version.

Rows, version number, entry in the audit log, signature, check and record are one transaction; the
announcement comes after the commit. A document is never changed, only followed by another.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from livepin.documents import Config, Root, config
from livepin.documents.root import TYP as ROOT_TYP
from livepin.errors import LivepinError, MalformedError, VerificationError
from livepin.jose import Signer, parse_compact, parse_general, sign_compact
from sqlalchemy import Connection, func, insert, select
from sqlalchemy.engine import Row

from livepin_server.bus.memory import Announcement, Bus
from livepin_server.custody.keeping import Custody
from livepin_server.errors import (
    ConflictError,
    ServiceError,
)
from livepin_server.probing.probe import Observation, Target
from livepin_server.services import key_rows, rows
from livepin_server.services.audit import Action, Entry, entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.changes import Applying, Change, SetDelivery, Told
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.expiry import AHEAD, LIFETIME
from livepin_server.services.guard_settings import guard_settings
from livepin_server.services.model import Intent, Publication
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts, configs, roots

from .build import build
from .check import check
from .counting import next_version
from .difference import Difference, difference
from .findings import Finding, Findings, Limits
from .guards import judge, needed
from .published import newest, require_stream
from .refusing import require_expected, require_reason, require_standing
from .served import Observations

_MOST_LOOKS = 4  # at what is served, for one publish

logger = logging.getLogger("livepin.publishing")


Claim = Callable[[Connection, datetime], None]
Look = Callable[[Sequence[Target]], dict[Target, list[Observation]]]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The next config of a stream, before it is signed, and what the guards say to it."""

    change: Difference
    changed: list[str]
    action: Action
    endpoints: dict[str, Target] = field(default_factory=dict)  # before the change
    findings: Findings = field(default_factory=Findings)


class StreamTrial(msgspec.Struct, frozen=True, kw_only=True):
    """What a publish would do to a stream after `version`, and what there is to say to it."""

    stream: str
    version: int | None
    changed: list[str]
    findings: Findings


class _LookFirstError(Exception):
    """Nobody can judge a change without what is served at this moment."""

    def __init__(self, targets: list[Target]) -> None:
        super().__init__("look first")
        self.targets = targets


class _DoneMeanwhileError(Exception):
    """Another process has done it."""


class Publisher:
    """Publishes configs."""

    def __init__(
        self,
        database: Database,
        custody: Custody,
        bus: Bus,
        *,
        clock: Callable[[], datetime],
        look: Look,
        lifetime: timedelta = LIFETIME,
    ) -> None:
        self._look = look
        self._database = database
        self._custody = custody
        self._bus = bus
        self._clock = clock
        self._lifetime = lifetime
        self._audit = Audit(database)

    def publish(
        self,
        account: str,
        changes: Sequence[Change],
        intent: Intent,
        *,
        claim: Claim = lambda *_: None,
    ) -> list[Publication]:
        """Make `changes` and publish each stream that they touch, in one transaction.

        `claim` is called at its beginning, and may refuse. Where guards need to know what live
        endpoints serve, these are looked at between two tries, while nothing is locked.

        Raises:
            OutdatedError: another was published that `intent` does not expect.
            UnconfirmedError: it weakens the protection, and nobody has agreed.
            ServiceError: refused; nothing was changed.
        """
        require_reason(intent)
        now = self._clock()

        def transaction(connection: Connection, seen: Observations) -> list[Publication]:
            claim(connection, now)
            drafts, _ = self._drafts(connection, account, changes, intent, now)
            guarded = [self._guarded(connection, account, each, intent, seen) for each in drafts]
            require_standing([each.findings for each in guarded], intent.how)
            return [self._keep(connection, account, each, intent) for each in guarded]

        publications = self._looking(self._database.write, transaction)
        for each in publications:
            self.announce(each)
        return publications

    def try_out(
        self, account: str, changes: Sequence[Change], intent: Intent
    ) -> tuple[list[StreamTrial], list[str]]:
        """Return what `publish` would do and say now, and do nothing.

        The lines are of what no config tells of.

        Raises:
            ServiceError: a change cannot be made.
        """
        now = self._clock()

        def transaction(
            connection: Connection, seen: Observations
        ) -> tuple[list[StreamTrial], list[str]]:
            drafts, told = self._drafts(connection, account, changes, intent, now)
            guarded = [self._guarded(connection, account, each, intent, seen) for each in drafts]
            return [
                StreamTrial(
                    stream=each.change.new.stream,
                    version=None if each.change.old is None else each.change.old.version,
                    changed=each.changed,
                    findings=each.findings,
                )
                for each in guarded
            ], [line for each in told for line in each.lines]

        return self._looking(self._database.try_out, transaction)

    def set_delivery_of_all(self, wanted: DeliveryChange, intent: Intent) -> list[Publication]:
        """Change where documents are delivered in every account, or in none: for new keys.

        No guard looks: nobody serves them yet, and the old ones may be a thief's.
        """
        now = self._clock()

        def transaction(connection: Connection) -> list[Publication]:
            names = connection.scalars(select(accounts.c.name).where(accounts.c.active)).all()
            done: list[Publication] = []
            for name in names:
                changes = [SetDelivery(wanted=wanted)]
                drafts, _ = self._drafts(connection, name, changes, intent, now)
                renewed = [replace(each, action="delivery.renew-keys") for each in drafts]
                done += [self._keep(connection, name, each, intent) for each in renewed]
            return done

        publications = self._database.write(transaction)
        for each in publications:
            self.announce(each)
        return publications

    def _drafts(
        self,
        connection: Connection,
        account: str,
        changes: Sequence[Change],
        intent: Intent,
        now: datetime,
    ) -> tuple[list[Draft], list[Told]]:
        """Make the changes; return what is to be published then, and what no config tells of."""
        at = Applying(connection=connection, account=account, author=intent.author, now=now)
        endpoints = rows.endpoints(connection, account)
        changed: dict[str, list[str]] = {}
        try:
            for change in changes:
                for stream, lines in change.apply(at).items():
                    changed.setdefault(stream, []).extend(lines)
        except ServiceError:
            require_expected(connection, account, None, intent.how.expected)
            raise
        require_expected(connection, account, list(changed), intent.how.expected)
        for told in at.told:
            self._tell(connection, account, told, intent, now)
        action = _action(changes)
        drafts = [
            self._draft(connection, account, stream, lines, now, action)
            for stream, lines in changed.items()
        ]
        return [
            replace(each, endpoints=endpoints.get(each.change.new.stream, {})) for each in drafts
        ], at.told

    def _looking(
        self,
        run: Callable[[Callable[[Connection], _T]], _T],
        transaction: Callable[[Connection, Observations], _T],
    ) -> _T:
        """Run a transaction, and again with what it needs to have seen."""
        seen: dict[Target, list[Observation]] = {}

        def once(connection: Connection) -> _T:
            return transaction(connection, seen)

        for _ in range(_MOST_LOOKS):
            try:
                return run(once)
            except _LookFirstError as exc:
                seen.update(self._look(exc.targets))
        raise ConflictError(
            "others change what this change touches faster than it can be looked at",
            hint="try again",
        )

    def _guarded(
        self,
        connection: Connection,
        account: str,
        draft: Draft,
        intent: Intent,
        seen: Observations,
    ) -> Draft:
        """Return a draft with what the guards say to it.

        Raises:
            _LookFirstError: they need to know what is served at this moment, also to tell who
                forces it, and the audit log, what it goes against.
        """
        change, stream = draft.change, draft.change.new.stream
        before = draft.endpoints
        known = before | rows.endpoints(connection, account).get(stream, {})
        missing = [each for each in needed(change, known, before) if each not in seen]
        if missing:
            raise _LookFirstError(missing)
        findings = judge(
            change,
            known,
            seen,
            Limits(most_domains=guard_settings(connection, account).most_domains),
            now=change.new.issued,
            before=before,
            views=rows.views(connection, account, stream),
        )
        return replace(draft, findings=findings)

    def resign_due(self) -> list[Publication]:
        """Publish again, unchanged, each config that has lived half its time, or is of the future.

        What a clock dated that was ahead is replaced before more apps go by it. One that cannot be
        signed is logged; the others do not wait for it.
        """
        now = self._clock()
        with self._database.reading() as connection:
            rows = newest(connection)
        due = [(row.account, row.stream, why) for row in rows if (why := self._is_due(row, now))]
        done: list[Publication] = []
        for account, stream, reason in due:
            try:
                done.append(self._resign(account, stream, reason))
            except _DoneMeanwhileError:
                logger.debug("another process has signed %s/%s again", account, stream)
            except (ServiceError, LivepinError):
                logger.exception("the config of %s/%s could not be signed again", account, stream)
        return done

    def _resign(self, account: str, stream: str, reason: str) -> Publication:
        def claim(connection: Connection, now: datetime) -> None:
            (row,) = newest(connection, account, stream)
            if not self._is_due(row, now):
                raise _DoneMeanwhileError

        intent = Intent(author="livepin", reason=reason)
        return self.republish(account, stream, intent, action="config.resign", claim=claim)

    def republish(
        self,
        account: str,
        stream: str,
        intent: Intent,
        changed: Sequence[str] = (),
        *,
        action: Action = "config.publish",
        claim: Claim = lambda *_: None,
    ) -> Publication:
        """Publish what the rows of a stream say, which nobody has changed, as a new version.

        `claim` is called at the beginning of the transaction, and may refuse.
        """
        now = self._clock()

        def transaction(connection: Connection) -> Publication:
            require_stream(connection, account, stream)
            claim(connection, now)
            lines = list(changed)
            return self.issue(connection, account, stream, lines, intent, now=now, action=action)

        publication = self._database.write(transaction)
        self.announce(publication)
        return publication

    def issue(
        self,
        connection: Connection,
        account: str,
        stream: str,
        changed: list[str],
        intent: Intent,
        *,
        now: datetime,
        action: Action = "config.publish",
    ) -> Publication:
        """Publish what the rows of a stream say, inside the caller's transaction.

        Who calls it announces what it returns, after the commit.
        """
        draft = self._draft(connection, account, stream, changed, now, action)
        return self._keep(connection, account, draft, intent)

    def _draft(
        self,
        connection: Connection,
        account: str,
        stream: str,
        changed: list[str],
        now: datetime,
        action: Action,
    ) -> Draft:
        """Take the next version number, and return the config that the rows say."""
        version = next_version(connection, account)
        root = self.newest_root(connection, account)
        after = build(
            connection,
            account,
            stream,
            root_version=root.version,
            version=version,
            now=now,
            lifetime=self._lifetime + _behind(connection, account, stream, root, now),
        )
        found = newest(connection, account, stream)
        before = _config(found[0].document) if found else None
        change = difference(before, after)
        if action == "config.restore":
            changed = [*changed, *change.lines()]
        return Draft(change=change, changed=changed, action=action)

    def _keep(
        self, connection: Connection, account: str, draft: Draft, intent: Intent
    ) -> Publication:
        """Sign, check and keep a draft."""
        entry = _entry(account, draft, intent)
        document = replace(draft.change.new, audit=self._audit.append(connection, entry))
        signer = self._signer(connection, account, self.newest_root(connection, account))
        raw = sign_compact(document.payload(), typ=config.TYP, signer=signer)
        check(connection, account, document.stream, raw)
        row: dict[str, Any] = {
            "account": account,
            "stream": document.stream,
            "version": document.version,
            "root_version": document.root_version,
            "issued": document.issued,
            "expires": document.expires,
            "author": intent.author,
            "reason": intent.reason,
        }
        lines = json.dumps(draft.changed)
        connection.execute(insert(configs).values(**row, document=raw, changed=lines))
        warnings = [*_overruled(draft.findings), *map(_said, draft.findings.warnings)]
        publication = Publication(**row, changed=draft.changed, warnings=warnings)
        self._bus.enclose(connection, _announcement(publication))
        return publication

    def _tell(
        self, connection: Connection, account: str, told: Told, intent: Intent, now: datetime
    ) -> None:
        """Tell the audit log of a change that no config tells of."""
        entry = entry_of(
            intent,
            account=account,
            action=told.action,
            now=now,
            before=told.before,
            after=told.after,
        )
        self._audit.append(connection, entry)

    def _is_due(self, row: Row[tuple[Any, ...]], now: datetime) -> str | None:
        """Return why a config is to be signed again, or None."""
        if row.issued - now > AHEAD:
            return "re-signed because its time of issue is in the future"
        if now >= row.issued + min(row.expires - row.issued, self._lifetime) / 2:
            return "re-signed at half its lifetime"
        return None

    def newest_root(self, connection: Connection, account: str) -> Root:
        """Return the newest root of an account."""
        raw = connection.scalars(
            select(roots.c.document)
            .where(roots.c.account == account)
            .order_by(roots.c.version.desc())
            .limit(1)
        ).one()
        return Root.parse(parse_general(raw, typ=ROOT_TYP).payload)

    def announce(self, publication: Publication) -> None:
        """Tell delivery in this process that a version was committed."""
        self._bus.announce(_announcement(publication))

    def _signer(self, connection: Connection, account: str, root: Root) -> Signer:
        found = key_rows.signer(connection, self._custody, account, "config", root)
        if found is not None:
            return found
        raise ConflictError(
            f"the server holds no config key that root {root.version} of {account} names",
            hint="publish a new root that names the server's keys",
        )


def _action(changes: Sequence[Change]) -> Action:
    """Return what it is called to make these changes."""
    kinds = {each.action for each in changes}
    return kinds.pop() if len(kinds) == 1 else "config.publish"


def _entry(account: str, draft: Draft, intent: Intent) -> Entry:
    """Return what the audit log says of a draft."""
    old, new = draft.change.old, draft.change.new
    after = {**_versions(new), "changed": draft.changed}
    overruled = _overruled(draft.findings)
    return entry_of(
        intent,
        account=account,
        action=draft.action,
        now=new.issued,
        target=new.stream,
        before=None if old is None else {**_versions(old), **draft.change.before},
        after={**after, **({"overruled": overruled} if overruled else {}), **draft.change.after},
        config=new.version,
    )


def _versions(found: Config) -> dict[str, int]:
    return {"version": found.version, "root_version": found.root_version}


def _said(finding: Finding) -> str:
    return f"{finding.message}; {finding.hint}" if finding.hint else finding.message


def _overruled(found: Findings) -> list[str]:
    """Return what was published against: who forced it sees what it was."""
    return [f"published all the same: {each.message}" for each in found.refused]


def _config(raw: bytes) -> Config:
    try:
        return Config.parse(parse_compact(raw, typ=config.TYP).payload)
    except (MalformedError, VerificationError) as exc:
        raise ConflictError(
            f"the newest config is damaged: {exc}", hint="restore a backup: livepin restore"
        ) from exc


def _behind(
    connection: Connection, account: str, stream: str, root: Root, now: datetime
) -> timedelta:
    """Return how far the clock is behind what apps may go by, which is the latest time of issue.

    To who has taken a config of a clock that was ahead, any other would be stale from the start
    until a new root (rule 8): so it lives as much longer.
    """
    latest = connection.scalar(
        select(func.max(configs.c.issued)).where(
            configs.c.account == account,
            configs.c.stream == stream,
            configs.c.root_version == root.version,
        )
    )
    now = now.replace(microsecond=0)
    return max(root.issued, latest or root.issued, now) - now


def _announcement(publication: Publication) -> Announcement:
    return Announcement(
        account=publication.account,
        stream=publication.stream,
        root_version=publication.root_version,
        version=publication.version,
    )
