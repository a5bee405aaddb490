"""livepin installation: the apps on devices that ask for tokens, and what is decided of them."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from .api import Common, connected
from .output import CommandError, minute, say, show_json, some, table
from .parameters import Reason, expiry

app = App(name="installation")

_DEFAULTS = Common()
_NAMED = re.compile(r"[A-Za-z0-9_-]{22}|[A-Za-z0-9_-]{43}")  # an id, or a key's thumbprint
_WORDS = {
    "block": "is blocked: it gets tokens that no backend takes",
    "fail": "fails from now on, whatever it shows: it gets tokens that no backend takes",
    "pass": "passes from now on, whatever it shows",
}

Id = Annotated[
    str,
    Parameter(
        name="ID",
        allow_leading_hyphen=True,  # one id in 64 begins with one
        help="The id or the thumbprint that the app shows; or latest, whoever asked last.",
    ),
]
Until = Annotated[
    str | None, Parameter(metavar="WHEN", help="When it ends: 24h, 30d, or a day. Else never.")
]


@app.command(
    name="list",
    help_epilogue="""Examples:
  livepin installation list
  livepin installation list --latest
  livepin installation list --failing
  livepin installation list --tag lab --json""",
)
def list_(
    *,
    latest: Annotated[bool, Parameter(help="Only the one that was seen last.")] = False,
    tag: Annotated[str | None, Parameter(metavar="TAG", help="Only those with this tag.")] = None,
    failing: Annotated[bool, Parameter(help="Only those whose evidence does not pass.")] = False,
    limit: Annotated[
        int, Parameter(metavar="N", validator=Number(gte=1, lte=1000), help="How many at most.")
    ] = 50,
    common: Common = _DEFAULTS,
) -> None:
    """Show the installations that asked for tokens, the one seen last first."""
    with connected(common) as api:
        query: dict[str, Any] = {"limit": 1 if latest else limit}
        if tag is not None:
            query["tag"] = tag
        if failing:
            query["failing"] = "true"
        found = api.call("GET", f"{api.base}/installations", **query)
    if common.json:
        show_json(found)
        return
    if not found:
        nobody = "No installation has asked for a token yet."
        say("Every installation passes." if failing else nobody)
        return
    columns = ("installation", "app", "last seen", "config", "verdict", "tags", "decided")
    table(columns, [_line(each) for each in found])


@app.command(help_epilogue="Example:\n  livepin installation show latest")
def show(identity: Id, /, *, common: Common = _DEFAULTS) -> None:
    """Show one installation, and what is decided of it."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/installations/{which(identity)}")
        overrides = api.call("GET", f"{api.base}/overrides", installation=found["id"])
    if common.json:
        show_json(found)
        return
    say(found["id"], style="bold")
    if found["last_seen"] is None:
        say("  it has not asked for a token yet")
    else:
        say(f"  app         {found['app']}")
        say(f"  first seen  {minute(found['first_seen'])}")
        say(f"  last seen   {minute(found['last_seen'])}, with config "
            f"{found['config_version']} of {found['stream']}")  # fmt: skip
        say(f"  key         {found['thumbprint']}")
        say(f"  verdict     {found['verdict']}; why: livepin policy explain {found['id']}")
    if found["tags"]:
        say(f"  tags        {', '.join(found['tags'])}")
    rule = found["rule"]
    if rule is not None:
        until = f" until {minute(rule['expires'])}" if rule["expires"] else ""
        say(f"  decided     {rule['verdict']}{until}, by {rule['author']}: {rule['reason']}")
    for each in overrides:
        if each["in_force"]:
            say(f"  override    {each['version']}: {each['mode']} at {some(each['domains'])} until "
                f"{minute(each['expires'])}, by {each['author']}: {each['reason']}")  # fmt: skip


@app.command(help_epilogue="Example:\n  livepin installation tag latest lab beta")
def tag(
    identity: Id,
    /,
    *tags: Annotated[str, Parameter(name="TAG", help="What it is to be called by; none for none.")],
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Give an installation these tags, and no others.

    The tag test says that it may be unpinned for a test: an admin alone gives
    and takes that. One that never asked for a token is named by its thumbprint.
    """
    body = {"tags": list(tags), "reason": reason}
    with connected(common) as api:
        found = api.call("PUT", f"{api.base}/installations/{which(identity)}/tags", body)
    if common.json:
        show_json(found)
    else:
        said = f"has the tags {', '.join(found['tags'])}" if found["tags"] else "has no tags"
        say(f"{found['id']} {said}.", "green")


@app.command(
    help_epilogue="""Examples:
  livepin installation block 1Zk0R4mVtq8XyPjB2nHdLw --reason 'sells accounts'
  livepin installation block latest --expires 24h --reason 'a test'"""
)
def block(
    identity: Id, /, *, expires: Until = None, reason: Reason = "", common: Common = _DEFAULTS
) -> None:
    """Block an installation: no backend takes the tokens that it asks for from now on.

    Those that it holds are good until they end, 5 minutes at most. The block is
    on its key: who deletes that, or installs the app anew, is a new
    installation, and passes.
    """
    _decide(identity, "block", expires, reason, common)


@app.command(help_epilogue="Example:\n  livepin installation unblock 1Zk0R4mVtq8XyPjB2nHdLw")
def unblock(identity: Id, /, *, reason: Reason = "", common: Common = _DEFAULTS) -> None:
    """Lift what was decided of an installation, whatever it was."""
    with connected(common) as api:
        one = f"{api.base}/installations/{which(identity)}/rule"
        found = api.call("DELETE", one, reason=reason)
    if common.json:
        show_json(found)
    else:
        say(f"Nothing is decided of {found['id']} any more.", "green")


@app.command(
    name="force-pass",
    help_epilogue="Example:\n  livepin installation force-pass latest --expires 24h --reason 'QA'",
)
def force_pass(
    identity: Id, /, *, expires: Until = None, reason: Reason = "", common: Common = _DEFAULTS
) -> None:
    """Have an installation pass, whatever it shows of itself. It needs an admin's key."""
    _decide(identity, "pass", expires, reason, common)


@app.command(
    name="force-fail",
    help_epilogue="Example:\n  livepin installation force-fail latest --expires 1h --reason 'QA'",
)
def force_fail(
    identity: Id, /, *, expires: Until = None, reason: Reason = "", common: Common = _DEFAULTS
) -> None:
    """Have an installation fail, to see what its app and the backend do."""
    _decide(identity, "fail", expires, reason, common)


def _decide(identity: str, verdict: str, expires: str | None, reason: str, common: Common) -> None:
    if not reason:
        raise CommandError("expected --reason TEXT", hint="it stays in the audit log")
    now = datetime.now(timezone.utc).replace(microsecond=0)
    body: dict[str, Any] = {
        "reason": reason, "expires": expiry(expires, option="--expires", now=now),
    }  # fmt: skip
    if verdict != "pass":
        body["verdict"] = verdict
    step = "pass" if verdict == "pass" else "rule"
    with connected(common) as api:
        found = api.call("PUT", f"{api.base}/installations/{which(identity)}/{step}", body)
    if common.json:
        show_json(found)
        return
    until = found["rule"]["expires"]
    ends = f", until {minute(until)}" if until else ""
    say(f"{found['id']} {_WORDS[verdict]}{ends}.", "green")


def which(identity: str) -> str:
    """Return an id or thumbprint as a segment of a path."""
    if identity != "latest" and not _NAMED.fullmatch(identity):
        raise CommandError(
            f"expected an id of 22 characters, or latest, found {identity[:80]!r}",
            hint="livepin installation list; an app shows its own: client.installation_id",
        )
    return identity


def _line(found: dict[str, Any]) -> tuple[str, ...]:
    rule = found["rule"]
    return (
        found["id"],
        found["app"] or "",
        minute(found["last_seen"]) if found["last_seen"] else "never",
        "" if found["config_version"] is None else str(found["config_version"]),
        found["verdict"] or "",
        ",".join(found["tags"]),
        "" if rule is None else rule["verdict"],
    )
