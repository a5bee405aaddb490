"""livepin api-key: who may call the management API, what for, and how long."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from cyclopts import App, Parameter

from livepin_server.custody.files import replace_secret, write_secret
from livepin_server.errors import CustodyError
from livepin_server.layout import OPERATOR_KEY
from livepin_server.services import api_key_text, expiry
from livepin_server.services.model import ApiKeyView, Area, Role

from .api import Api, Common, Local, connected, data_folder, opening
from .output import (
    CommandError,
    confirm,
    day,
    err,
    minute,
    say,
    show_json,
    table,
    warn,
    working,
    write,
)
from .parameters import Reason, lifetime, quoted
from .parameters import expiry as moment_of_expiry

app = App(name="api-key")


_DEFAULTS = Common()
_LOCAL = Local()
_INITIAL = "livepin init"  # who made the key in operator.key

KeyName = Annotated[str, Parameter(name="NAME", help="The name or ID of a key; never its text.")]
Server = Annotated[bool, Parameter(help="Of the whole server, not of one account.")]
Out = Annotated[
    Path | None,
    Parameter(metavar="FILE", help="A new file for the text, which is shown otherwise."),
]


@app.command(
    help_epilogue="""Examples:
  livepin api-key create prometheus --server --role viewer --scope metrics --out prometheus.key
  livepin api-key create ci-shop --account acme --role operator --scope pins --expires 90d
  livepin api-key create siem --server --role viewer --scope audit
  livepin api-key create alice --account acme --role admin --expires 2027-01-31"""
)
def create(
    name: Annotated[str, Parameter(name="NAME", help="What the history is to call it.")],
    /,
    *,
    role: Annotated[Role, Parameter(metavar="ROLE", help="What it may do.")],
    scope: Annotated[
        tuple[Area, ...],
        Parameter(
            metavar="AREA", negative=(), help="Limit it to this; may be given again. Else no limit."
        ),
    ] = (),
    expires: Annotated[
        str | None,
        Parameter(metavar="WHEN", help="When it ends: 90d, 12h, or a day. Else never."),
    ] = None,
    out: Out = None,
    reason: Reason = "",
    server: Server = False,
    common: Common = _DEFAULTS,
) -> None:
    """Make an API key, and show its text this once.

    It cannot do more than the key by which it is made: no other account, role or scope, and no
    longer.
    """
    _require_new(out)
    body: dict[str, Any] = {"name": name, "role": role.value, "reason": reason}
    if scope:
        body["scopes"] = [each.value for each in scope]
    now = datetime.now(timezone.utc).replace(microsecond=0)
    body["expires"] = moment_of_expiry(expires, option="--expires", now=now)
    with connected(common) as api:
        account = None if _is_for_all(server, common) else _account(api)
        done = api.call("POST", _of(account), body)
    view = done["view"]
    _keep(out, done, f"livepin api-key rotate {view['id']}{_again(server, common)}")
    if common.json:
        show_json(done if out is None else {"view": view, "file": str(out)})
        return
    say(f"The API key {name} is made: {_may(view)}.", "green", to=err())
    _show_text(done["key"], out)
    _show_next(view, out)


@app.command(
    name="list",
    help_epilogue="Examples:\n  livepin api-key list\n  livepin api-key list --all --json",
)
def list_(
    *,
    all_: Annotated[bool, Parameter(name="--all", help="Those that were revoked, too.")] = False,
    server: Server = False,
    common: Common = _DEFAULTS,
) -> None:
    """Show the API keys, and warn of those that expire soon or that nobody uses."""
    with connected(common) as api:
        found = api.call("GET", _place(api, server, common))
    shown = [each for each in found if all_ or each["revoked"] is None]
    views = msgspec.convert(shown, list[ApiKeyView])
    for text in expiry.key_warnings(views, datetime.now(timezone.utc)):
        warn(text)
    if common.json:
        show_json(shown)
        return
    columns = ("key", "id", "role", "of", "scopes", "expires", "last used")
    table((*columns, "revoked") if all_ else columns, [_line(each, all_) for each in shown])


@app.command(help_epilogue="Example:\n  livepin api-key show ci-shop")
def show(name: KeyName, /, *, server: Server = False, common: Common = _DEFAULTS) -> None:
    """Show one API key; its text is never shown again."""
    with connected(common) as api:
        view = api.call("GET", f"{_place(api, server, common)}/{_path(name)}")
    if common.json:
        show_json(view)
        return
    say(f"{view['name']} ({view['id']})", style="bold")
    say(f"  may        {_may(view)}")
    say(f"  made       {minute(view['created'])}, by {view['created_by'] or 'somebody'}")
    if view["rotated"] is not None:
        say(f"  rotated    {minute(view['rotated'])}{_overlap(view)}")
    used, origin = view["last_used"], view["last_used_from"]
    say(f"  last used  {f'{minute(used)}, from {origin}' if used else 'never'}")
    if view["revoked"] is not None:
        say(f"  revoked    {minute(view['revoked'])}")


@app.command(
    help_epilogue="""Examples:
  livepin api-key rotate ci-shop --out ci-shop.key
  livepin api-key rotate ci-shop --overlap 0 --reason 'its text was in a log'"""
)
def rotate(
    name: KeyName,
    /,
    *,
    overlap: Annotated[
        str,
        Parameter(metavar="TIME", help="For how long the old text is taken, too; 0 after a theft."),
    ] = "24h",
    out: Out = None,
    reason: Reason = "",
    server: Server = False,
    common: Common = _DEFAULTS,
) -> None:
    """Give an API key a new text; the old one is taken until the overlap ends.

    Rotating again ends that at once. The key stays the same, with the same rights and expiry.
    Where the commands themselves use the key, the file is rewritten that keeps it for them.
    """
    length = lifetime(overlap, option="--overlap")
    _require_new(out)
    with connected(common) as api:
        view = api.call("GET", f"{_place(api, server, common)}/{_path(name)}")
        kept = api.key_file if view["id"] == api.caller["key_id"] else None
        if kept is not None and out is not None:
            raise CommandError(
                f"{kept} keeps this key for the commands, and is rewritten", hint="leave out --out"
            )
        body = {"overlap": int(length.total_seconds()), "reason": reason}
        done = api.call("POST", f"{_of(view['account'])}/{view['id']}/rotate", body)
    again = f"livepin api-key rotate {view['id']}{_again(server, common)}"
    if kept is not None and kept.name == OPERATOR_KEY and not length:
        again = "livepin api-key recover"  # nothing is left with which to rotate
    _keep(kept or out, done, again, over=kept is not None)
    if common.json:
        written = kept or out
        show_json(done if written is None else {"view": done["view"], "file": str(written)})
        return
    view = done["view"]
    ends = _overlap(view) or "; the old text is taken no more"
    say(f"The API key {view['name']} has a new text{ends}.", "green", to=err())
    _show_text(done["key"], kept or out)
    if view["created_by"] == _INITIAL:
        where = (
            "If the data folder was copied to other hosts" if kept else "On the server's machine"
        )
        say(f"{where}, put the new text into operator.key there: commands use it.", to=err())


@app.command(help_epilogue="Example:\n  livepin api-key revoke ci-shop --reason 'nobody uses it'")
def revoke(
    name: KeyName,
    /,
    *,
    yes: Annotated[bool, Parameter(help="Do not ask where it is the key in use.")] = False,
    reason: Reason = "",
    server: Server = False,
    common: Common = _DEFAULTS,
) -> None:
    """Revoke an API key, at once and for good. Its name is free again."""
    with connected(common) as api:
        view = api.call("GET", f"{_place(api, server, common)}/{_path(name)}")
        if view["id"] == api.caller["key_id"]:
            confirm("the commands use this key here, and will be refused", yes=yes)
        done = api.call("DELETE", f"{_of(view['account'])}/{view['id']}", reason=reason)
    if common.json:
        show_json(done)
    else:
        say(f"The API key {done['name']} ({done['id']}) is revoked.", "green")


@app.command(help_epilogue="Example:\n  livepin api-key recover --data ./livepin-data")
def recover(*, local: Local = _LOCAL) -> None:
    """Put a new admin key into operator.key, where the one there is lost or taken no more.

    It works on a data folder whose server is stopped, and needs no API key.
    """
    data = data_folder(local)
    with opening(data), working("making a key"):
        from livepin_server.main import renew_operator_key  # it takes a while

        name = renew_operator_key(data)
    if local.json:
        show_json({"name": name})
        return
    say(f"operator.key holds a new admin key, {name}. See who else has one:", "green")
    say(f"  livepin api-key list --server{local.again}")


def _account(api: Api) -> str:
    """Return the account to make a key for: it is for all of them only where that is said."""
    found: str | None = api.named or api.caller["account"]
    if found is not None:
        return found
    names: list[str] = [each["name"] for each in api.call("GET", "/v1/accounts")]
    if len(names) != 1:
        raise CommandError(
            "expected --account NAME or --server",
            hint=f"there is {', '.join(names)}" if names else "livepin account add NAME",
        )
    return names[0]


def _place(api: Api, server: bool, common: Common) -> str:
    """Return the path of the keys among which one is meant."""
    return _of(None if _is_for_all(server, common) else api.named or api.caller["account"])


def _is_for_all(server: bool, common: Common) -> bool:
    if server and common.account is not None:
        raise CommandError(
            f"expected --account {common.account} or --server, found both",
            hint="a key is for one account, or for all of them",
        )
    return server


def _of(account: str | None) -> str:
    return "/v1/api-keys" if account is None else f"/v1/accounts/{quote(account, safe='')}/api-keys"


def _path(name: str) -> str:
    """Return a name or ID as a segment of a path; refuse the text of a key."""
    if name.startswith(api_key_text.MARK):
        identity = api_key_text.id_in(name)
        raise CommandError(
            "expected the name or ID of a key, found its text, which is in the process list now",
            hint=None if identity is None else f"livepin api-key rotate {identity} --overlap 0",
        )
    return quote(name, safe="")


def _again(server: bool, common: Common) -> str:
    return f"{' --server' if server else ''}{common.again}"


def _require_new(out: Path | None) -> None:
    """Refuse a file that cannot be made, before the key is."""
    if out is not None and (out.exists() or out.is_symlink()):
        raise CommandError(f"{out} exists already", hint="name a new file")
    if out is not None and not out.absolute().parent.is_dir():
        raise CommandError(f"{out.parent} is not a folder", hint="make it first")


def _keep(file: Path | None, done: dict[str, Any], again: str, *, over: bool = False) -> None:
    """Write the text of a key into a file. It is not shown instead: that may be a log."""
    if file is None:
        return
    try:
        (replace_secret if over else write_secret)(file, f"{done['key']}\n".encode())
    except CustodyError as exc:
        raise CommandError(
            f"{exc}; the text of the key is lost", hint=f"for another text: {again}"
        ) from exc


def _show_text(text: str, file: Path | None) -> None:
    if file is not None:
        say(f"Its text is in {file}, which only you can read.", to=err())
        return
    say("This is its text. Keep it well: it is shown this once.", to=err())
    write(text)


def _show_next(view: dict[str, Any], out: Path | None) -> None:
    """Say how a new key is used."""
    file = "FILE" if out is None else quoted(str(out))
    if view["scopes"] == [Area.METRICS.value]:
        say(f"In prometheus.yml, as authorization: credentials_file: {file}", to=err())
        return
    say("For commands elsewhere, with a copy of tls/ca.pem:", to=err())
    say(
        f"  livepin profile add NAME --url https://HOST:PORT --ca ca.pem --key-file {file}",
        to=err(),
    )


def _may(view: dict[str, Any]) -> str:
    """Return in words what a key may do, and until when."""
    parts = [f"{view['role']} of {view['account'] or 'the whole server'}"]
    if view["scopes"] is not None:
        parts.append(f"for {', '.join(view['scopes']) or 'nothing'} alone")
    if view["expires"] is not None:
        parts.append(f"until {minute(view['expires'])}")
    return ", ".join(parts)


def _overlap(view: dict[str, Any]) -> str:
    until = view["overlap_until"]
    return f"; the old one is taken until {minute(until)}" if until else ""


def _line(view: dict[str, Any], revoked: bool) -> tuple[str, ...]:
    line = (
        view["name"],
        view["id"],
        view["role"],
        view["account"] or "the server",
        "all" if view["scopes"] is None else ",".join(view["scopes"]),
        day(view["expires"]),
        day(view["last_used"]),
    )
    return (*line, day(view["revoked"])) if revoked else line
