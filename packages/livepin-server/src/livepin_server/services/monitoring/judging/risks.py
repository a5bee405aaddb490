"""`at_risk`: apps get in, and may soon not. What hangs on pins, and what on certificates, apart.

Where pins are only reported nobody is shut out by them, and where they are off nothing of them is
said; a certificate that expires shuts out everybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from livepin.pins import PinSet

from livepin_server.probing.probe import CertificateSeen
from livepin_server.services.model import PinView
from livepin_server.services.monitoring.model import Finding, Severity, Sighted
from livepin_server.services.publishing.lasting import end_of, minute

from . import causes
from .case import URGENT, Case, listed, within
from .seeing import fingerprint, first_to_end, in_order, leaf_keys, lifetime

# ACME clients renew when a third of the lifetime is left, and 30 days at most. So a certificate of
# which a quarter is left is late, however short it lives.
_RENEWED = timedelta(days=30)
_RENEWED_PART, _LATE_PART, _URGENT_PART = 3, 4, 10
_IN_USE = timedelta(days=2)  # a key that was served since then is no old one
_MOST_REMOVED = 10  # pins in a command


def risks(case: Case) -> Iterator[Finding]:
    """Say what will shut apps out, or would with one more step."""
    if not case.seen.verified:
        return
    lead = timedelta(days=case.following.settings.lead)
    ending = _ending(case.seen.verified, case.now + lead + _RENEWED)
    if ending:
        yield from _expires(case, in_order(ending), lead)
    if case.following.mode == "off" or not case.matching.matched:
        return
    if ending:
        yield from _renewal_due(case, lead)
    yield from _spare(case)
    if not case.following.pins.timeless:
        yield from _pin_ends(case, lead)
    yield from _unserved(case)


# -- certificates --------------------------------------------------------------------------------


def _ending(sights: Sequence[Sighted], before: datetime) -> list[Sighted]:
    """Return those of which a certificate ends before then."""
    found = []
    for sight in sights:
        for each in sight.observation.chain:
            if each.not_after <= before:
                found.append(sight)
                break
    return found


def _left(sight: Sighted, now: datetime) -> timedelta:
    return first_to_end(sight.observation.chain).not_after - now


def _expires(case: Case, ending: Sequence[Sighted], lead: timedelta) -> Iterator[Finding]:
    late = [each for each in ending if _is_late(each, lead, case.now)]
    if not late:
        return
    first = min(late, key=lambda each: _left(each, case.now))
    ends, left = first_to_end(first.observation.chain), _left(first, case.now)
    what = f"the certificate of {case.place.name}"
    if ends is not first.observation.chain[0]:
        what = f"the certificate of an issuer in the chain of {case.place.name}"
    said = f"expires at {minute(ends.not_after)}, {within(left)}"
    if left <= timedelta(0):
        said = f"expired at {minute(ends.not_after)}"
    urgent = left <= min(URGENT, lifetime(ends) / _URGENT_PART) or left <= timedelta(0)
    yield case.finding(
        "at_risk",
        "expires",
        "critical" if urgent else "warning",
        f"{what} {said}: {case.following.apps} are refused from then on; renew it",
        cause=causes.expiry(first.observation.chain, ends),
        command=case.check(),
        sights=late,
        fingerprints=leaf_keys(late),
        mark="expires",
    )


def _is_late(sight: Sighted, lead: timedelta, now: datetime) -> bool:
    ends = first_to_end(sight.observation.chain)
    return ends.not_after - now <= min(lead, lifetime(ends) / _LATE_PART)


def _renewal_due(case: Case, lead: timedelta) -> Iterator[Finding]:
    """A renewal that takes a new key, as cert-manager's does, finds that key not pinned."""
    matching = case.matching
    due = []
    for sight, keys in zip(matching.matched, matching.keys, strict=True):
        own = sight.observation.chain[0]
        if keys == (own.sha256,) and _until_renewal(own, case.now) <= _capped(own, lead):
            due.append(sight)
    if not due or _next_key_is_pinned(case):
        return
    due = in_order(due)
    first = min(due, key=lambda each: each.observation.chain[0].not_after)
    own = first.observation.chain[0]
    left = _until_renewal(own, case.now)
    yield case.finding(
        "at_risk",
        "renewal-due",
        case.by_mode("critical" if left <= URGENT else "warning"),
        f"the certificate of {case.place.name} is due to be renewed before "
        f"{minute(own.not_after)}, and the next key is not pinned: {case.following.apps} are "
        "refused if the renewal changes the key, as cert-manager does each time",
        cause=f"renewal:{causes.expiry(first.observation.chain, own)}",
        command=case.new_backup(),
        sights=due,
        fingerprints=leaf_keys(due),
        mark="renewal-due",
    )


def _until_renewal(own: CertificateSeen, now: datetime) -> timedelta:
    return own.not_after - now - min(lifetime(own) / _RENEWED_PART, _RENEWED)


def _capped(own: CertificateSeen, lead: timedelta) -> timedelta:
    return min(lead, lifetime(own) / _LATE_PART)


def _next_key_is_pinned(case: Case) -> bool:
    """Tell whether a pin waits for a key: one that counts, and that is no old one."""
    here = {fingerprint(c.sha256) for each in case.seen.verified for c in each.observation.chain}
    for pin in case.following.pins.pins:
        if pin.sha256 is None or pin.sha256 in here:
            continue
        if pin.not_after is not None and pin.not_after <= case.now:
            continue
        served = case.by.served.get(str(pin))
        if served is None or case.now - served <= _IN_USE:
            return True
    return False


# -- pins ----------------------------------------------------------------------------------------


def _spare(case: Case) -> Iterator[Finding]:
    """Say what becomes of apps when the key in use is lost: the gravest of three ways to say it."""
    following, name = case.following, case.pattern
    left = _in_force(following.pins, case.now)
    if left > 1 and _has_spare(following.views, case.matching.keys, case.now):
        return
    used = {key for keys in case.matching.keys for key in keys}
    lost = f"if its key is lost, {following.apps} are refused until they get another config"
    severity: Severity = "warning"
    if left == 1:
        later = _later(following.pins, case.now)
        severity = "warning" if later is None else "info"
        code = "one-pin-left"
        after = "" if later is None else f"; the next one counts from {minute(later)} on"
        said = f"one pin of {name} is left that counts, {listed(sorted(used))}: {lost}{after}"
    elif all(each in _backups(following.views) for each in used):
        code = "only-backup"
        said = f"only the backup pin of {name} matches, {listed(sorted(used))}, and there is no "
        said += f"further one: {lost}"
    else:
        code, severity = "no-backup", "info"
        said = f"{name} has no backup pin: {lost}"
    yield case.finding(
        "at_risk", code, case.by_mode(severity), said, cause=f"{code}:{name}",
        command=case.new_backup(), sights=case.matching.matched, fingerprints=sorted(used),
        mark=code,
    )  # fmt: skip


def _in_force(pins: PinSet, now: datetime) -> int:
    if pins.timeless:
        return len(pins.unlimited)
    return len({each.sha256 for each in pins.pins if each.sha256 and each.in_force(now=now)})


def _later(pins: PinSet, now: datetime) -> datetime | None:
    """Return when the next pin begins, if one does."""
    starts = (each.not_before for each in pins.pins if each.sha256 is not None)
    return min((each for each in starts if each is not None and each > now), default=None)


def _backups(views: Sequence[PinView]) -> set[str]:
    return {each.sha256 for each in views if each.backup}


def _has_spare(views: Sequence[PinView], keys: Sequence[tuple[str, ...]], now: datetime) -> bool:
    """Tell whether another pin is a way on: one that is marked so, or of managed roots."""
    used = {each[0] for each in keys}
    for each in views:
        if each.backup and each.sha256 not in used and _may_count(each, now):
            return True
    if any(each.level != "root" for each in views if each.sha256 in used):
        return False
    return any(
        each.level == "root" and each.sha256 not in used and _may_count(each, now) for each in views
    )


def _may_count(view: PinView, now: datetime) -> bool:
    return view.not_after is None or view.not_after > now


def _pin_ends(case: Case, lead: timedelta) -> Iterator[Finding]:
    """Say until when apps get in by what is served now, where another key would have to be."""
    pins, ends = case.following.pins, dict[datetime, list[Sighted]]()
    for sight in case.matching.matched:
        served = {fingerprint(each.sha256) for each in sight.observation.chain}
        end = end_of(PinSet(tuple(p for p in pins.pins if p.sha256 in served)), case.now)
        if end is not None and end - case.now <= lead:
            ends.setdefault(end, []).append(sight)
    if not ends:
        return
    end = min(ends)
    sights, left = in_order(ends[end]), end - case.now
    goes_on = end_of(pins, case.now)
    others = goes_on is None or goes_on > end
    cure = "change the certificate before then" if others else "pin the next key in time"
    yield case.finding(
        "at_risk",
        "pin-ends",
        case.by_mode("critical" if left <= URGENT else "warning"),
        f"the pin of {case.pattern} that matches what {case.place.name} serves ends at "
        f"{minute(end)}, {within(left)}: {case.following.apps} are refused from then on; {cure}",
        cause=f"pin-ends:{min(leaf_keys(sights))}",
        command=case.check() if others else case.new_backup(),
        sights=sights,
        fingerprints=leaf_keys(sights),
        mark="pin-ends",
    )


def _unserved(case: Case) -> Iterator[Finding]:
    """Say which pins may be left over: each is a key by which somebody could get between."""
    days = case.following.settings.unserved
    before = case.now - timedelta(days=days)
    old = [
        each
        for each in case.following.views
        if each.created <= before and not each.backup and each.level != "root"
        and _is_unserved(each, case, before)
    ]  # fmt: skip
    if not old:
        return
    here = {c.sha256 for each in case.seen.verified for c in each.observation.chain}
    left = [each.sha256 for each in old if each.sha256 not in here]
    if not left:
        return
    what = "pins" if len(left) > 1 else "a pin"
    steps = [case.command("pin remove", each) for each in left[:_MOST_REMOVED]]
    yield case.finding(
        "at_risk",
        "unserved-pin",
        "info",
        f"{case.pattern} has {what} that nothing has been seen to serve for {days} days, "
        f"{listed(left)}: whoever has such a key is let in by {case.following.apps}",
        cause=f"unserved-pin:{case.pattern}",
        command=" && ".join(steps),
        fingerprints=left,
        mark="unserved-pin",
    )


def _is_unserved(view: PinView, case: Case, before: datetime) -> bool:
    if view.not_before is not None and view.not_before > before:
        return False
    served = case.by.served.get(view.sha256)
    return _may_count(view, case.now) and (served is None or served <= before)
