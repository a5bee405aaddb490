"""Rule 8: time never blocks an update and never unpins.

Nothing is refused for its time; what rule 8 refuses are connections to a domain that asked for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import documents as d
from .case import API, NOW, WILD, Case, Found, accepted, connect, refused, restart, run, start, take
from .documents import DAY, T0
from .keys import fingerprint

_API = "api.example.com"
_WILD = "a.wild.example.com"
_LEAF = ["api current", "issuing CA", "root CA"]
_EXPIRES = T0 + 14 * DAY
_GRACE = 7 * DAY
_FAR = 4_102_444_800  # 2100-01-01


def cases() -> Iterator[Case]:
    """Give the cases."""
    yield from _staleness()
    yield from _documents()
    yield from _clock()
    yield from _latest_issue()
    yield from _pin_limits()


def _case(name: str, title: str, *steps: dict[str, Any]) -> Case:
    return Case(rule=8, name=name, title=title, steps=steps)


def _later(now: int, note: str = "", **expect: Any) -> dict[str, Any]:
    return run(0, accepted(**expect), now=now, note=note)


def _staleness() -> Iterator[Case]:
    yield _case(
        "stale-enforced",
        "An expired config is stale, and its pins are enforced as before",
        start(),
        _later(_EXPIRES - 1, "the last second"),
        _later(_EXPIRES, "expired", stale=True),
        _later(_EXPIRES + _GRACE - 1, "within its grace", stale=True),
        _later(_EXPIRES + _GRACE, "past its grace", stale=True, past_grace=True),
        connect(_API, _LEAF, now=_EXPIRES + 1000 * DAY),
        connect(_API, ["other", "issuing CA"], now=_EXPIRES + 1000 * DAY, because="mismatch"),
    )
    refusing = [d.domain(stale="refuse"), d.domain("*.wild.example.com")]
    found = {"lookups": {_API: Found(pattern=_API, stale="refuse"), _WILD: WILD}}
    late = _EXPIRES + _GRACE
    yield _case(
        "stale-refused",
        "A domain with stale: refuse is refused after the grace period, others are not",
        start(d.bootstrap(config_raw=d.config(domains=refusing)), accepted(**found)),
        connect(_API, _LEAF, now=_EXPIRES - 1),
        connect(_API, _LEAF, now=_EXPIRES, note="stale, within its grace"),
        connect(_API, _LEAF, now=late - 1),
        connect(_API, _LEAF, now=late, because="stale"),
        connect(_API, ["other"], now=late, because="stale", note="whatever the chain is"),
        connect(_WILD, _LEAF, now=late),
        connect("www.example.com", ["other"], now=late, note="a host that is not listed"),
        take(
            "config",
            d.config(2, issued=late, expires=late + DAY, domains=refusing),
            accepted(1, 2, **found),
            now=late,
        ),
        connect(_API, _LEAF, now=late, note="a newer config cures it"),
    )
    modes = [
        d.domain(stale="refuse", mode="report"),
        d.domain("*.wild.example.com", stale="refuse", mode="off"),
    ]
    lookups = {
        _API: Found(pattern=_API, stale="refuse", mode="report"),
        _WILD: Found(pattern="*.wild.example.com", stale="refuse", mode="off"),
    }
    yield _case(
        "stale-and-mode",
        "stale: refuse holds in report mode as well; off is off",
        start(d.bootstrap(config_raw=d.config(domains=modes)), accepted(lookups=lookups)),
        connect(_API, ["other"], now=NOW, reported=True),
        connect(_API, _LEAF, now=late, because="stale"),
        connect(_WILD, ["other"], now=NOW),
        connect(_WILD, ["other"], now=late),
    )
    no_grace = d.config(stale_grace=0, domains=refusing)
    yield _case(
        "no-grace",
        "A grace period of nothing",
        start(d.bootstrap(config_raw=no_grace), accepted(**found)),
        connect(_API, _LEAF, now=_EXPIRES - 1),
        connect(_API, _LEAF, now=_EXPIRES, because="stale"),
        _later(_EXPIRES, stale=True, past_grace=True, **found),
    )


def _documents() -> Iterator[Case]:
    old = d.bootstrap()
    much_later = T0 + 400 * DAY
    yield _case(
        "bootstrap-expired",
        "An app that was never online for a year starts, and enforces its pins",
        start(old, accepted(stale=True, past_grace=True), now=much_later),
        connect(_API, _LEAF, now=much_later),
        connect(_API, ["other"], now=much_later, because="mismatch"),
    )
    expired = {"issued": T0 - 30 * DAY, "expires": T0 - 16 * DAY}
    yield _case(
        "expired-config",
        "An expired config of a higher version is taken: the pins it replaces are older still",
        start(),
        take("config", d.config(2, **expired), accepted(1, 2, stale=True, past_grace=True)),
        take("config", d.config(1), refused(7, 1, 2, stale=True, past_grace=True)),
        take("config", d.config(3), accepted(1, 3)),
    )
    yield _case(
        "expires-before-its-issue",
        "A config that expires before its issue is taken, and is stale",
        start(),
        take("config", d.config(2, expires=T0 - 1), accepted(1, 2, stale=True)),
    )
    future = {"issued": _FAR, "expires": _FAR + 14 * DAY}
    yield _case(
        "issued-in-the-future",
        "A config from the future is taken, and the clock reported wrong",
        start(),
        take("config", d.config(2, **future), accepted(1, 2, clock_wrong=True)),
        connect(_API, _LEAF),
    )
    emergency = {"pin_sets": {"api": d.pins("emergency")}}
    found = {"lookups": {_API: Found(pattern=_API, pins=["emergency"])}}
    for name, now, expect in (
        ("1970", 0, {"clock_wrong": True}),
        ("2100", _FAR, {"stale": True, "past_grace": True}),
    ):
        yield _case(
            f"emergency-in-{name}",
            f"A change of pins arrives whatever the clock says, here the year {name}",
            start(None, accepted(**expect), now=now),
            take("config", d.config(2, **emergency), accepted(1, 2, **expect, **found), now=now),
            connect(_API, ["emergency"], now=now),
            connect(_API, _LEAF, now=now, because="mismatch"),
        )


def _clock() -> Iterator[Case]:
    yield _case(
        "clock-tolerance",
        "Up to five minutes behind the latest issue a clock is right",
        start(now=T0 - 300),
        _later(T0 - 301, clock_wrong=True),
        _later(0, clock_wrong=True),
        _later(T0),
    )


def _latest_issue() -> Iterator[Case]:
    day20 = T0 + 20 * DAY
    yield _case(
        "clock-set-back",
        "A clock that is set back makes no expired config fresh",
        start(),
        take(
            "config",
            d.config(2, issued=day20, expires=day20 + DAY),
            accepted(1, 2, clock_wrong=True),
        ),
        take(
            "config",
            d.config(3),
            accepted(1, 3, stale=True, clock_wrong=True),
            note="issued earlier, and expired by the latest issue accepted",
        ),
        restart(accepted(1, 3, stale=True, clock_wrong=True), note="which is stored"),
    )
    yield _case(
        "new-root-resets-time",
        "A new root starts trusted time anew, which cures a config from the future",
        start(),
        take(
            "config",
            d.config(2, issued=_FAR, expires=_FAR + DAY),
            accepted(1, 2, clock_wrong=True),
        ),
        take(
            "config",
            d.config(3),
            accepted(1, 3, clock_wrong=True, stale=True, past_grace=True),
        ),
        take("root", d.root(2), accepted(2, 3, config_root=1)),
        take("config", d.config(1, root_version=2), accepted(2, 1)),
    )
    yield _case(
        "new-root-resets-time-for-good",
        "Nor does the old config from the future count again after a restart",
        start(),
        take(
            "config",
            d.config(2, issued=_FAR, expires=_FAR + DAY),
            accepted(1, 2, clock_wrong=True),
        ),
        take("root", d.root(2), accepted(2, 2, config_root=1)),
        restart(accepted(2, 2, config_root=1)),
    )
    yield _case(
        "root-from-the-future",
        "The issue of a root counts as well",
        start(),
        take(
            "root",
            d.root(2, issued=_FAR, expires=_FAR + DAY),
            accepted(2, 1, config_root=1, clock_wrong=True, stale=True, past_grace=True),
        ),
        take("root", d.root(3), accepted(3, 1, config_root=1)),
    )
    override = d.override(issued=_FAR, expires=_FAR + DAY, domains=[])
    yield _case(
        "override-from-the-future",
        "So does the issue of an override",
        start(),
        take(
            "override",
            override,
            accepted(override=100, clock_wrong=True, stale=True, past_grace=True),
        ),
    )
    late_root = d.root(issued=T0 + DAY)
    yield _case(
        "bootstrap-root-later",
        "Of a bootstrap, the later issue counts",
        start(d.bootstrap(late_root), accepted(clock_wrong=True)),
        _later(T0 + DAY - 300),
    )


def _limits(**limits: int) -> Mapping[str, Any]:
    timed = {"sha256": fingerprint("api next"), **limits}
    return {"pin_sets": {"api": [*d.pins("api current"), timed]}}


def _pin_limits() -> Iterator[Case]:
    day5, day6 = T0 + 5 * DAY, T0 + 6 * DAY
    both = {"lookups": {_API: API}}
    one = {"lookups": {_API: Found(pattern=_API, pins=["api current"])}}
    yield _case(
        "pin-until",
        "not_after is the first second at which a pin is no longer in force",
        start(d.bootstrap(config_raw=d.config(**_limits(not_after=day5))), accepted(**both)),
        _later(day5 - 1, **both),
        connect(_API, ["api next"], now=day5 - 1),
        _later(day5, **one),
        connect(_API, ["api next"], now=day5, because="mismatch"),
    )
    yield _case(
        "pin-from",
        "not_before is the first second at which a pin is in force",
        start(d.bootstrap(config_raw=d.config(**_limits(not_before=day5))), accepted(**one)),
        _later(day5 - 1, **one),
        connect(_API, ["api next"], now=day5 - 1, because="mismatch"),
        _later(day5, **both),
        connect(_API, ["api next"], now=day5),
    )
    ended = d.config(2, issued=day6, expires=day6 + DAY, **_limits(not_after=day5))
    yield _case(
        "pin-and-clock-set-back",
        "Limits of pins are judged by trusted time: no clock brings an ended pin back",
        start(),
        take("config", ended, accepted(1, 2, clock_wrong=True, **one)),
        connect(_API, ["api next"], because="mismatch"),
        connect(_API, ["api next"], now=0, because="mismatch"),
        connect(_API, ["api current"], now=0),
    )
