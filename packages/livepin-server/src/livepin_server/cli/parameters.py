"""Parameters that several commands share, and how a text that a person typed is checked."""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from cyclopts import Parameter
from cyclopts.validators import Number
from livepin.documents.members import name as check_name
from livepin.errors import MalformedError
from livepin.hostnames import normalise, parse_pattern
from livepin.pins import parse_fingerprint

from .output import CommandError

_LONGEST = 500  # characters of what people write into the history
_LIFETIME = re.compile(r"([0-9]{1,4})([mhdw])\Z")
_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def short(_: Any, value: str) -> None:
    """Refuse a text that the history would not take."""
    if len(value) > _LONGEST:
        raise ValueError(f"Expected at most {_LONGEST} characters, found {len(value)}.")


Host = Annotated[str, Parameter(help="A host, *.host, or an IP address.")]
SetName = Annotated[str, Parameter(name="NAME", help="A name of a-z, 0-9 and hyphens.")]
PinText = Annotated[str, Parameter(help="An SPKI fingerprint: sha256/BASE64.")]
Port = Annotated[
    int | None,
    Parameter(metavar="PORT", validator=Number(gte=1, lte=65535), help="The port; else 443."),
]
Connect = Annotated[
    str | None, Parameter(metavar="HOST:PORT", help="Connect there instead, still as HOST.")
]
Ca = Annotated[
    Path | None, Parameter(metavar="FILE", help="A private CA in PEM: trust it, and no other.")
]
LookAt = Annotated[str | None, Parameter(metavar="HOST", help="For *.host: a host that it covers.")]
Yes = Annotated[
    bool, Parameter(help="Do not ask where it weakens the protection, or may shut apps out.")
]
Stream = Annotated[str, Parameter(metavar="NAME", help="The stream of configs.")]
Reason = Annotated[
    str, Parameter(metavar="TEXT", validator=short, help="Why; kept in the history.")
]
Label = Annotated[str, Parameter(metavar="TEXT", validator=short, help="A note on the pin.")]


def checked(pin: str) -> str:
    """Return a pin that is written as it should be."""
    try:
        parse_fingerprint(pin)
    except MalformedError as exc:
        hint = exc.hint or "a pin looks like sha256/BASE64"
        raise CommandError(str(exc), hint=hint) from exc
    return pin


def pattern(host: str) -> str:
    """Return a host or `*.host` in its canonical form."""
    try:
        return parse_pattern(host)
    except MalformedError as exc:
        raise CommandError(str(exc), hint=_meant(host) or exc.hint) from exc


def path(host: str) -> str:
    """Return a host or pattern as a segment of a URL path."""
    return quote(pattern(host), safe="*")


def name_of(what: str, text: str, *, such_as: str) -> str:
    """Return a name, such as that of a pin set; it may stand in a URL path as it is."""
    try:
        return check_name(text, what=what)
    except MalformedError as exc:
        raise CommandError(str(exc), hint=f"such as {such_as}") from exc


def elsewhere(stream: str) -> str:
    """Return the option with which a next command finds the same stream."""
    return "" if stream == "main" else f" --stream {quoted(stream)}"


def quoted(text: str) -> str:
    """Return a text as a word of a shell command."""
    return shlex.quote(text)


def moment(text: str | None, *, option: str, such_as: str | None = None) -> str | None:
    """Return a day, which starts in UTC, or an RFC 3339 time as the management API takes it.

    `such_as` is an example of what else is taken.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        if len(text) == 10:
            found = found.replace(tzinfo=timezone.utc)
        if found.tzinfo is None:
            raise ValueError
        return _written(found)
    except (ValueError, OverflowError) as exc:
        examples = "2027-01-31, or 2027-01-31T12:00:00Z"
        raise CommandError(
            f"{option}: expected a day or a time with its zone, found {text[:40]!r}",
            hint=f"such as {examples}" if such_as is None else f"such as {such_as}, {examples}",
        ) from exc


def lifetime(text: str, *, option: str) -> timedelta:
    """Return a length of time: 0, or a whole number of minutes, hours, days or weeks."""
    if text == "0":
        return timedelta()
    match = _LIFETIME.match(text)
    if match is None:
        raise CommandError(
            f"{option}: expected a length of time, found {text[:40]!r}",
            hint="such as 30m, 24h, 90d or 12w",
        )
    return int(match[1]) * _UNITS[match[2]]


def expiry(text: str | None, *, option: str, now: datetime) -> str | None:
    """Return when something is to end: after a length of time, on a day, or at a time."""
    if text is not None and _LIFETIME.match(text):
        return _written(now + lifetime(text, option=option))
    return moment(text, option=option, such_as="90d")


def _written(found: datetime) -> str:
    return found.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def _meant(text: str) -> str | None:
    """Return what to type instead of a URL or HOST:PORT."""
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        host, port = normalise(parts.hostname or ""), parts.port
    except (MalformedError, ValueError):
        return None
    return f"give the bare host: {host}{'' if port is None else f' --port {port}'}"
