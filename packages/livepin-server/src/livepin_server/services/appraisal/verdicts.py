"""`Verdicts`: when the appraisal of an installation changes, and where that is told.

Tokens never wait for it: each request is appraised anew. What a server that dies has not told yet,
a second at most, is told after the next request of that installation.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from livepin_server.attestation.appraisal import Appraisal
from livepin_server.attestation.claims import Claims
from livepin_server.services.audit import entry_of
from livepin_server.services.audit.log import Audit
from livepin_server.services.model import Intent
from livepin_server.storage.database import Database
from livepin_server.storage.schema import installations
from livepin_server.telemetry.attention import Note

from . import refusals
from .refusals import Refused

logger = logging.getLogger("livepin.tokens")

MOST_TOLD = 60  # entries of an account in a minute: anybody can make installations that fail
_DAY = timedelta(days=1)
_INTENT = Intent(author="livepin")


class Judged(NamedTuple):
    """An appraised request of an installation."""

    account: str
    id: str
    app: str
    appraisal: Appraisal
    claims: Claims
    policy: int
    moment: datetime


class Verdicts:
    """Notices verdicts that changed: writes them to the audit log, and has channels told."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._audit = Audit(database)
        self._told: Counter[str] = Counter()  # by account, in this minute
        self._minute: datetime | None = None

    def tell(self, connection: Connection, judged: Iterable[Judged]) -> None:
        """Write entries for those whose verdict is not that of before; before their rows change."""
        self._begin_minute()
        # What is stored decides: another server, or this one before a restart, may have told.
        for account, some in itertools.groupby(judged, key=lambda each: each.account):
            self._tell(connection, account, list(some))

    def notes(self) -> list[Note]:
        """Return what needs attention: installations that were seen in a day, and do not pass."""
        seen = installations.c.last_seen > self._clock() - _DAY
        query = select(installations.c.account, installations.c.verdict, func.count()).where(
            seen, installations.c.verdict != "pass"
        )
        with self._database.reading() as connection:
            found = connection.execute(
                query.group_by(installations.c.account, installations.c.verdict)
            ).all()
        return [Note(_in_words(*each), each[0]) for each in found]

    def _begin_minute(self) -> None:
        now = self._clock()
        if self._minute is None or not self._minute <= now < self._minute + timedelta(minutes=1):
            self._minute = now
            self._told.clear()

    def _tell(self, connection: Connection, account: str, judged: Sequence[Judged]) -> None:
        before = _verdicts(connection, account, [each.id for each in judged])
        changed = [each for each in judged if before.get(each.id, "pass") != each.appraisal.verdict]
        room = max(MOST_TOLD - self._told[account], 0)
        for each in changed[:room]:
            self._tell_one(connection, each, before.get(each.id))
        if len(changed) > room:
            self._tell_many(connection, account, changed[room:])
        self._told[account] += len(changed)
        refusals.tell(connection, account, _refused(changed), self._clock())

    def _tell_one(self, connection: Connection, each: Judged, before: str | None) -> None:
        appraisal = each.appraisal
        said = {
            "verdict": appraisal.verdict, "rule": appraisal.rule, "why": appraisal.why,
            "level": appraisal.level, "app": each.app, "policy": each.policy,
            "refused": [f"{one.format}: {one.reason}" for one in each.claims.refused],
        }  # fmt: skip
        logger.warning(
            "installation %s of %s: verdict %s%s",
            each.id, each.account, appraisal.verdict, f", {appraisal.why}" * bool(appraisal.why),
        )  # fmt: skip
        self._audit.append(
            connection,
            entry_of(
                _INTENT,
                account=each.account,
                action="installation.verdict",
                now=each.moment,
                target=each.id,
                before=None if before is None else {"verdict": before},
                after=said,
            ),
        )

    def _tell_many(self, connection: Connection, account: str, rest: Sequence[Judged]) -> None:
        """Tell of more than anybody reads in one entry: a flood must not fill the log."""
        number = Counter(each.appraisal.verdict for each in rest)
        logger.warning("verdicts of %d more installations of %s changed", len(rest), account)
        self._audit.append(
            connection,
            entry_of(
                _INTENT,
                account=account,
                action="installation.verdict",
                now=rest[-1].moment,
                after={"more": dict(number)},
            ),
        )


def _refused(changed: Iterable[Judged]) -> list[Refused]:
    return [
        Refused(each.id, each.app, each.appraisal.rule, each.appraisal.verdict)
        for each in changed
        if each.appraisal.verdict != "pass"
    ]


def _in_words(account: str, verdict: str, number: int) -> str:
    who = "1 installation" if number == 1 else f"{number} installations"
    was = "was" if number == 1 else "were"
    what = f"{was} refused" if verdict == "fail" else "would be refused, were the policy enforced,"
    return f"{who} of {account} {what} in the last day: livepin installation list --failing"


_AT_A_TIME = 500  # parameters of one query


def _verdicts(connection: Connection, account: str, identities: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for start in range(0, len(identities), _AT_A_TIME):
        some = identities[start : start + _AT_A_TIME]
        query = select(installations.c.id, installations.c.verdict).where(
            installations.c.account == account, installations.c.id.in_(some)
        )
        found |= {row.id: row.verdict for row in connection.execute(query)}
    return found
