"""Rule 9: overrides are for one installation, for listed hosts, and end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import documents as d
from .case import (
    API,
    NOW,
    PENTEST,
    WILD,
    Case,
    Found,
    accepted,
    connect,
    refused,
    restart,
    run,
    start,
    stored,
    take,
)
from .documents import DAY, HOUR, T0
from .keys import kid

_API = "api.example.com"
_A = "a.wild.example.com"
_DEEP = "b.a.wild.example.com"
_BEFORE: Mapping[str, Any] = {"lookups": {_API: API, _A: WILD}}
_ON: Mapping[str, Any] = {"override": 100, "lookups": {_API: PENTEST, _A: WILD}}
_LONG: Mapping[str, Any] = {"issued": T0 - 30 * DAY, "expires": T0 + 60 * DAY}


def cases() -> Iterator[Case]:
    """Give the cases."""
    yield from _bounds()
    yield from _lookups()
    yield from _delivery()
    yield from _lifetime()
    yield from _endings()
    yield from _restarts()


def _case(name: str, title: str, *steps: dict[str, Any], begin: Any = None) -> Case:
    return Case(rule=9, name=name, title=title, steps=[begin or start(), *steps])


def _of(*patterns: str, **changes: Any) -> str:
    """Return an override of these patterns."""
    domains = [d.domain(pattern, "pentest", mode="report") for pattern in patterns]
    return d.override(domains=domains, **changes)


def _pentest(pattern: str) -> Found:
    return Found(pattern=pattern, pin_set="pentest", mode="report", pins=["pentest"])


def _bounds() -> Iterator[Case]:
    yield _case(
        "ours",
        "An override for our key, of a host that the config lists",
        take("override", d.override(), accepted(**_ON)),
        connect(_API, ["pentest"]),
        connect(_API, ["other"], reported=True),
        connect(_A, ["pentest"], because="mismatch", note="other hosts stay as they are"),
        connect(_A, ["api current"]),
    )
    yield _case(
        "another-installation",
        "An override for another key",
        take("override", d.override(installation=kid("installation 2")), refused(9)),
        take("override", d.override(installation="A" * 43), refused(9)),
    )
    unlisted = {
        "not listed": "www.example.com",
        "above a wildcard": "wild.example.com",
        "a wildcard wider than the config's": "*.example.com",
        "a wildcard below a host": "*.api.example.com",
        "an address": "192.0.2.1",
    }
    yield _case(
        "not-listed",
        "An override names only hosts that the config lists",
        *[take("override", _of(p), refused(9, **_BEFORE), note=n) for n, p in unlisted.items()],
        take("override", _of(_API, "www.example.com"), refused(9, **_BEFORE), note="one of two"),
    )


def _lookups() -> Iterator[Case]:
    lookups = {
        _A: _pentest(_A),
        _DEEP: WILD,
        _API: API,
    }
    yield _case(
        "host-within-wildcard",
        "A host that a wildcard of the config covers",
        take("override", _of(_A), accepted(override=100, lookups=lookups)),
    )
    narrow = "*.a.wild.example.com"
    lookups = {_A: WILD, _DEEP: _pentest(narrow)}
    yield _case(
        "wildcard-within-wildcard",
        "A wildcard that a wildcard of the config covers",
        take("override", _of(narrow), accepted(override=100, lookups=lookups)),
    )
    lookups = {_A: _pentest("*.wild.example.com"), _API: API}
    yield _case(
        "same-wildcard",
        "A wildcard of the config itself",
        take("override", _of("*.wild.example.com"), accepted(override=100, lookups=lookups)),
    )
    exact = d.config(domains=[d.domain("*.wild.example.com"), d.domain(_DEEP)])
    yield _case(
        "before-a-longer-pattern",
        "What an override covers it decides, also where the config has a longer pattern",
        take(
            "override",
            _of("*.wild.example.com"),
            accepted(override=100, lookups={_DEEP: _pentest("*.wild.example.com")}),
        ),
        begin=start(
            d.bootstrap(config_raw=exact), accepted(lookups={_DEEP: Found(pattern=_DEEP), _A: WILD})
        ),
    )
    both = {_A: _pentest(_A), _DEEP: _pentest("*.wild.example.com")}
    yield _case(
        "longest-in-override",
        "Among the patterns of an override the longest wins",
        take("override", _of("*.wild.example.com", _A), accepted(override=100, lookups=both)),
    )
    strict = d.override(domains=[d.domain(pin_set="pentest")])
    yield _case(
        "enforced",
        "An override may enforce pins of its own; those of the config do not hold beside them",
        take(
            "override",
            strict,
            accepted(
                override=100,
                lookups={_API: Found(pattern=_API, pin_set="pentest", pins=["pentest"])},
            ),
        ),
        connect(_API, ["pentest"]),
        connect(_API, ["api current"], because="mismatch"),
    )


def _delivery() -> Iterator[Case]:
    listed = ["pins.example.net", "recovery.example.org", "*.example.net", "*.cdn.example.com"]
    urls = {
        "urls": ["https://pins.example.net:8443/livepin"],
        "recovery_urls": ["http://RECOVERY.example.org.", "https://x.cdn.example.com/a"],
    }
    config = d.config(
        domains=[d.domain(pattern) for pattern in listed], delivery=d.delivery(**urls)
    )
    found: Mapping[str, Any] = {
        "lookups": {"www.example.net": Found(pattern="*.example.net")},
    }
    patterns = {
        "a delivery host": "pins.example.net",
        "a recovery host": "recovery.example.org",
        "a wildcard over a delivery host": "*.example.net",
        "a wildcard over a recovery host": "*.cdn.example.com",
    }
    yield _case(
        "delivery-host",
        "An override never touches delivery, even where the config lists its hosts",
        *[take("override", _of(p), refused(9, **found), note=n) for n, p in patterns.items()],
        take(
            "override",
            _of("www.example.net"),
            accepted(override=100, lookups={"www.example.net": _pentest("www.example.net")}),
            note="a neighbour",
        ),
        begin=start(d.bootstrap(config_raw=config), accepted(**found)),
    )


def _lifetime() -> Iterator[Case]:
    yield _case(
        "seven-days",
        "At most seven days",
        take("override", d.override(100, expires=T0 + 7 * DAY + 1), refused(9, **_BEFORE)),
        take("override", d.override(100, issued=T0 - 7 * DAY, expires=T0 + 1), refused(9)),
        take("override", d.override(100, expires=T0 + 365 * DAY), refused(9, **_BEFORE)),
        take("override", d.override(100, expires=T0 + 7 * DAY), accepted(**_ON)),
    )
    for name, title, changes in (
        ("ended-before", "An override that has ended", {"issued": T0 - DAY, "expires": NOW}),
        ("without-life", "An override that ends when it begins", {"expires": T0}),
        ("negative-life", "An override that ends before it begins", {"expires": T0 - 1}),
    ):
        yield _case(
            name,
            f"{title} is dropped at once, and counts",
            take("override", d.override(100, **changes), accepted(**_BEFORE)),
            take("override", d.override(99), refused(7, **_BEFORE)),
        )


def _endings() -> Iterator[Case]:
    on = take("override", d.override(), accepted(**_ON))
    yield _case(
        "ends-by-the-clock",
        "It ends when its time is over, also while the app does not run",
        on,
        run(0, accepted(**_ON), now=T0 + DAY - 1),
        run(0, accepted(**_BEFORE), now=T0 + DAY),
        run(0, accepted(**_BEFORE), now=NOW, note="for good"),
    )
    yield _case(
        "ends-by-run-time",
        "A clock that stands still prolongs nothing",
        on,
        run(12 * HOUR, accepted(**_ON), now=NOW),
        run(12 * HOUR - 1, accepted(**_ON), now=NOW),
        run(1, accepted(**_BEFORE), now=NOW),
    )
    issued = {"issued": T0 + DAY, "expires": T0 + 15 * DAY}
    yield _case(
        "ends-by-a-later-issue",
        "A config that was issued after its end ends it, whatever the clock says",
        on,
        take("config", d.config(101, **issued), accepted(1, 101, clock_wrong=True, **_ON)),
        run(0, accepted(1, 101, clock_wrong=True, **_BEFORE), now=NOW),
    )
    yield _case(
        "ended-early",
        "A higher, empty override ends one early",
        on,
        take("override", d.override(101, domains=[]), accepted(override=101)),
        connect(_API, ["api current"]),
        connect(_API, ["pentest"], because="mismatch"),
    )
    yield _case(
        "config-within-bounds",
        "A newer config that still lists its hosts leaves it in force",
        on,
        take("config", d.config(101), accepted(1, 101, **_ON)),
        take(
            "config",
            d.config(102, domains=[d.domain(mode="off")]),
            accepted(1, 102, override=100, lookups={_API: PENTEST, _A: None}),
        ),
    )
    yield _case(
        "config-without-its-host",
        "A newer config that does not list its hosts any more ends it",
        on,
        take(
            "config",
            d.config(101, domains=[d.domain("*.wild.example.com")]),
            accepted(1, 101, lookups={_API: None, _A: WILD}),
        ),
        take("config", d.config(102), accepted(1, 102, **_BEFORE), note="for good"),
    )
    moved = d.delivery(urls=["https://api.example.com"])
    yield _case(
        "config-delivers-from-its-host",
        "So does one that has its documents delivered from there",
        on,
        take("config", d.config(101, delivery=moved), accepted(1, 101, **_BEFORE)),
    )
    yield _case(
        "new-root",
        "It ends with the root that it names",
        on,
        take("root", d.root(2), accepted(2, 1, config_root=1, **_BEFORE)),
    )


def _restarts() -> Iterator[Case]:
    on = take("override", d.override(), accepted(**_ON))
    yield _case(
        "restart",
        "It outlives a restart, and so does the run time that it has used up",
        on,
        restart(accepted(**_ON)),
        run(12 * HOUR, accepted(**_ON), now=NOW),
        restart(accepted(**_ON)),
        run(12 * HOUR - 1, accepted(**_ON), now=NOW),
        restart(accepted(**_ON)),
        run(1, accepted(**_BEFORE), now=NOW),
        restart(accepted(**_BEFORE)),
    )
    yield _case(
        "restart-after-its-end",
        "What ended while the app did not run is not in force when it starts",
        on,
        restart(accepted(**_BEFORE), now=T0 + DAY),
    )
    yield _case(
        "restart-without-its-key",
        "An installation that lost its key has no override, and lost nothing else",
        take("config", d.config(2), accepted(1, 2, **_BEFORE)),
        take("override", d.override(), accepted(1, 2, **_ON)),
        restart(accepted(1, 2, **_BEFORE), installation=None),
    )
    yield _case(
        "restart-with-another-key",
        "Nor has one that made a new key",
        on,
        restart(accepted(**_BEFORE), installation=kid("installation 2")),
        take("override", d.override(101), refused(9, **_BEFORE)),
        take(
            "override",
            d.override(101, installation=kid("installation 2")),
            accepted(override=101, lookups=_ON["lookups"]),
        ),
    )
    raw = d.override()
    signing_input, _, _ = raw.rpartition(".")
    other = d.override(99).rpartition(".")[2]
    kept = {"override": raw, "override_floor": 100}
    steps = [
        restart(accepted(**_ON), stored=stored(**kept, override_used=DAY - 1)),
        restart(accepted(**_BEFORE), stored=stored(**kept, override_used=DAY), note="used up"),
        restart(
            accepted(**_BEFORE),
            stored=stored(override=f"{signing_input}.{other}", override_floor=100),
            note="with a wrong signature",
        ),
        restart(
            accepted(**_BEFORE),
            stored=stored(override=_of("www.example.com"), override_floor=100),
            note="of a host that is not listed",
        ),
        take(
            "override", d.override(99), refused(7, **_BEFORE), note="the versions seen still count"
        ),
    ]
    yield _case(
        "stored", "A stored override is judged anew; if it is refused, it alone is dropped", *steps
    )
