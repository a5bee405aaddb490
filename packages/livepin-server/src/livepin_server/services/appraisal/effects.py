"""The dry run of a policy: what it would do to the installations that were seen in a day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, exists, func, select

from livepin_server.attestation.appraisal import Appraisal, Rule, appraise
from livepin_server.attestation.claims import NOTHING, Claims, Proof
from livepin_server.attestation.policy import Policy
from livepin_server.storage.schema import claims, installations, proofs

from .model import Effect, Group

_DAY = timedelta(days=1)
_MOST_GROUPS = 20


@dataclass(frozen=True, slots=True)
class _Alike:
    """Installations of an app that claim the same, of which `standing` was proved."""

    app: str
    claims: str | None
    number: int
    example: str
    standing: tuple[Proof, ...] = ()


@dataclass(slots=True)
class _Sums:
    installations: int = 0
    refused_before: int = 0
    refused: int = 0
    newly_refused: int = 0
    newly_passing: int = 0
    groups: Counter[tuple[str, Rule, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, Rule, str], str] = field(default_factory=dict)


def effect(
    connection: Connection, account: str, before: Policy, after: Policy, now: datetime
) -> Effect:
    """Return what `after` would do, in place of `before`."""
    known = {
        row.digest: msgspec.json.decode(row.claims, type=Claims)
        for row in connection.execute(
            select(claims).where(claims.c.account == account, claims.c.last_seen > now - _DAY)
        )
    }
    sums = _Sums()
    for each in _alike(connection, account, now - _DAY):
        made = NOTHING if each.claims is None else known.get(each.claims, NOTHING)
        was, found = (appraise(one, each.app, made, each.standing, now) for one in (before, after))
        _add(sums, each, was, found)
    return Effect(
        installations=sums.installations,
        refused_before=sums.refused_before,
        refused=sums.refused,
        newly_refused=sums.newly_refused,
        newly_passing=sums.newly_passing,
        newly=[
            Group(app=key[0], rule=key[1], why=key[2], installations=number,
                  example=sums.examples[key])
            for key, number in sums.groups.most_common(_MOST_GROUPS)
        ],
    )  # fmt: skip


def _add(sums: _Sums, each: _Alike, was: Appraisal, found: Appraisal) -> None:
    sums.installations += each.number
    sums.refused_before += each.number * (was.verdict != "pass")
    sums.refused += each.number * (found.verdict != "pass")
    sums.newly_passing += each.number * (not was.passes and found.passes)
    if was.passes and not found.passes:
        sums.newly_refused += each.number
    if was.verdict == "pass" and found.verdict != "pass":
        key = each.app, found.rule, found.why
        sums.groups[key] += each.number
        sums.examples.setdefault(key, each.example)


def _alike(connection: Connection, account: str, since: datetime) -> Iterator[_Alike]:
    """Give installations that were seen since; those of which nothing was proved together."""
    seen = installations.c.account == account, installations.c.last_seen > since
    proved = exists().where(
        proofs.c.account == installations.c.account,
        proofs.c.id == installations.c.id,
        proofs.c.app == installations.c.app,
    )
    grouped = (
        select(
            installations.c.app,
            installations.c.claims,
            func.count().label("number"),
            func.min(installations.c.id).label("example"),
        )
        .where(*seen, ~proved)
        .group_by(installations.c.app, installations.c.claims)
        .order_by(installations.c.app, installations.c.claims)
    )
    for row in connection.execute(grouped):
        yield _Alike(row.app, row.claims, row.number, row.example)
    yield from _proved(connection, account, since)


def _proved(connection: Connection, account: str, since: datetime) -> Iterator[_Alike]:
    query = (
        select(installations.c.app, installations.c.claims, proofs)
        .join(
            proofs,
            (proofs.c.account == installations.c.account)
            & (proofs.c.id == installations.c.id)
            & (proofs.c.app == installations.c.app),
        )
        .where(installations.c.account == account, installations.c.last_seen > since)
        .order_by(installations.c.id)
    )
    last: _Alike | None = None
    for row in connection.execute(query):
        proof = Proof(format=row.format, level=row.level, bound=row.bound, moment=row.moment)
        if last is not None and last.example == row.id:
            last = _Alike(last.app, last.claims, 1, last.example, (*last.standing, proof))
            continue
        if last is not None:
            yield last
        last = _Alike(row.app, row.claims, 1, row.id, (proof,))
    if last is not None:
        yield last
