"""`Installations`: which there are, and what operators decide of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from livepin import tokens
from sqlalchemy import Connection, and_, delete, insert, literal, select
from sqlalchemy.engine import Row

from livepin_server.bus.memory import Bus, TokensChanged
from livepin_server.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from livepin_server.services.audit import Action, entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.model import Intent
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import installation_rules, installations

from .model import MOST_TAGS, TEST, InstallationView, Rule, Verdict

MOST_LISTED = 1000
_ACTIONS: dict[Verdict, Action] = {
    "block": "installation.block",
    "pass": "installation.force-pass",
    "fail": "installation.force-fail",
}
_ID = re.compile(r"[A-Za-z0-9_-]{22}\Z")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_WHICH = "livepin installation list; an app shows its own: client.installation_id"
_TAG = re.compile(r"[A-Za-z0-9._:-]{1,63}\Z")
_SAME = and_(
    installations.c.account == installation_rules.c.account,
    installations.c.id == installation_rules.c.id,
)
_SEEN = ("thumbprint", "app", "stream", "config_version", "first_seen", "last_seen", "verdict")


class Installations:
    """Lists installations, and keeps what was decided of them. A decision holds at once."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._audit = Audit(database)

    def all(
        self, account: str, *, tag: str | None = None, failing: bool = False, limit: int = 50
    ) -> list[InstallationView]:
        """Return installations, the one seen last first; those never seen that have a rule last.

        With `failing` only those whose evidence does not pass.
        """
        query = _of(account).order_by(installations.c.last_seen.desc(), installations.c.id)
        if failing:
            query = query.where(installations.c.verdict != "pass")
        if tag is not None:
            query = query.join(installation_rules, _SAME).where(tagged(tag))
        with self._database.reading() as connection:
            require_account(connection, account)
            rows = connection.execute(query.limit(limit)).all()
            room = 0 if failing else limit - len(rows)
            unseen = connection.execute(_unseen(account, tag).limit(room)).all()
            rules = rules_of(connection, account, *(row.id for row in rows))
        now = self._clock()
        seen = [_view(row.id, row, rules.get(row.id), now) for row in rows]
        return seen + [_view(row.id, None, row, now) for row in unseen]

    def show(self, account: str, name: str) -> InstallationView:
        """Return one installation, by its id or thumbprint, or the one seen last for `latest`.

        Raises:
            NotFoundError: nothing is known of it.
        """
        with self._database.reading() as connection:
            require_account(connection, account)
            identity = named(connection, account, name)
            return self._shown(connection, account, identity)

    def decide(
        self,
        account: str,
        name: str,
        verdict: Verdict | None,
        intent: Intent,
        *,
        expires: datetime | None = None,
    ) -> InstallationView:
        """Block an installation, or force how it is judged; None lifts what was decided.

        Raises:
            InvalidError: no reason, or an end that is past. NotFoundError: `latest`, and there
                is none. ConflictError: there is nothing to lift.
        """
        if verdict is not None and not intent.reason:
            raise InvalidError("expected a reason", hint="--reason: it stays in the audit log")

        def transaction(connection: Connection) -> InstallationView:
            now = self._clock()
            require_account(connection, account)
            identity = named(connection, account, name, new=verdict is not None)
            if expires is not None and expires <= now:
                raise InvalidError(f"expected an end to come, found {expires:%Y-%m-%d %H:%M} UTC")
            before = self._shown(connection, account, identity)
            if verdict is None and before.rule is None:
                raise ConflictError(f"nothing is decided of {identity}")
            rule = {
                "verdict": verdict, "expires": expires, "reason": intent.reason,
                "author": intent.author, "created": now,
            }  # fmt: skip
            self._put(connection, account, identity, before.tags, rule)
            self._bus.enclose(connection, TokensChanged(account=account))
            action: Action = "installation.unblock" if verdict is None else _ACTIONS[verdict]
            return self._told(connection, account, before, action, intent, now)

        found = self._database.write(transaction)
        self._bus.announce(TokensChanged(account=account))
        return found

    def tag(
        self,
        account: str,
        name: str,
        tags: Sequence[str],
        intent: Intent,
        *,
        by_admin: bool = False,
    ) -> InstallationView:
        """Give an installation these tags, and no others.

        By its thumbprint it may be one that never asked for a token.

        Raises:
            NotFoundError: nothing is known of it. InvalidError: too many, or not such a word.
            ForbiddenError: it gives or takes the tag `test`, and is not by an admin.
        """
        if len(set(tags)) > MOST_TAGS:
            raise InvalidError(f"expected at most {MOST_TAGS} tags")
        wrong = [each for each in tags if not _TAG.match(each)]
        if wrong:
            raise InvalidError(
                f"expected tags of letters, digits, . _ : and -, found {wrong[0][:80]!r}",
                hint="such as lab or team:qa, at most 63 characters",
            )

        def transaction(connection: Connection) -> InstallationView:
            now = self._clock()
            require_account(connection, account)
            identity = named(connection, account, name, new=_THUMBPRINT.match(name) is not None)
            before = self._shown(connection, account, identity)
            if not by_admin and (TEST in tags) != (TEST in before.tags):
                raise ForbiddenError(
                    f"expected the role admin to give or take the tag {TEST}",
                    hint="it says which installations may be unpinned for a test",
                )
            found = rules_of(connection, account, identity).get(identity)
            rule = {name: found and getattr(found, name) for name in ("verdict", "expires")}
            rule["reason"] = found.reason if found else ""
            rule["author"] = found.author if found else intent.author
            rule["created"] = found.created if found else now
            self._put(connection, account, identity, tags, rule)
            return self._told(connection, account, before, "installation.tag", intent, now)

        return self._database.write(transaction)

    def _shown(self, connection: Connection, account: str, identity: str) -> InstallationView:
        row = last_request(connection, account, identity)
        rule = rules_of(connection, account, identity).get(identity)
        return _view(identity, row, rule, self._clock())

    def _put(
        self,
        connection: Connection,
        account: str,
        identity: str,
        tags: Sequence[str],
        rule: dict[str, Any],
    ) -> None:
        connection.execute(delete(installation_rules).where(*_rule(account, identity)))
        row = {"account": account, "id": identity, "tags": " ".join(sorted(set(tags))), **rule}
        connection.execute(insert(installation_rules).values(**row))

    def _told(
        self,
        connection: Connection,
        account: str,
        before: InstallationView,
        action: Action,
        intent: Intent,
        now: datetime,
    ) -> InstallationView:
        after = self._shown(connection, account, before.id)
        entry = entry_of(
            intent,
            account=account,
            action=action,
            now=now,
            target=before.id,
            before=_said(before),
            after=_said(after),
        )
        self._audit.append(connection, entry)
        return after


def named(
    connection: Connection, account: str, name: str, *, new: bool = False, tag: str | None = None
) -> str:
    """Return the id that is meant by an id, a thumbprint, or `latest`: the one seen last.

    With `new` one of which nothing is known yet may be; of those with a `tag`, if one is given,
    `latest` is.

    Raises:
        InvalidError: it is none of these. NotFoundError: nothing is known of it.
    """
    if name == "latest":
        query = _of(account).order_by(installations.c.last_seen.desc()).limit(1)
        if tag is not None:
            query = query.join(installation_rules, _SAME).where(tagged(tag))
        row = connection.execute(query).first()
        if row is not None:
            return str(row.id)
    else:
        found = id_of(account, name)
        if new or last_request(connection, account, found) or rules_of(connection, account, found):
            return found
    raise NotFoundError(f"nothing is known of the installation {name[:80]!r}", hint=_WHICH)


def id_of(account: str, name: str) -> str:
    """Return the id of an installation that is named by that, or by the thumbprint of its key.

    Raises:
        InvalidError: it is neither.
    """
    if _THUMBPRINT.match(name):
        return tokens.installation_id(account, name)
    if not _ID.match(name):
        raise InvalidError(
            f"expected the id of an installation, 22 characters, found {name[:80]!r}", hint=_WHICH
        )
    return name


def last_request(connection: Connection, account: str, identity: str) -> Row[Any] | None:
    """Return what an installation said in its last token request, if there was one."""
    found: Row[Any] | None = connection.execute(
        _of(account).where(installations.c.id == identity)
    ).first()
    return found


def rules_of(connection: Connection, account: str, *identities: str) -> dict[str, Row[Any]]:
    """Return what was decided of these installations of an account, by id."""
    query = select(installation_rules).where(
        installation_rules.c.account == account, installation_rules.c.id.in_(identities)
    )
    return {row.id: row for row in connection.execute(query)}


def decided(connection: Connection, account: str) -> dict[str, Row[Any]]:
    """Return what was decided of installations of an account, by id."""
    query = select(installation_rules).where(
        installation_rules.c.account == account, installation_rules.c.verdict.is_not(None)
    )
    return {row.id: row for row in connection.execute(query)}


def rule_of(row: Row[Any], now: datetime) -> Rule | None:
    """Return what was decided and holds now, if anything."""
    if row.verdict is None or (row.expires is not None and row.expires <= now):
        return None
    return Rule(
        verdict=row.verdict,
        expires=row.expires,
        reason=row.reason,
        author=row.author,
        created=row.created,
    )


def tagged(tag: str) -> Any:
    """Return the condition that an installation has a tag."""
    return (literal(" ") + installation_rules.c.tags + " ").contains(f" {tag} ", autoescape=True)


def _unseen(account: str, tag: str | None) -> Any:
    """Return those that never asked for a token."""
    query = (
        select(installation_rules)
        .outerjoin(installations, _SAME)
        .where(installation_rules.c.account == account, installations.c.id.is_(None))
        .order_by(installation_rules.c.created.desc(), installation_rules.c.id)
    )
    return query if tag is None else query.where(tagged(tag))


def _of(account: str) -> Any:
    return select(installations).where(installations.c.account == account)


def _rule(account: str, identity: str) -> tuple[Any, ...]:
    return installation_rules.c.account == account, installation_rules.c.id == identity


def _view(
    identity: str, row: Row[Any] | None, rule: Row[Any] | None, now: datetime
) -> InstallationView:
    seen = {} if row is None else dict(row._mapping)
    return InstallationView(
        id=identity,
        **{name: seen.get(name) for name in _SEEN},
        rule=None if rule is None else rule_of(rule, now),
        tags=[] if rule is None else rule.tags.split(),
    )


def _said(view: InstallationView) -> dict[str, Any]:
    rule = view.rule
    return {
        "verdict": rule and rule.verdict,
        "expires": rule and rule.expires,
        "tags": view.tags,
    }
