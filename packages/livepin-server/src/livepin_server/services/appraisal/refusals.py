"""Channels are told of installations that are refused: once in an hour for each app and rule.

Anybody can make installations that fail, and name them and their apps. So the first one is told,
the others are counted, and apps that nobody knows share one notice. Of what a stranger wrote there
is nothing in it but the name of an app, which has no spaces: `livepin policy explain` has the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from livepin.jose import b64url_encode
from sqlalchemy import Connection, and_, insert, select, update
from sqlalchemy.engine import Row

from livepin_server.attestation.appraisal import Rule, Verdict
from livepin_server.services.monitoring import outbox
from livepin_server.services.monitoring.model import REFUSED, Notice
from livepin_server.storage.schema import apps, refusals

from .policies import newest

EVERY = timedelta(hours=1)  # in which there is one notice at most
TAG = "installations"  # by which a channel may ask for these, or not
LIST = "livepin installation list --failing"
_ANY = ""  # in the place of an app that nobody knows

_BROKEN: dict[Rule, str] = {
    "pass": "no rule is broken",
    "app": "its app is not one of the policy",
    "signal": "it found a signal in itself that the policy takes for fatal",
    "score": "the signals that it found in itself weigh too much together",
    "level": "it did not prove the level that the policy expects",
    "release": "it did not prove the measured files of a registered release",
}


class Refused(NamedTuple):
    """An installation whose verdict became `fail`, or `report`."""

    id: str
    app: str
    rule: Rule
    verdict: Verdict


class _Subject(NamedTuple):
    app: str
    rule: Rule
    verdict: Verdict

    def digest(self, account: str) -> str:
        """Return a short name of it that no other one has, of whatever account."""
        text = "\n".join((account, *self))
        return b64url_encode(sha256(text.encode()).digest())[:22].decode()


def tell(connection: Connection, account: str, refused: Sequence[Refused], now: datetime) -> None:
    """Put a notice for each app and rule of which there was none within the hour."""
    if not refused:
        return
    known = _known(connection, account)
    groups: dict[_Subject, list[Refused]] = {}
    for each in refused:
        app = each.app if each.app in known else _ANY
        groups.setdefault(_Subject(app, each.rule, each.verdict), []).append(each)
    for subject in sorted(groups):
        _tell(connection, account, subject, groups[subject], now)


def _tell(
    connection: Connection,
    account: str,
    subject: _Subject,
    some: Sequence[Refused],
    now: datetime,
) -> None:
    one = and_(refusals.c.account == account, refusals.c.digest == subject.digest(account))
    before = connection.execute(select(refusals).where(one)).first()
    # Nor when a clock was set back a little, or another server's differs.
    if before is not None and abs(now - before.told) < EVERY:
        more = refusals.c.more + len(some)
        connection.execute(update(refusals).where(one).values(more=more))
        return
    values: dict[str, Any] = {"told": now, "more": len(some) - 1}
    if before is None:
        names = {"account": account, "digest": subject.digest(account)}
        connection.execute(insert(refusals).values(**names, **values))
    else:
        connection.execute(update(refusals).where(one).values(**values))
    notice = _notice(account, subject, some[0], before, now)
    key = f"refused-{subject.digest(account)}-{int(now.timestamp())}"
    outbox.put(connection, notice, now, key=key)


def _notice(
    account: str, subject: _Subject, first: Refused, before: Row[Any] | None, now: datetime
) -> Notice:
    enforced = first.verdict == "fail"
    what = "was refused" if enforced else "would be refused, were the policy enforced"
    return Notice(
        account=account,
        event="happened",
        incident=None,
        kind=REFUSED,
        severity="warning" if enforced else "info",
        title=f"an installation of {first.app} {what}",
        sentence=f"The installation {first.id} of {first.app} {what}: {_BROKEN[first.rule]}.",
        moment=now,
        since=now,
        apps=first.app,
        command=f"livepin policy explain {'-- ' * first.id.startswith('-')}{first.id}",
        lines=_lines(subject, before),
        tags=[TAG],
        subject=f"{first.rule}-{first.verdict}-{subject.digest(account)}",
    )


def _lines(subject: _Subject, before: Row[Any] | None) -> list[str]:
    lines = []
    if before is not None and before.more:
        told = f"{before.told:%Y-%m-%d %H:%M} UTC"
        lines.append(f"{before.more} more followed the last notice like this, of {told}")
    if subject.app == _ANY:
        lines.append("apps that are neither registered nor in the policy share this notice")
    return [*lines, f"what follows within an hour is only counted; all of them: {LIST}"]


def _known(connection: Connection, account: str) -> set[str]:
    """Return the apps that operators named. Any other name may be one that was made up."""
    registered = connection.scalars(select(apps.c.name).where(apps.c.account == account))
    return {*registered, *newest(connection, account).policy.apps}
