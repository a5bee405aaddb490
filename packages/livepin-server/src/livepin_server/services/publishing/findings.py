"""`Finding`: what is wrong with a change before it is published. Nothing is judged here."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

MOST_SAID = 20  # findings of one kind; the last one counts the rest
FORCE = "to publish it all the same: --force --reason TEXT"


class Limits(Struct, frozen=True, kw_only=True):
    """What one change of an account may be."""

    most_domains: Annotated[int, Meta(ge=1, le=1_000_000)] = 100  # touched at once


class Finding(Struct, frozen=True, kw_only=True):
    """What is wrong with a change, which apps are hit, and what cures it.

    `domain` is a pattern, or empty. A refusal that is not `forcible` stays, whoever insists.
    """

    code: str
    domain: str
    message: str
    hint: str
    forcible: bool = False


class Findings(Struct, frozen=True, kw_only=True):
    """What was found of a change."""

    refused: list[Finding] = []
    to_confirm: list[Finding] = []
    warnings: list[Finding] = []

    def standing(self, *, forced: bool = False, confirmed: bool = False) -> list[Finding]:
        """Return what stands against publishing for who has forced or confirmed it, or has not."""
        left = [each for each in self.refused if not (forced and each.forcible)]
        return left if confirmed else left + self.to_confirm


def some(found: list[Finding]) -> list[Finding]:
    """Return findings in a list that stays short, however many domains a change touches."""
    if len(found) <= MOST_SAID:
        return found
    said, rest = found[: MOST_SAID - 1], found[MOST_SAID - 1 :]
    more = Finding(
        code="more",
        domain="",
        message=f"and {len(rest)} more like these",
        hint="change fewer domains at once to see them all",
        forcible=all(each.forcible for each in rest),  # what is cut off refuses all the same
    )
    return [*said, more]
