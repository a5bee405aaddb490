"""What is registered of an app: by what its evidence is known, and which releases there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from . import android, apple, play, workload
from .android import AndroidApp
from .apple import AppleApp
from .attested import LEVELS, Level
from .play import PlayApp
from .workload import Workload

Kind = Literal["android", "apple", "play", "workload"]
# The highest level that evidence of each kind proves; a process says of itself what it likes.
PROVES: Mapping[Kind, Level] = {
    "android": "hardware_app",
    "apple": "hardware_app",
    "play": "hardware_app",
    "workload": "platform",
}
# The format of the evidence that is compared with an identity.
FORMATS: Mapping[Kind, str] = {
    "android": android.FORMAT,
    "apple": apple.FORMAT,
    "play": play.FORMAT,
    "workload": workload.FORMAT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An app as verifiers of evidence need it; `releases` are versions by manifest digest."""

    android: AndroidApp | None = None
    apple: AppleApp | None = None
    play: PlayApp | None = None
    workload: Workload | None = None
    releases: Mapping[str, str] = field(default_factory=dict)


def provable(kinds: Iterable[Kind]) -> Level:
    """Return the highest level that an app with identities of these kinds can prove."""
    return max(("self", *(PROVES[each] for each in kinds)), key=LEVELS.index)
