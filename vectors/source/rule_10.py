"""Rule 10: what is refused changes nothing; stored state is judged by the same rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from . import documents as d
from .case import (
    API,
    WILD,
    Case,
    Found,
    accepted,
    refused,
    restart,
    start,
    stored,
    take,
)
from .documents import DAY, T0
from .keys import compact_json, kid

_API = "api.example.com"
_WILD = "a.wild.example.com"
_ALL = {"lookups": {_API: API, _WILD: WILD, "www.example.com": None}}
_OTHER_PINS = {"api": d.pins("other")}


def cases() -> Iterator[Case]:
    """Give the cases."""
    yield from _unchanged()
    yield from _own_store()
    yield from _stored_roots()
    yield from _stored_config()
    yield from _updates()


def _case(name: str, title: str, *steps: dict[str, Any], begin: Any = None) -> Case:
    return Case(rule=10, name=name, title=title, steps=[begin or start(), *steps])


def _tampered(raw: str, other: str) -> str:
    """Return a compact JWS with the signature of another."""
    return f"{raw.rpartition('.')[0]}.{other.rpartition('.')[2]}"


def _unchanged() -> Iterator[Case]:
    off = {"domains": [d.domain(mode="off")]}
    future = {"issued": T0 + 900 * DAY, "expires": T0 + 999 * DAY}
    yield _case(
        "refused-changes-nothing",
        "Neither pins nor versions nor trusted time come from what is refused",
        take("config", d.config(5), accepted(1, 5, **_ALL)),
        take("config", d.config(9, by="stranger", **off, **future), refused(2, 1, 5, **_ALL)),
        take("config", _tampered(d.config(9, **off), d.config(8)), refused(3, 1, 5, **_ALL)),
        take("config", d.config(9, mode=0, critical=["mode"], **off), refused(4, 1, 5, **_ALL)),
        take("config", d.config(9, stream="beta", **off, **future), refused(5, 1, 5, **_ALL)),
        take("config", d.config(4, **off, **future), refused(7, 1, 5, **_ALL)),
        take("root", d.root(2, by=["root 1"], **future), refused(3, 1, 5, **_ALL)),
        take("root", d.root(3, by=["root 1", "root 3"], **future), refused(6, 1, 5, **_ALL)),
        take("override", d.override(installation=kid("stranger")), refused(9, 1, 5, **_ALL)),
        take("config", d.config(6), accepted(1, 6, **_ALL), note="and what is good is taken"),
        take("override", d.override(domains=[]), accepted(1, 6, override=100, **_ALL)),
        restart(accepted(1, 6, override=100, **_ALL)),
    )


def _own_store() -> Iterator[Case]:
    yield _case(
        "restart",
        "What was trusted is trusted after a restart",
        restart(accepted(**_ALL)),
        take("config", d.config(2), accepted(1, 2, **_ALL)),
        restart(accepted(1, 2, **_ALL)),
        take("root", d.root(2), accepted(2, 2, config_root=1)),
        restart(accepted(2, 2, config_root=1)),
        take("config", d.config(1, root_version=2), accepted(2, 1)),
        take("root", d.root(3), accepted(3, 1, config_root=2)),
        restart(accepted(3, 1, config_root=2)),
        take("config", d.config(1, root_version=3), accepted(3, 1)),
        restart(accepted(3, 1)),
    )
    yield _case(
        "restart-after-a-long-time",
        "60 days offline: stale, past its grace, and enforced",
        take("config", d.config(2), accepted(1, 2, **_ALL)),
        restart(accepted(1, 2, stale=True, past_grace=True, **_ALL), now=T0 + 60 * DAY),
    )


def _stored_roots() -> Iterator[Case]:
    second, third = d.root(2), d.root(3)
    newest = d.config(7, root_version=3)
    chain = [d.root(), second, third]
    tampered = json.loads(third)
    tampered["payload"] = json.loads(d.root(3, issued=T0 + 1))["payload"]
    foreign = d.root(1, issued=T0 + 1)
    refusals = [
        (10, "no root at all", stored([], newest)),
        (10, "without the root of the bootstrap", stored(chain[1:], newest)),
        (10, "another root of the same version", stored([foreign, second, third], newest)),
        (6, "a root left out", stored([chain[0], d.root(3, by=["root 1", "root 3"])], newest)),
        (3, "a root left out, its keys unknown", stored([chain[0], third], newest)),
        (3, "a tampered root", stored([*chain[:2], compact_json(tampered).decode()], newest)),
        (3, "a root below its threshold", stored([*chain[:2], d.root(3, by=["root 2"])], newest)),
        (6, "the same root twice", stored([chain[0], *chain], newest)),
        (5, "a root of another account", stored([chain[0], d.root(2, account="other")], newest)),
    ]
    yield _case(
        "stored-roots",
        "A store whose chain of roots breaks a rule is not used; the bootstrap replaces it",
        *[restart(refused(rule, **_ALL), stored=what, note=note) for rule, note, what in refusals],
        restart(accepted(3, 7, **_ALL), stored=stored(chain, newest), note="as it should be"),
    )


def _stored_config() -> Iterator[Case]:
    chain = [d.root(), d.root(2)]
    off = [d.domain(mode="off")]
    refusals = [
        (3, "a wrong signature", _tampered(d.config(9, domains=off), d.config(8))),
        (2, "the key of another role", d.config(9, by="override 1", domains=off)),
        (2, "a key of no root", d.config(9, by="stranger", domains=off)),
        (2, "the key of a later root", d.config(9, by="config 2", domains=off)),
        (5, "another account", d.config(9, account="other", domains=off)),
        (5, "another stream", d.config(9, stream="beta", domains=off)),
        (6, "a root that is not stored", d.config(9, root_version=3, by="config 2", domains=off)),
        (4, "an empty pin set", d.config(9, pin_sets={"api": []})),
    ]
    yield _case(
        "stored-config",
        "A stored config that breaks a rule is not used, nor what is stored beside it",
        *[
            restart(refused(rule, **_ALL), stored=stored(chain, raw), note=note)
            for rule, note, raw in refusals
        ],
        restart(
            accepted(2, 9, config_root=1, **_ALL),
            stored=stored(chain, d.config(9)),
            note="as it should be",
        ),
    )
    yield _case(
        "stored-config-older",
        "A bootstrap with a newer config than the stored one, after an update of the app",
        restart(accepted(1, 5, **_ALL), stored=stored(config=d.config(4))),
        restart(
            accepted(1, 5, **_ALL),
            stored=stored(config=d.config(5, pin_sets=_OTHER_PINS)),
            note="of the same version with other content",
        ),
        restart(accepted(1, 6, **_ALL), stored=stored(config=d.config(6))),
        begin=start(d.bootstrap(config_raw=d.config(5)), accepted(1, 5, **_ALL)),
    )
    time = stored(latest_issued=T0 + 15 * DAY)
    yield _case(
        "stored-time",
        "The latest issue accepted is stored, and counts",
        restart(accepted(stale=True, clock_wrong=True, **_ALL), stored=time),
        restart(accepted(stale=True, clock_wrong=True, **_ALL)),
    )


def _updates() -> Iterator[Case]:
    newer = d.bootstrap(config_raw=d.config(3))
    yield _case(
        "app-update",
        "An update of the app brings a newer config of the same root",
        take("config", d.config(2), accepted(1, 2)),
        restart(accepted(1, 3), bootstrap=newer),
        take("config", d.config(2), refused(7, 1, 3)),
    )
    yield _case(
        "app-update-behind",
        "Or an older one than what is stored, which stays",
        take("config", d.config(9), accepted(1, 9)),
        restart(accepted(1, 9), bootstrap=newer),
    )
    walked = [
        take("root", d.root(2), accepted(2, 1, config_root=1)),
        take("root", d.root(3), accepted(3, 1, config_root=1)),
        take("config", d.config(4, root_version=3), accepted(3, 4)),
    ]
    second = d.bootstrap(d.root(2), d.config(8, root_version=2))
    yield _case(
        "app-update-with-a-known-root",
        "A bootstrap with a root of the stored chain: what came after it stays",
        *walked,
        restart(accepted(3, 4), bootstrap=second),
    )
    signed_again = d.root(2, by=["root 2", "root 1"])
    again = d.bootstrap(signed_again, d.config(8, root_version=2))
    yield _case(
        "app-update-with-a-root-signed-again",
        "The same payload under other signatures is the same root",
        *walked,
        restart(accepted(3, 4), bootstrap=again),
    )
    fourth = d.bootstrap(d.root(4), d.config(1, root_version=4))
    yield _case(
        "app-update-with-a-newer-root",
        "A bootstrap with a root that the store does not know replaces it",
        *walked,
        restart(refused(10, 4, 1), bootstrap=fourth),
        restart(accepted(4, 1)),
    )
    others = {"lookups": {_API: Found(pattern=_API, pins=["other"])}}
    lost = d.root(
        1, roles=d.roles(root=d.role("root new"), config=d.role("config new")), by=["root new"]
    )
    rescue = d.bootstrap(lost, d.config(1, by="config new", pin_sets=_OTHER_PINS))
    yield _case(
        "app-update-after-a-stolen-root-key",
        "A bootstrap with another root of the same version: what the thief signed is gone",
        *walked,
        restart(refused(10, 1, 1, **others), bootstrap=rescue),
        restart(accepted(1, 1, **others)),
        take("root", d.root(2), refused(3, 1, 1, **others)),
    )
    partly = d.bootstrap(d.root(2), d.config(1, root_version=2))
    yield _case(
        "app-update-between-root-and-config",
        "A stored config from before the root of the new bootstrap gives way to the bootstrap's",
        take("config", d.config(9), accepted(1, 9)),
        take("root", d.root(2), accepted(2, 9, config_root=1)),
        restart(accepted(2, 1), bootstrap=partly),
    )
    yield _case(
        "app-downgrade",
        "An older app may not know what a newer one stored, and begins with its own bootstrap",
        restart(refused(10), bootstrap=d.bootstrap()),
        begin=start(second, accepted(2, 8)),
    )
