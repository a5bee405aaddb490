"""What a root changes, in words: which keys come, go and stay, and what to think of before signing.

Everything here is said of the payload that is signed, and of the root before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from livepin import jsontext
from livepin.documents import Root
from livepin.documents.root import ROLES

LONG = timedelta(days=5 * 365 + 1)  # to live; more is worth a warning
_SHORT = timedelta(days=90)
_AHEAD = timedelta(minutes=5)  # of the clock
_ONLINE = ("config", "override")
_KNOWN = {"account", "version", "issued", "expires", "roles", "critical"}
_KNOWN_ROLE = {"keys", "threshold", "critical"}
_KNOWN_KEY = {"kty", "crv", "x", "y"}

How = Literal["comes", "stays", "goes"]


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What becomes of one key in one role."""

    role: str
    kid: str
    how: How


def key_changes(before: Root | None, after: Root) -> list[KeyChange]:
    """Return what becomes of each key of either root, role by role."""
    found = []
    for role in ROLES:
        old = {} if before is None else before.roles[role].keys
        new = after.roles[role].keys
        found += [KeyChange(role, kid, "stays" if kid in old else "comes") for kid in new]
        found += [KeyChange(role, kid, "goes") for kid in old if kid not in new]
    return found


def lines(before: Root, after: Root) -> list[str]:
    """Return what changed, in the words of the history."""
    number, signs = after.version, {"comes": "+", "goes": "-"}
    found = [
        f"{signs[each.how]} {each.role} key {each.kid}, by root {number}"
        for each in key_changes(before, after)
        if each.how != "stays"
    ]
    old, new = threshold(before), threshold(after)
    if old != new:
        found.append(f"* {new} root keys must sign, by root {number}; it was {old}")
    return found or [f"* root {number}, with the keys of root {before.version}"]


def threshold(root: Root) -> str:
    """Return how many of how many root keys must sign."""
    role = root.roles["root"]
    return f"{role.threshold} of {len(role.keys)}"


def unknown(payload: bytes) -> list[str]:
    """Return the members of a payload that this version does not know, each with its value.

    Apps ignore them, newer ones perhaps not: who signs must not sign what nobody can read.
    """
    return list(_unknown(jsontext.parse_object(payload)))


def warnings(
    before: Root | None, after: Root, *, now: datetime, signing: str | None = None
) -> list[str]:
    """Return what to think of before signing with the key `signing`."""
    found = list(_of_time(after, now))
    if before is not None:
        found += _of_keys(before, after, signing)
    return found


def _of_time(after: Root, now: datetime) -> Iterator[str]:
    lifetime = after.expires - after.issued
    if after.expires <= now:
        yield f"it expired on {after.expires:%Y-%m-%d}, by the clock of this machine"
    elif after.expires - now < _SHORT:
        yield f"it expires on {after.expires:%Y-%m-%d}: the next one is due at once"
    if after.issued - now > _AHEAD:
        yield f"it was made on {after.issued:%Y-%m-%d}, which is in the future by the clock here"
    if lifetime > LONG:
        yield f"it lives {lifetime.days // 365} years: a key that leaks is trusted for that long"


def _of_keys(before: Root, after: Root, signing: str | None) -> Iterator[str]:
    old, new = before.roles["root"], after.roles["root"]
    if new.threshold < old.threshold:
        yield f"fewer keys must sign: {threshold(after)}, it was {threshold(before)}"
    if not new.keys.keys() & old.keys.keys():
        yield "no root key stays: who holds the new ones has the account from now on"
    stay = [role for role in _ONLINE if _kids(before, role) == _kids(after, role)]
    if len(stay) == len(_ONLINE):
        yield "the keys of the server stay: if they were stolen, this does not end it"
    elif stay:
        yield f"the {stay[0]} key stays: if it was stolen too, this does not end it"
    for kid, was, is_now in moved(before, after):
        yield f"the key {kid} was a {was} key and becomes a {is_now} key"
    if signing in old.keys and signing not in new.keys:
        yield f"the key that signs goes: root {after.version} is the last that it signs"


def _kids(root: Root, role: str) -> set[str]:
    return set(root.roles[role].keys)


def moved(before: Root, after: Root) -> list[tuple[str, str, str]]:
    """Return the keys that had another role: a key has one, or a stolen one could act in two."""
    was = {kid: role for role in ROLES for kid in before.roles[role].keys}
    return [
        (kid, was[kid], role)
        for role in ROLES
        for kid in after.roles[role].keys
        if was.get(kid, role) != role
    ]


def _unknown(payload: dict[str, Any]) -> Iterator[str]:
    yield from _besides(payload, _KNOWN, "")
    roles = payload["roles"]
    yield from _besides(roles, set(ROLES), "roles.")
    for name in ROLES:
        yield from _besides(roles[name], _KNOWN_ROLE, f"roles.{name}.")
        for number, key in enumerate(roles[name]["keys"], 1):
            yield from _besides(key, _KNOWN_KEY, f"roles.{name}.keys.{number}.")


def _besides(members: dict[str, Any], known: set[str], where: str) -> Iterator[str]:
    for name, value in members.items():
        if name not in known:
            yield f"{where}{name} = {jsontext.dump(value).decode()}"
