"""How endpoints, incidents and times of monitoring are shown to people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from .output import counted, minute, some

COLUMNS = ("domain", "endpoint", "vantage", "state", "pins", "expires", "last look")

_SPANS = ((7 * 86400, "w"), (86400, "d"), (3600, "h"), (60, "m"))
_STATES = {"firing": "bold red", "suspect": "yellow", "unseen": "dim", "ok": "green"}
_SEVERITIES = {"critical": "bold red", "warning": "yellow", "info": ""}
_PINS = {True: "match", False: "no match", None: "-"}


def endpoint(each: dict[str, Any]) -> str:
    """Return HOST:PORT."""
    host = each["host"]
    return f"[{host}]:{each['port']}" if ":" in host else f"{host}:{each['port']}"


def row(each: dict[str, Any], now: datetime) -> tuple[str, ...]:
    """Return an endpoint as a row under `COLUMNS`."""
    stream = "" if each["stream"] in ("", "main") else f" ({each['stream']})"
    return (
        f"{each['domain']}{stream}",
        endpoint(each),
        each["vantage"],
        each["state"],
        _PINS[each["pins_match"]],
        _expires(each["expires"], now),
        ago(each["looked"], now),
    )


def style(each: dict[str, Any]) -> str:
    """Return the style of an endpoint's row."""
    if each["state"] == "firing" and each["pins_match"]:  # apps get in, and may soon not
        return "yellow"
    return _STATES.get(each["state"], "")


def worst_first(endpoints: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return endpoints, those that need somebody first."""
    order = list(_STATES)
    return sorted(
        endpoints,
        key=lambda each: (
            order.index(each["state"]), each["domain"], each["host"], each["port"],
            each["vantage"], each["stream"],
        ),
    )  # fmt: skip


def commands(each: dict[str, Any]) -> list[str]:
    """Return the commands that mend an incident: each is a line, and runs as it stands."""
    text: str = each["notice"].get("command", "")
    return [f"  {line}" for line in text.split("\n")] if text else []


def incident(each: dict[str, Any]) -> str:
    """Return an incident in a line."""
    told = "" if each["state"] == "open" else f" ({standing(each)})"
    return (
        f"incident {each['number']}, {each['severity']}, since {minute(each['opened'])}{told}: "
        f"{each['notice']['sentence']}"
    )


def severity_style(each: dict[str, Any]) -> str:
    """Return the style of an incident's line."""
    if each["state"] in ("resolved", "acknowledged", "snoozed"):
        return "dim"
    return _SEVERITIES.get(each["severity"], "")


def standing(each: dict[str, Any]) -> str:
    """Return how an incident stands, in words."""
    if each["state"] == "resolved":
        return f"resolved {minute(each['resolved'])}"
    if each["state"] == "acknowledged":
        return f"acknowledged by {each['acknowledged_by']}"
    if each["state"] == "snoozed":
        return f"snoozed until {minute(each['snoozed_until'])}"
    return "open"


def places(each: dict[str, Any]) -> str:
    """Return where an incident is, in a line that stays short."""
    if not each["endpoints"]:
        return "-"
    return some(each["endpoints"]) if each["count"] <= 2 else counted(each["count"], "endpoint")


def ago(text: str | None, now: datetime) -> str:
    """Return how long ago a time was; a clock that differs a little is none of a person's."""
    if text is None:
        return "never"
    seconds = int((now - datetime.fromisoformat(text)).total_seconds())
    return "now" if seconds < 1 else f"{_length(seconds)} ago"


def span(seconds: int) -> str:
    """Return a length of time as options take it: 15m, 1d."""
    for length, unit in _SPANS:
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _length(seconds: int) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _expires(text: str | None, now: datetime) -> str:
    if text is None:
        return "-"
    left = (datetime.fromisoformat(text) - now).days
    return "expired" if left < 0 else f"in {counted(left, 'day')}"
