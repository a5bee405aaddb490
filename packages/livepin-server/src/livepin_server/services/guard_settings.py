"""What a publish of an account is measured by."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class GuardSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many domains one change may touch, and whether a second person publishes it.

    With `second_person` every change is staged, and published by another API key.
    """

    most_domains: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    second_person: bool = False
