"""What an API key may be and do, and that nobody makes one that may do more than his own. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timezone

from livepin_server.errors import InvalidError

from .api_key_text import MARK
from .model import ApiKeyView, Area, Principal, Role

RANK = {Role.PENTEST: 0, Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}

_OF_SERVER = frozenset({Area.METRICS})  # areas of which no account has a part


def has_role(caller: Principal, needed: Role, beside: Role | None = None) -> bool:
    """Tell whether a key has a role, one above it, or the one that may beside these."""
    return RANK[caller.role] >= RANK[needed] or caller.role is beside


def may(caller: Principal, role: Role, *areas: Area) -> bool:
    """Tell whether a key has a role, and one of these areas among its scopes if it has any."""
    return has_role(caller, role) and reaches(caller, areas)


def reaches(caller: Principal, areas: Collection[Area]) -> bool:
    """Tell whether the scopes of a key let it into one of these areas."""
    return caller.scopes is None or not set(caller.scopes).isdisjoint(areas)


def beyond(wanted: ApiKeyView, own: ApiKeyView) -> str | None:
    """Return in words what one key may do that another one may not, if anything."""
    if own.account not in (None, wanted.account):
        return "other accounts"
    if RANK[wanted.role] > RANK[own.role]:
        return f"the role {wanted.role.value}"
    if own.scopes is not None:
        if wanted.scopes is None:
            return "every scope"
        more = [each for each in wanted.scopes if each not in own.scopes]
        if more:
            return f"the scope {named(more)}"
    if own.expires is not None and (wanted.expires is None or wanted.expires > own.expires):
        return f"a life beyond {own.expires:%Y-%m-%d %H:%M} UTC"
    return None


def named(areas: Iterable[Area]) -> str:
    """Return areas in words, of which one is enough."""
    *first, last = [each.value for each in areas] or ["none"]
    return f"{', '.join(first)} or {last}" if first else last


def checked_name(name: str) -> str:
    """Return a name that may stand in a path and on a terminal, and is no text of a key.

    Raises:
        InvalidError: it is none.
    """
    fits = 0 < len(name) <= 200 and name.isprintable() and name == name.strip()
    if not fits or "/" in name or name.startswith(MARK):
        raise InvalidError(
            f"expected a name of 1 to 200 characters that can be printed, without / or {MARK}",
            hint="such as ci-shop: it stands in the history beside what the key changed",
        )
    return name


def checked_scopes(scopes: Sequence[Area] | None, account: str | None) -> tuple[Area, ...] | None:
    """Return scopes, each once and in their order.

    Raises:
        InvalidError: there are none, or one that a key of this account has nothing of.
    """
    if scopes is None:
        return None
    if not scopes:
        raise InvalidError("expected at least one scope", hint="a key without scopes has all")
    for area in scopes:
        if area in _OF_SERVER and account is not None:
            raise InvalidError(
                f"the {area.value} are those of the whole server, not of {account}",
                hint="a key for the whole server has them: --server",
            )
    return tuple(area for area in Area if area in scopes)


def checked_expiry(expires: datetime | None, now: datetime) -> datetime | None:
    """Return when a key is to expire, in UTC.

    Raises:
        InvalidError: it is past, or beyond the years that there are.
    """
    if expires is None:
        return None
    try:
        found = expires.astimezone(timezone.utc)
    except OverflowError as exc:
        raise InvalidError("expected an expiry before the year 10000") from exc
    if found <= now:
        raise InvalidError(f"expected an expiry to come, found {found:%Y-%m-%d %H:%M} UTC")
    return found
