"""Rule 6: roots advance one version at a time; a config is judged by the root that it names."""

from __future__ import annotations

from collections.abc import Iterator

from . import documents as d
from .case import (
    NOW,
    PENTEST,
    Case,
    accepted,
    needs,
    refused,
    restart,
    start,
    start_refused,
    take,
)
from .documents import DAY, T0

_UNDER_1 = accepted(2, 1, config_root=1)  # root 2 is trusted, the config is still that of root 1


def cases() -> Iterator[Case]:
    """Give the cases."""
    yield from _walks()
    yield from _expiry()
    yield from _configs()
    yield from _kept_keys()
    yield from _overrides()
    yield from _bootstraps()


def _case(name: str, title: str, *steps: dict[str, object]) -> Case:
    return Case(rule=6, name=name, title=title, steps=[start(), *steps])


def _walks() -> Iterator[Case]:
    yield _case(
        "one-by-one",
        "Roots 2, 3 and 4, and then a config under root 4",
        needs(d.config(1, root_version=4), [2, 3, 4]),
        take("root", d.root(2), accepted(2, 1, config_root=1)),
        take("root", d.root(3), accepted(3, 1, config_root=1)),
        take("root", d.root(4), accepted(4, 1, config_root=1)),
        needs(d.config(1, root_version=4), []),
        take("config", d.config(1, root_version=4), accepted(4, 1)),
    )
    yield _case(
        "step-left-out",
        "Root 3 does not follow root 1, whoever signed it",
        take("root", d.root(3, by=["root 1", "root 3"]), refused(6)),
        take("root", d.root(3, by=["root 1", "root 2", "root 3"]), refused(6)),
    )
    yield _case(
        "same-root-again",
        "A root that we have is no step",
        take("root", d.root(1), refused(6)),
        take("root", d.root(2), _UNDER_1),
        take("root", d.root(2), refused(6, 2, 1, config_root=1)),
    )
    yield _case(
        "root-back",
        "An older root, signed anew by the newest key",
        take("root", d.root(2), _UNDER_1),
        take("root", d.root(1, by=["root 1", "root 2"]), refused(6, 2, 1, config_root=1)),
    )
    yield _case(
        "old-keys-after-their-root",
        "Who held root key 1 has no say in root 3",
        take("root", d.root(2), _UNDER_1),
        take("root", d.root(3, by=["root 1", "root 3"]), refused(3, 2, 1, config_root=1)),
        take("root", d.root(3), accepted(3, 1, config_root=1)),
    )


def _expiry() -> Iterator[Case]:
    past = {"issued": T0 - 10 * DAY, "expires": T0 - DAY}
    yield _case(
        "expired-roots",
        "The expiry of a root never stops the walk",
        take("root", d.root(2, **past), _UNDER_1),
        take("root", d.root(3), accepted(3, 1, config_root=1)),
        take("config", d.config(1, root_version=3), accepted(3, 1)),
    )
    yield _case(
        "expired-newest-root",
        "A config under an expired root is taken",
        take("root", d.root(2, **past), _UNDER_1),
        take("config", d.config(1, root_version=2), accepted(2, 1)),
    )
    backwards = d.root(2, issued=T0, expires=T0 - 1)
    yield _case(
        "expires-before-its-issue",
        "Not even a root that expires before its issue stops it",
        take("root", backwards, _UNDER_1),
    )


def _configs() -> Iterator[Case]:
    unknown = d.config(2, root_version=2, by="config 1")
    yield _case(
        "config-under-unknown-root",
        "A config that names a root which is not there yet",
        take("config", unknown, refused(6)),
        needs(unknown, [2]),
        take("config", d.config(1, root_version=2**53 - 1, by="config 1"), refused(6)),
    )
    yield _case(
        "config-by-unknown-root",
        "Its key is not known before its root is",
        take("config", d.config(1, root_version=2), refused(2)),
        take("root", d.root(2), _UNDER_1),
        take("config", d.config(1, root_version=2), accepted(2, 1)),
    )
    yield _case(
        "mix-and-match",
        "The key of one root does not speak under another",
        take("root", d.root(2), _UNDER_1),
        take(
            "config",
            d.config(2, root_version=2, by="config 1"),
            refused(2, 2, 1, config_root=1),
            note="a replaced key names the new root",
        ),
        take(
            "config",
            d.config(2, root_version=1, by="config 2"),
            refused(2, 2, 1, config_root=1),
            note="a new key names the old root",
        ),
        take(
            "config",
            d.config(2, root_version=3, by="config 2"),
            refused(6, 2, 1, config_root=1),
            note="a new key names a root to come",
        ),
    )
    yield _case(
        "between-root-and-config",
        "Each step is stored; until a config under the new root comes, the old one is enforced",
        take("root", d.root(2), _UNDER_1),
        restart(_UNDER_1),
        take("config", d.config(1, root_version=2), accepted(2, 1)),
        restart(accepted(2, 1)),
    )


def _kept_keys() -> Iterator[Case]:
    kept = d.roles(2, config=d.role("config 1"))
    yield _case(
        "config-key-kept",
        "A key that both roots name signs for either, by the root that the config names",
        take("root", d.root(2, roles=kept), _UNDER_1),
        take(
            "config",
            d.config(9, root_version=1),
            refused(7, 2, 1, config_root=1),
            note="under root 1 nothing is taken any more",
        ),
        take("config", d.config(1, root_version=2, by="config 1"), accepted(2, 1)),
    )
    moved = d.roles(2, config=d.role("override 1"), override=d.role("config 1"))
    yield _case(
        "keys-change-roles",
        "A key has the role that the named root gives it",
        take("root", d.root(2, roles=moved), _UNDER_1),
        take("config", d.config(1, root_version=2, by="config 1"), refused(2, 2, 1, config_root=1)),
        take("config", d.config(1, root_version=2, by="override 1"), accepted(2, 1)),
    )
    again = d.roles(3, config=d.role("config 1"))
    yield _case(
        "key-gone-and-back",
        "A key that root 2 left out and root 3 names again",
        take("root", d.root(2), _UNDER_1),
        take("root", d.root(3, roles=again), accepted(3, 1, config_root=1)),
        take(
            "config",
            d.config(1, root_version=2, by="config 1"),
            refused(2, 3, 1, config_root=1),
        ),
        take("config", d.config(1, root_version=3, by="config 1"), accepted(3, 1)),
    )


def _overrides() -> Iterator[Case]:
    pentest = {"api.example.com": PENTEST}
    yield _case(
        "override-under-newest-root",
        "An override names the newest root",
        take("override", d.override(root_version=2, by="override 1"), refused(6)),
        take("root", d.root(2), _UNDER_1),
        take("config", d.config(1, root_version=2), accepted(2, 1)),
        take(
            "override",
            d.override(101, root_version=1),
            refused(2, 2, 1),
            note="the key of root 1 has no role any more",
        ),
        take("override", d.override(101, root_version=1, by="override 2"), refused(6, 2, 1)),
        take(
            "override",
            d.override(101, root_version=2),
            accepted(2, 1, override=101, lookups=pentest),
        ),
    )


def _bootstraps() -> Iterator[Case]:
    fifth = d.bootstrap(d.root(5), d.config(3, root_version=5))
    steps = [
        start(fifth, accepted(5, 3)),
        take("root", d.root(6), accepted(6, 3, config_root=5)),
        take("config", d.config(1, root_version=6), accepted(6, 1)),
    ]
    title = "A bootstrap may begin with any root"
    yield Case(rule=6, name="bootstrap-of-root-5", title=title, steps=steps)
    steps = [
        start_refused(6, d.bootstrap(config_raw=d.config(root_version=2, by="config 1"))),
        start_refused(6, d.bootstrap(d.root(2), d.config(root_version=1, by="config 2"))),
        start_refused(2, d.bootstrap(d.root(2), d.config(root_version=1))),
    ]
    title = "The config of a bootstrap names the root of the bootstrap"
    yield Case(rule=6, name="bootstrap-root-version", title=title, steps=steps)
    alone = d.root(5, by=["root 5"])
    steps = [start(d.bootstrap(alone, d.config(root_version=5)), accepted(5, 1), now=NOW)]
    title = "The root of a bootstrap needs its own threshold alone"
    yield Case(rule=6, name="bootstrap-root-signed-once", title=title, steps=steps)
