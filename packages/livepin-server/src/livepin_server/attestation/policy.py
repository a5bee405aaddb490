"""The appraisal policy of an account: what an app must prove, and what its signals weigh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from .attested import LEVELS, Level
from .claims import SignalName

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

Weight = Annotated[int, Meta(ge=0, le=1000)] | Literal["fatal"]
Mode = Literal["enforce", "report"]
AppName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,128}$")]


class AppPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one app must prove beyond what every app must. None: as every app.

    `release`: its measured files must be those of a registered release.
    """

    level: Level | None = None
    release: bool = False
    mode: Mode | None = None


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How evidence is appraised; what is not said is as it is shipped.

    `level` is what every app must prove; None is nothing. A proof above `self` counts for `fresh`
    seconds, and, where it may be another device's, only with `relayable`. `signals` are weights
    that differ from `SHIPPED`; a sum of at least `threshold` refuses, and so does one that is
    fatal. `other_apps` are those that are not among `apps`, where any are: whoever may call
    himself another app must not escape what his own must prove. In `report` mode nobody is
    refused, and what would be is told.
    """

    mode: Mode = "enforce"
    level: Level | None = None
    fresh: Annotated[int, Meta(ge=60, le=365 * DAY)] = DAY
    relayable: bool = False
    signals: Annotated[dict[SignalName, Weight], Meta(max_length=100)] = field(default_factory=dict)
    threshold: Annotated[int, Meta(ge=1, le=10_000)] = 100
    apps: Annotated[dict[AppName, AppPolicy], Meta(max_length=MOST_APPS)] = field(
        default_factory=dict
    )
    other_apps: Literal["refuse", "take"] = "refuse"

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
