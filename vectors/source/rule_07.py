"""Rule 7: no rollback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import documents as d
from .case import PENTEST, Case, Found, accepted, refused, restart, run, start, take
from .documents import DAY, T0
from .keys import compact_json

MAX_VERSION = 2**53 - 1
_API = "api.example.com"
_OTHER = {"api": d.pins("other")}


def cases() -> Iterator[Case]:
    """Give the cases."""
    yield from _configs()
    yield from _same_version()
    yield from _roots()
    yield from _overrides()


def _case(name: str, title: str, *steps: dict[str, Any]) -> Case:
    return Case(rule=7, name=name, title=title, steps=[start(), *steps])


def _configs() -> Iterator[Case]:
    yield _case(
        "upwards",
        "Higher versions are taken, next or not",
        take("config", d.config(2), accepted(1, 2)),
        take("config", d.config(1000), accepted(1, 1000)),
        take("config", d.config(MAX_VERSION), accepted(1, MAX_VERSION)),
    )
    yield _case(
        "downwards",
        "A lower version is refused, also one that was trusted before",
        take("config", d.config(5), accepted(1, 5)),
        take("config", d.config(4), refused(7, 1, 5)),
        take("config", d.config(1), refused(7, 1, 5)),
        restart(accepted(1, 5)),
        take("config", d.config(4), refused(7, 1, 5), note="nor after a restart"),
    )
    later = {"issued": T0 + 30 * DAY, "expires": T0 + 60 * DAY}
    yield _case(
        "downwards-but-later",
        "A later time makes no version newer",
        take("config", d.config(5), accepted(1, 5)),
        take("config", d.config(4, **later), refused(7, 1, 5)),
        take("config", d.config(5, **later), refused(7, 1, 5)),
    )


def _same_version() -> Iterator[Case]:
    payload = d.config_payload(2)
    spaced = compact_json(payload).replace(b'"version":2', b'"version": 2')
    moved = dict(sorted(payload.items()))
    pins = {"lookups": {_API: Found(pattern=_API)}}
    yield _case(
        "same-version",
        "The same version means the same payload bytes",
        take("config", d.config(2), accepted(1, 2, **pins)),
        take("config", d.config(2), accepted(1, 2, **pins), note="the very same"),
        take(
            "config",
            d.config(2, head={"x": "signed again"}),
            accepted(1, 2, **pins),
            note="the same payload under another signature",
        ),
        take("config", d.config(2, pin_sets=_OTHER), refused(7, 1, 2, **pins), note="other pins"),
        take("config", d.config(2, issued=T0 + 1), refused(7, 1, 2, **pins), note="another time"),
        take("config", d.config_of(spaced), refused(7, 1, 2, **pins), note="other white space"),
        take("config", d.config_of(moved), refused(7, 1, 2, **pins), note="another order"),
    )
    yield _case(
        "same-version-as-the-bootstrap",
        "The config of the bootstrap counts as any other",
        take("config", d.config(1), accepted(1, 1)),
        take("config", d.config(1, pin_sets=_OTHER), refused(7)),
    )


def _roots() -> Iterator[Case]:
    yield _case(
        "fast-forward-cured",
        "A higher root_version starts the count anew",
        take("config", d.config(MAX_VERSION), accepted(1, MAX_VERSION)),
        take("config", d.config(6), refused(7, 1, MAX_VERSION)),
        take("root", d.root(2), accepted(2, MAX_VERSION, config_root=1)),
        take("config", d.config(6, root_version=2), accepted(2, 6)),
        take("config", d.config(5, root_version=2), refused(7, 2, 6)),
        take("config", d.config(7, root_version=2), accepted(2, 7)),
    )
    yield _case(
        "old-root-closed",
        "Once a root is trusted, no config of an older one is taken",
        take("root", d.root(2), accepted(2, 1, config_root=1)),
        take("config", d.config(2), refused(7, 2, 1, config_root=1)),
        take("config", d.config(1), refused(7, 2, 1, config_root=1), note="the active one, too"),
        take("config", d.config(1, root_version=2), accepted(2, 1)),
        take("config", d.config(1000), refused(7, 2, 1)),
    )
    kept = d.root(2, roles=d.roles(2, config=d.role("config 1")))
    begin = start(d.bootstrap(kept, d.config(3, root_version=2, by="config 1")), accepted(2, 3))
    steps = [begin, take("config", d.config(4), refused(7, 2, 3))]
    title = "A config from before the root of the bootstrap"
    yield Case(rule=7, name="before-the-bootstrap", title=title, steps=steps)


def _on(version: int) -> Mapping[str, Any]:
    return {"override": version, "lookups": {_API: PENTEST}}


def _overrides() -> Iterator[Case]:
    yield _case(
        "override-upwards",
        "An override of a higher version replaces the one in force",
        take("override", d.override(100), accepted(**_on(100))),
        take("override", d.override(100), accepted(**_on(100)), note="the very same"),
        take("override", d.override(102), accepted(**_on(102))),
        take("override", d.override(101), refused(7, **_on(102))),
        take("override", d.override(100), refused(7, **_on(102))),
        take(
            "override",
            d.override(102, expires=T0 + 2 * DAY),
            refused(7, **_on(102)),
            note="the same version with another payload",
        ),
    )
    yield _case(
        "override-does-not-come-back",
        "What ended, or was ended, is refused when it comes again",
        take("override", d.override(100), accepted(**_on(100))),
        run(DAY, accepted(), now=T0 + DAY),
        take("override", d.override(100), refused(7), now=T0 + DAY),
        take("override", d.override(101), accepted(**_on(101))),
        take("override", d.override(102, domains=[]), accepted(override=102)),
        take("override", d.override(101), refused(7, override=102)),
        restart(accepted(override=102)),
        take("override", d.override(101), refused(7, override=102), note="nor after a restart"),
    )
    yield _case(
        "override-count-anew",
        "A new root starts the count of overrides anew, too",
        take("override", d.override(MAX_VERSION), accepted(**_on(MAX_VERSION))),
        take("override", d.override(100), refused(7, **_on(MAX_VERSION))),
        take("root", d.root(2), accepted(2, 1, config_root=1)),
        take(
            "override",
            d.override(100, root_version=2),
            accepted(2, 1, config_root=1, **_on(100)),
        ),
    )
    yield _case(
        "override-below-config",
        "Versions of overrides are compared with those of overrides alone",
        take("config", d.config(500), accepted(1, 500)),
        take("override", d.override(100), accepted(1, 500, **_on(100))),
        take("config", d.config(501), accepted(1, 501, **_on(100))),
    )
