"""livepin serve, upgrade and status: the server itself."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from livepin_server.settings import FILE

from .api import Local, Place, connected, data_folder, opening
from .output import FOUND, CommandError, counted, out, say, show_json, warn, working
from .stage import show_stages

if TYPE_CHECKING:
    from livepin_server.serving import Running

_LOCAL = Local()
_PLACE = Place()

DATABASE = "LIVEPIN_DATABASE"


def serve(
    *,
    only: Annotated[
        Literal["delivery"] | None,
        Parameter(
            metavar="PART", help="Serve delivery alone, without signing keys; on PostgreSQL only."
        ),
    ] = None,
    place: Place = _PLACE,
) -> None:
    """Serve delivery and management until Ctrl-C or SIGTERM."""
    data = data_folder(place)
    starting = ExitStack()

    async def started(running: Running) -> None:
        starting.close()
        if out().is_terminal:
            private = "management" if only is None else "metrics"
            for name, each in (("delivery", running.delivery), (private, running.management)):
                say(f"{name:10} listens on {each.host}, port {each.port}")
            say("Ctrl-C stops.")
            if only is None:
                say("Commands on this machine find the server by its data folder.")

    with opening(data), starting:
        starting.enter_context(working("starting"))
        from livepin_server.main import run_delivery, run_server

        if only is None:
            run_server(data, started=started, tell=warn if out().is_terminal else None)
        else:
            run_delivery(data, started=started)


def upgrade(
    *,
    to: Annotated[
        str | None,
        Parameter(
            metavar="URL", help="Copy everything into this empty database instead, to move there."
        ),
    ] = None,
    local: Local = _LOCAL,
) -> None:
    """Bring the database to this version, after a backup. The server must be stopped."""
    data = data_folder(local)
    if to is not None:
        require_no_password(to, "--to")
        with opening(data), working("copying"):
            from livepin_server.main import move  # it takes a while

            rows = move(data, to)
        if local.json:
            show_json({"rows": rows})
            return
        say(f"{counted(rows, 'row')} copied; the old database is as it was", style="bold green")
        say(f"Next: set database in {data / FILE}, or {DATABASE}, then:")
        say(f"  livepin serve{local.again}")
        return
    with opening(data), working("upgrading"):
        from livepin_server.main import upgrade as run

        schema, backup = run(data)
    if local.json:
        show_json({"schema": schema, "backup": None if backup is None else str(backup)})
        return
    say(f"the database has the schema {schema}" + (f"; backup: {backup}" if backup else ""))


def status(*, local: Local = _LOCAL) -> None:
    """Show how the server fares. The exit code is 1 if something needs attention."""
    with connected(local) as api:
        found = api.call("GET", "/v1/status")
        accounts = api.call("GET", "/v1/accounts")
        stages = {
            each["name"]: api.call("GET", f"/v1/accounts/{each['name']}/stages")
            for each in accounts
        }
        served = api.served
    if local.json:
        show_json(found | {"items": accounts, "stages": stages, "running": served is not None})
    else:
        where = f"runs, management at {served}" if served else "does not run"
        say(f"livepin-server {found['version']} {where}; {counted(found['accounts'], 'account')}")
        for account, waiting in stages.items():
            show_stages(account, waiting, local.again)
        for text in found["warnings"]:
            warn(text)
    if found["warnings"]:
        raise SystemExit(FOUND)


def require_no_password(url: str, option: str) -> None:
    """Refuse a password where everybody on the machine can read it: in the process list."""
    from livepin_server.storage.database import has_password

    if has_password(url):
        raise CommandError(
            f"{option}: a password in a command is in the process list, for everybody to read",
            hint="leave it out; PGPASSWORD, PGPASSFILE or ~/.pgpass gives it. And change this one",
        )
