"""What a publish refuses, asks, and warns of, before anything is signed.

Pure: what live endpoints serve comes in as observations, and the time as `now`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from livepin.documents import Config, Mode

from livepin_server.probing.probe import Target
from livepin_server.services.model import PinView

from .cases import Case, cases, command
from .channel import Channel, to_look_at
from .difference import Difference
from .findings import Finding, Findings, Limits, some
from .lasting import Counting, Lasting
from .served import MOST_LOOKED_AT, Observations, Served


def needed(
    change: Difference, known: Mapping[str, Target], before: Mapping[str, Target] | None = None
) -> list[Target]:
    """Return the live endpoints without which nobody can tell whether a change shuts out apps.

    `known` has endpoints by pattern, also those of domains that go, and `before` those of before
    the change; any other host is looked at on port 443, and any other `*.host` is not. Where the
    channel of delivery changes, that comes first.
    """
    if change.old is None:
        return []  # no app follows a new stream yet
    touched = (each for each in cases(change, known, before) if each.judged_anew)
    targets = (to for each in touched for to in each.targets)
    return [*dict.fromkeys([*to_look_at(change), *targets])][:MOST_LOOKED_AT]


def judge(
    change: Difference,
    known: Mapping[str, Target],
    observations: Observations,
    limits: Limits,
    *,
    now: datetime,
    before: Mapping[str, Target] | None = None,
    views: Mapping[str, Sequence[PinView]] | None = None,
) -> Findings:
    """Return what is wrong with a change, by what was seen of the endpoints that are `needed`.

    `views` are the pins of the rows by set, as they will be; without them, any pin that is not
    in use passes for a backup.
    """
    touched = cases(change, known, before)
    counting = Counting(now)
    lasting, served = Lasting(change, counting, views), Served(change, counting, observations)
    channel = Channel(change, observations)
    for_good = [found for each in touched for found in lasting.refusals(each)]
    if change.old is None:
        # No app follows a new stream yet: none is shut out, and nothing is weakened.
        return Findings(refused=some(for_good))
    by_force = [found for each in touched for found in served.refusals(each)]
    asked = [found for each in touched for found in _to_confirm(each)]
    warned = [
        found
        for each in touched
        for found in (
            *served.warnings(each),
            *lasting.warnings(each, served.used(each)),
            *_unpinned(each, change.old, change),
        )
    ]
    return Findings(
        refused=some([*_too_many(len(touched), limits), *for_good, *channel.refusals(), *by_force]),
        to_confirm=some([*channel.to_confirm(), *asked]),
        warnings=some([*channel.warnings(), *warned]),
    )


def _too_many(touched: int, limits: Limits) -> Iterator[Finding]:
    if touched > limits.most_domains:
        yield Finding(
            code="too-many-domains",
            domain="",
            message=f"this change touches {touched} domains, and at most {limits.most_domains} may "
            "be touched at once",
            hint="do it in steps, or have an admin raise the limit: "
            f"livepin guards set --most-domains {touched}",
        )


def _to_confirm(case: Case) -> Iterator[Finding]:
    """What tokens protect is weakened by nobody unasked: neither at once nor in two steps."""
    was, now, name = case.was, case.now, case.pattern
    had_token = was is not None and was.token
    if now is None:
        if had_token:
            text = f"apps will connect to {name} whatever key it has, and send no token there"
            yield _asked("token-domain-removed", name, text)
        return
    changed = was is None or (was.mode, was.token) != (now.mode, now.token)
    if changed and now.mode is not Mode.ENFORCE and (had_token or now.token):
        text = f"{_whatever_key(case)}, though it takes tokens"
        yield _asked("token-domain-not-enforced", name, text)
    if had_token and not now.token:
        yield _asked("token-off", name, f"apps will send no token to {name}")


def _unpinned(case: Case, old: Config, change: Difference) -> Iterator[Finding]:
    """Say what is no longer enforced, where nobody has to be asked."""
    if case.was_enforced and case.enforced is None and not any(_to_confirm(case)):
        back = command("config restore", change, str(old.version))
        yield Finding(
            code="unpinned",
            domain=case.pattern,
            message=_whatever_key(case),
            hint=f"if that is not meant: {back}",
        )


def _whatever_key(case: Case) -> str:
    reports = case.now is not None and case.now.mode is Mode.REPORT
    only = ", and only report it" if reports else ""
    return f"apps will connect to {case.pattern} whatever key it has{only}"


def _asked(code: str, name: str, text: str) -> Finding:
    return Finding(code=code, domain=name, message=text, hint="to agree: --yes")
