"""`Policies`: the versions of an account's appraisal policy, and what a new one would do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
from msgspec import to_builtins
from sqlalchemy import Connection, insert, select
from sqlalchemy.engine import Row

from livepin_server.attestation.attested import Level
from livepin_server.attestation.policy import DEFAULT, SHIPPED, Policy, rank
from livepin_server.bus.memory import Bus, TokensChanged
from livepin_server.errors import InvalidError, NotFoundError, OutdatedError, UnconfirmedError
from livepin_server.services.apps import rows
from livepin_server.services.audit import entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.model import Intent
from livepin_server.services.publishing.published import require_account
from livepin_server.storage.database import Database
from livepin_server.storage.schema import policies

from .effects import effect
from .model import Effect, PolicySet, PolicyView

MOST_LISTED = 100


class Policies:
    """Shows and sets policies. What is set takes effect at once, on every server."""

    def __init__(self, database: Database, bus: Bus, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._audit = Audit(database)

    def show(self, account: str, version: int | None = None) -> PolicyView:
        """Return the policy in force, or one of before; version 0 is as shipped.

        Raises:
            NotFoundError: no such version.
        """
        with self._database.reading() as connection:
            require_account(connection, account)
            return _shown(connection, account, version)

    def versions(self, account: str) -> list[PolicyView]:
        """Return the last versions that were set, the newest first."""
        query = select(policies).where(policies.c.account == account)
        with self._database.reading() as connection:
            require_account(connection, account)
            rows = connection.execute(
                query.order_by(policies.c.version.desc()).limit(MOST_LISTED)
            ).all()
        return [_view(row) for row in rows]

    def effect(self, account: str, policy: Policy) -> Effect:
        """Return what a policy would do to the installations that were seen in a day.

        Raises:
            InvalidError: it names what cannot be, or asks for what nothing could prove.
        """
        _check(policy)
        with self._database.reading() as connection:
            require_account(connection, account)
            _require_possible(connection, account, policy)
            before = newest(connection, account).policy
            return effect(connection, account, before, policy, self._clock())

    def set(self, account: str, policy: Policy, intent: Intent) -> PolicySet:
        """Set a policy; the intent may name the version that it was made from.

        Raises:
            UnconfirmedError: it refuses installations that pass now, and nobody agreed to that.
            OutdatedError: another one was set meanwhile. InvalidError: as for `effect`.
        """
        _check(policy)
        expected = intent.how.expected

        def transaction(connection: Connection) -> PolicySet:
            now = self._clock()
            require_account(connection, account)
            _require_possible(connection, account, policy)
            before = newest(connection, account)
            if expected is not None and expected != before.version:
                raise OutdatedError(
                    f"expected policy {expected} in force, found {before.version}",
                    hint="livepin policy show",
                )
            found = effect(connection, account, before.policy, policy, now)
            _require_agreement(before.policy, policy, found, intent)
            connection.execute(
                insert(policies).values(
                    account=account,
                    version=before.version + 1,
                    policy=msgspec.json.encode(policy).decode(),
                    created=now,
                    author=intent.author,
                    reason=intent.reason,
                )
            )
            entry = entry_of(
                intent,
                account=account,
                action="policy.set",
                now=now,
                target=str(before.version + 1),
                before=to_builtins(before.policy),
                after=to_builtins(policy),
            )
            self._audit.append(connection, entry)
            self._bus.enclose(connection, TokensChanged(account=account))
            return PolicySet(policy=newest(connection, account), effect=found)

        done = self._database.write(transaction)
        self._bus.announce(TokensChanged(account=account))
        return done


def _check(policy: Policy) -> None:
    try:
        policy.check()
    except ValueError as exc:
        raise InvalidError(str(exc), hint="livepin policy set --help") from exc


def _require_possible(connection: Connection, account: str, policy: Policy) -> None:
    require_provable(policy, rows.levels(connection, account))
    require_releases(policy, rows.counted(connection, account))


def newest(connection: Connection, account: str) -> PolicyView:
    """Return the policy in force; its `policy` is `DEFAULT` itself where none was set."""
    return _shown(connection, account, None)


def _shown(connection: Connection, account: str, version: int | None) -> PolicyView:
    query = select(policies).where(policies.c.account == account)
    if version is not None:
        query = query.where(policies.c.version == version)
    row = connection.execute(query.order_by(policies.c.version.desc()).limit(1)).first()
    if row is not None:
        return _view(row)
    if version:
        raise NotFoundError(f"there is no policy {version}", hint="livepin policy show --all")
    return PolicyView(
        version=0, policy=DEFAULT, weights=dict(SHIPPED), created=None, author="", reason=""
    )


def _view(row: Row[tuple[object, ...]]) -> PolicyView:
    policy = msgspec.json.decode(row.policy, type=Policy)
    return PolicyView(
        version=row.version,
        policy=policy,
        weights={name: policy.weight(name) for name in {**SHIPPED, **policy.signals}},
        created=row.created,
        author=row.author,
        reason=row.reason,
    )


def _require_agreement(before: Policy, after: Policy, found: Effect, intent: Intent) -> None:
    """Refuse what shuts apps out, or lets in what was refused, until somebody agrees."""
    to_confirm = []
    if found.newly_refused:
        to_confirm.append(
            f"{found.newly_refused} of {found.installations} installations of the last day that "
            "pass now would be refused"
        )
    to_confirm += _weaker(before, after)
    if to_confirm and not intent.how.confirmed:
        raise UnconfirmedError(to_confirm)


def _weaker(before: Policy, after: Policy) -> list[str]:
    """Return in words what an attacker would want of a change."""
    found = []
    if (before.mode, after.mode) == ("enforce", "report"):
        found.append("nobody would be refused any more: the policy would only report")
    else:
        found += _only_reported(before, after)
    if (
        before.apps
        and before.other_apps == "refuse"
        and (not after.apps or after.other_apps == "take")
    ):
        found.append("apps that the policy does not name would no longer be refused")
    if after.relayable and not before.relayable:
        found.append("evidence that may be that of another device would count")
    names = sorted({*SHIPPED, *before.signals})
    less = [each for each in names if before.weight(each) == "fatal" != after.weight(each)]
    if less:
        found.append(f"{', '.join(less)} would no longer be fatal")
    lower = [
        f"{app or 'every app'}: {_named(was)} to {_named(now)}"
        for app in ["", *sorted(before.apps)]
        if rank(was := before.of(app).level) > rank(now := after.of(app).level)
    ]
    if lower:
        found.append(f"the level needed would be lower ({'; '.join(lower)})")
    return found


def _only_reported(before: Policy, after: Policy) -> list[str]:
    apps = [
        app
        for app in sorted({*before.apps, *after.apps})
        if (before.of(app).mode, after.of(app).mode) == ("enforce", "report")
    ]
    return [f"of {', '.join(apps)} nobody would be refused any more"] if apps else []


def _named(level: Level | None) -> str:
    return level or "none"


def require_provable(policy: Policy, provable: Mapping[str, Level]) -> None:
    """Refuse a policy that asks for a level that nothing registered can prove.

    `provable` is by app the highest level that its registered identities can prove.

    Raises:
        InvalidError: it would shut that app out for good; or all apps, if it names none.
    """
    for app in sorted(policy.apps):
        needed = policy.of(app).level
        if needed is not None and needed != "self" and rank(needed) > rank(provable.get(app)):
            raise InvalidError(
                f"{app} could never prove the level {needed}: nothing that is registered of it "
                "does",
                hint=f"livepin app {'set' if app in provable else 'add'} {app} --help",
            )
    if not policy.apps and rank(policy.level) > max(map(rank, ("self", *provable.values()))):
        raise InvalidError(
            f"no app could ever prove the level {policy.level}: nothing that is registered does",
            hint="livepin app add --help",
        )


def require_releases(policy: Policy, in_force: Mapping[str, int]) -> None:
    """Refuse a policy that takes registered releases alone of an app that has none in force.

    Raises:
        InvalidError: it would shut that app out.
    """
    for app in sorted(policy.apps):
        if policy.of(app).release and not in_force.get(app):
            raise InvalidError(
                f"there is no release of {app} in force",
                hint=f"livepin app release add {app} VERSION --manifest FILE",
            )
