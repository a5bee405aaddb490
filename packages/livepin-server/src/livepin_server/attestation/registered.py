"""Placeholder until merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .android import AndroidApp
from .apple import AppleApp
from .play import PlayApp
from .workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    android: AndroidApp | None = None
    apple: AppleApp | None = None
    play: PlayApp | None = None
    workload: Workload | None = None
    releases: Mapping[str, str] = field(default_factory=dict)
