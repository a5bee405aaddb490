"""livepin domain set-mode, set-token and set-stale."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from .api import Changing, Common, connected
from .consequences import agree
from .looking import require_covered
from .output import say, show_json
from .parameters import Host, LookAt, Reason, Stream, path, pattern

MODE_EXAMPLES = """Examples:
  livepin domain set-mode api.example.com enforce
  livepin domain set-mode api.example.com off --reason 'CHG-1234' --yes"""
_DEFAULTS = Common()
_CHANGING = Changing()


def set_mode(
    host: Host,
    mode: Annotated[
        Literal["enforce", "report", "off"],
        Parameter(
            name="MODE", help="Refuse what does not match, only report it, or do not look at pins."
        ),
    ],
    /,
    *,
    look_at: LookAt = None,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Say what apps do about a key that is not pinned.

    What weakens the protection asks first. So does enforcing pins of which none matches what the
    host serves now, seen from here, or where that cannot be seen.
    """
    _set(host, "mode", mode, stream, reason, common, look_at=look_at)


def set_token(
    host: Host,
    token: Annotated[
        Literal["on", "off"], Parameter(name="TOKEN", help="Whether apps send a token there.")
    ],
    /,
    *,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Say whether apps need a token for a domain as well.

    What weakens the protection asks first.
    """
    _set(host, "token", {"on": True, "off": False}[token], stream, reason, common)


def set_stale(
    host: Host,
    stale: Annotated[
        Literal["enforce", "refuse"],
        Parameter(name="STALE", help="Go on by the last pins, or refuse after the time of grace."),
    ],
    /,
    *,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Say what apps do where they could not get a config for too long.

    What weakens the protection asks first.
    """
    _set(host, "stale", stale, stream, reason, common)


def _set(
    host: str,
    member: str,
    wanted: Any,
    stream: str,
    reason: str,
    common: Changing,
    *,
    look_at: str | None = None,
) -> None:
    where, look_at = path(host), require_covered(pattern(host), look_at)
    with connected(common) as api:
        before = api.call("GET", f"{api.base}/domains/{where}", stream=stream)
        agreed = agree([(before, before | {member: wanted})], yes=common.yes, look_at=look_at)
        body = {member: wanted, "reason": reason}
        done = api.change(
            "PATCH",
            f"{api.base}/domains/{where}/settings",
            body,
            confirmed=agreed,
            stream=stream,
        )
    if common.json:
        show_json(done)
        return
    (change,) = done["publication"]["changed"]
    version = done["publication"]["version"]
    say(f"{change.removeprefix('* domain ')}, from config version {version} on.")
