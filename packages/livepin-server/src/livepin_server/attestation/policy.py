"""The appraisal policy of an account: what an app must prove, and what its signals weigh."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from livepin.documents.token_request import is_app_name
from msgspec import Meta, Struct, field

from .attested import LEVELS, Level

# Each weight is of one kind of signal, however often it is found; 100 together refuse. Fatal is
# what no ordinary program does: code put into the process, or put in place of the SDK's own.
SHIPPED: Mapping[str, Weight] = {
    "injected_code": "fatal",
    "replaced_sdk_function": "fatal",
    "changed_code": "fatal",
    "debugger": 60,
    "preloaded_library": 30,
    "key_log": 30,
    "replaced_ssl_function": 20,
    "anonymous_code": 10,
    "tracing": 10,
    "import_hook": 5,
    "ca_override": 5,
    "proxy": 0,
    "unchecked": 0,
    "refused_evidence": 0,
}
DAY = 86400  # seconds
MOST_APPS = 200
MOST_WEIGHT = 1000

Weight = int | Literal["fatal"]
Mode = Literal["enforce", "report"]

_SIGNAL = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")


class AppPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one app must prove beyond what every app must. None: as every app.

    `release`: its measured files must be those of a registered release.
    """

    level: Level | None = None
    release: bool = False
    mode: Mode | None = None


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How evidence is appraised; what is not said is as it is shipped.

    `level` is what every app must prove; None is nothing. A proof counts for `fresh` seconds, but
    for `hardware_key`, and, where it may be another device's, only with `relayable`. `signals` are
    weights that differ from `SHIPPED`; a sum of at least `threshold` refuses, and so does one that
    is fatal. `other_apps` are those that are not among `apps`, where any are: whoever may call
    himself another app must not escape what his own must prove. In `report` mode nobody is
    refused, and what would be is told.
    """

    mode: Mode = "enforce"
    level: Level | None = None
    fresh: Annotated[int, Meta(ge=60, le=365 * DAY)] = DAY
    relayable: bool = False
    signals: Annotated[dict[str, Weight], Meta(max_length=100)] = field(default_factory=dict)
    threshold: Annotated[int, Meta(ge=1, le=10_000)] = 100
    apps: Annotated[dict[str, AppPolicy], Meta(max_length=MOST_APPS)] = field(default_factory=dict)
    other_apps: Literal["refuse", "take"] = "refuse"

    def check(self) -> None:
        """Look at the names and weights in it.

        Raises:
            ValueError: one that no signal, or no app, can have; or a weight that is none.
        """
        for signal, weight in self.signals.items():
            if not _SIGNAL.match(signal):
                raise ValueError(
                    f"expected signals of a-z, 0-9 and _, 40 at most, found {signal[:80]!r}"
                )
            if weight != "fatal" and not 0 <= weight <= MOST_WEIGHT:
                raise ValueError(
                    f"{signal}: expected a weight of 0 to {MOST_WEIGHT}, or fatal, found {weight}"
                )
        for app in self.apps:
            if not is_app_name(app):
                raise ValueError(
                    "expected names of apps of 1 to 128 letters, digits, dots, - and _, found "
                    f"{app[:140]!r}"
                )

    def weight(self, signal: str) -> Weight:
        """Return what a signal weighs; nothing, if nobody knows it."""
        return self.signals.get(signal, SHIPPED.get(signal, 0))

    def takes(self, app: str) -> bool:
        """Tell whether an app of this name may pass at all."""
        return not self.apps or app in self.apps or self.other_apps == "take"

    def of(self, app: str) -> AppPolicy:
        """Return what an app must prove, in all."""
        own = self.apps.get(app, _AS_ANY)
        return AppPolicy(
            level=higher(own.level, self.level), release=own.release, mode=own.mode or self.mode
        )

    def needs_standing(self, app: str) -> bool:
        """Tell whether what an installation proved in earlier requests can matter."""
        needed = higher(self.apps.get(app, _AS_ANY).level, self.level)
        return needed is not None and needed != "self"


DEFAULT = Policy()
_AS_ANY = AppPolicy()


def higher(one: Level | None, other: Level | None) -> Level | None:
    """Return the higher of two levels, of which None is the lowest."""
    return max(one, other, key=rank)


def rank(level: Level | None) -> int:
    """Return the place of a level, 0 for none."""
    return 0 if level is None else 1 + LEVELS.index(level)
