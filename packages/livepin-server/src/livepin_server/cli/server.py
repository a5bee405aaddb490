"""livepin init, serve, upgrade, status, account: the server itself."""

from __future__ import annotations

import getpass
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from cyclopts import App, Parameter
from cyclopts.validators import Number
from livepin.documents import root
from livepin.errors import LivepinError
from livepin.jose import PrivateKey, b64url_decode, sign_general

from livepin_server.custody.root_file import SHORTEST_PASSPHRASE, write_root_key
from livepin_server.errors import SchemaError
from livepin_server.settings import FILE, Settings

from .api import (
    DataFolder,
    Json,
    Local,
    Place,
    connected,
    data_folder,
    opening,
    read_text,
)
from .delivery import RecoveryUrls, Urls, check_urls
from .output import (
    FOUND,
    UNREACHABLE,
    CommandError,
    counted,
    day,
    out,
    say,
    show_json,
    table,
    warn,
    working,
)
from .parameters import name_of, quoted
from .places import HERE, is_found_unsaid
from .stage import show_stages

if TYPE_CHECKING:
    from livepin_server.folder import Plan
    from livepin_server.serving import Running

account_app = App(name="account", help="Accounts: each has its own root key, streams and pins.")
_LOCAL = Local()
_PLACE = Place()

INIT_EXAMPLES = """Examples:
  livepin init ./livepin-data --account acme --url https://pins.example.com:8443 \\
    --root-key ./acme-root.key
  livepin init ./livepin-data --account acme --url https://pins.example.com:8443 \\
    --root-key ./acme-root.key --database postgresql+psycopg://livepin@db.example.com/livepin
  livepin init ./trial --account acme --url https://127.0.0.1:8443 --online-root"""

_DATABASE = "LIVEPIN_DATABASE"
_TCP = Number(gte=0, lte=65535)

NewFolder = Annotated[
    Path | None, Parameter(help="A new folder; else LIVEPIN_DATA, or ./livepin-data.")
]
NewDatabase = Annotated[
    str | None,
    Parameter(
        metavar="URL", help="An empty PostgreSQL, without password; else SQLite in the folder."
    ),
]
RootKey = Annotated[
    Path | None,
    Parameter(
        metavar="FILE", help="A new file for the root key, encrypted; move it off the server."
    ),
]
PassphraseFile = Annotated[
    Path | None,
    Parameter(
        metavar="FILE", help="Holds the passphrase; else LIVEPIN_ROOT_PASSPHRASE, or a question."
    ),
]
AccountName = Annotated[str, Parameter(metavar="NAME", help="A name of a-z, 0-9 and hyphens.")]


def init(
    folder: NewFolder = None,
    /,
    *,
    account: AccountName,
    url: Urls,
    recovery_url: RecoveryUrls = (),
    root_key: RootKey = None,
    online_root: Annotated[
        bool, Parameter(help="Keep the root key on the server instead; for trials only.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    database: NewDatabase = None,
    port: Annotated[
        int | None,
        Parameter(
            metavar="PORT",
            validator=_TCP,
            help="Where delivery listens; else the port of the URL, or 8443.",
        ),
    ] = None,
    management_port: Annotated[
        int, Parameter(metavar="PORT", validator=_TCP, help="Where management listens.")
    ] = 8444,
    data: DataFolder = None,
    json: Json = False,
) -> None:
    """Make a data folder: database, keys, TLS identity, and a first account with its root key."""
    made = _new_folder(folder, data)
    _require_outside(root_key, made)
    name_of("an account", account, such_as="acme")
    check_urls(url, recovery_url)
    _require_one_root(root_key, online_root)
    settings = Settings(
        delivery_urls=list(url),
        recovery_urls=list(recovery_url),
        delivery_port=port if port is not None else urlsplit(url[0]).port or 8443,
        management_port=management_port,
        database=database,
    )
    _require_two_ports(settings)
    unwritten = _database_of_environment(database)
    passphrase = None if root_key is None else _new_passphrase(root_key, passphrase_file)
    with working("making keys and the database"):
        from livepin_server.folder import Plan  # these take a while
        from livepin_server.main import initialise

        plan = Plan(
            data=made, account=account, settings=settings, root_key=root_key,
            passphrase=passphrase, database=unwritten,
        )  # fmt: skip
        initialise(plan)
    if json:
        show_json({"data": str(made), "account": account, "root_key": str(root_key or "")})
    else:
        _show_made(plan)


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

        (run_server if only is None else run_delivery)(data, started=started)


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
        _require_no_password(to, "--to")
        with opening(data), working("copying"):
            from livepin_server.main import move  # it takes a while

            rows = move(data, to)
        if local.json:
            show_json({"rows": rows})
            return
        say(f"{counted(rows, 'row')} copied; the old database is as it was", style="bold green")
        say(f"Next: set database in {data / FILE}, or {_DATABASE}, then:")
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


@account_app.command(
    help_epilogue="Example:\n  livepin account add beta --root-key ./beta-root.key"
)
def add(
    name: AccountName,
    /,
    *,
    root_key: Annotated[
        Path, Parameter(metavar="FILE", help="A new file for the root key, encrypted.")
    ],
    passphrase_file: PassphraseFile = None,
    local: Local = _LOCAL,
) -> None:
    """Make an account. Its root key is made here, and only signs here."""
    name_of("an account", name, such_as="acme")
    passphrase = _new_passphrase(root_key, passphrase_file)
    key = PrivateKey.generate()
    with connected(local) as api:
        path = f"/v1/accounts/{name}"
        prepared = api.call("POST", f"{path}/prepare", {"root_keys": [key.public.jwk()]})
        with working("encrypting the root key"):
            write_root_key(root_key, key, account=name, passphrase=passphrase)
        payload = b64url_decode(prepared["payload"].encode())
        document = sign_general(payload, typ=root.TYP, signers=[key])
        try:
            done = api.call("PUT", f"{path}/root", {"document": json.loads(document)})
        except CommandError as exc:
            # Without an answer the account may be there: then its root key must not be lost.
            if exc.code != UNREACHABLE:
                root_key.unlink(missing_ok=True)
            raise
    if local.json:
        show_json(done)
    else:
        say(f"the account {name} is ready; its root key is in {root_key}, encrypted", "green")


@account_app.command(name="list", help_epilogue="Example:\n  livepin account list")
def list_(*, local: Local = _LOCAL) -> None:
    """Show the accounts."""
    with connected(local) as api:
        found = api.call("GET", "/v1/accounts")
    if local.json:
        show_json(found)
        return
    table(
        ("account", "root", "root expires", "root key", "streams", "created"),
        [
            (
                each["name"],
                str(each["root_version"]),
                day(each["root_expires"]),
                "on the server" if each["root_online"] else "offline",
                ", ".join(each["streams"]),
                day(each["created"]),
            )
            for each in found
        ],
    )


def _show_made(plan: Plan) -> None:
    """Say what was made, what to take care of, and what comes next."""
    settings = plan.settings
    url, port = settings.delivery_urls[0], settings.delivery_port
    where = ", ".join(settings.delivery_urls)
    say(f"{plan.data} is ready: account {plan.account}, delivery at {where}", style="bold green")
    if port != (urlsplit(url).port or 443):
        warn(f"apps go to {url}, delivery will listen on port {port}: forward it")
    if plan.root_key is None:
        warn("the root key is on the server: who steals the server owns every app of the account")
    else:
        say(f"The root key is in {plan.root_key}, encrypted. Move it off this machine, to two safe")
        say("places: it is needed to replace the server's keys, and cannot be made again.")
    if plan.database is not None:
        say(f"The database is that of {_DATABASE}, which is not written down: serve needs it, too.")
    say("Next:")
    named = "" if is_found_unsaid(plan.data) else f" --data {quoted(str(plan.data))}"
    say(f"  livepin serve{named}")
    say(f"  livepin domain add api.example.com{named}")
    say(f"  livepin bootstrap --out bootstrap.json{named}")


def _new_folder(folder: Path | None, data: Path | None) -> Path:
    """Return the folder to make, before anything is asked for it."""
    if folder is not None and data is not None and folder != data:
        raise CommandError(
            f"expected one folder, found {folder} and --data {data}", hint="name it once"
        )
    found = folder or data or Path(os.environ.get("LIVEPIN_DATA") or HERE)
    if found.exists() and (not found.is_dir() or any(found.iterdir())):
        raise CommandError(f"{found} exists already", hint="name a new folder")
    return found


def _require_one_root(root_key: Path | None, online_root: bool) -> None:
    if (root_key is None) == (not online_root):
        raise CommandError(
            "expected --root-key FILE or --online-root",
            hint="--root-key keeps the root key off the server; --online-root is for trials",
        )


def _require_outside(root_key: Path | None, data: Path) -> None:
    """Refuse it before a passphrase is asked for, and before its folder is missed."""
    if root_key is not None and root_key.resolve().is_relative_to(data.resolve()):
        raise CommandError(
            f"the root key must not be in the data folder {data}",
            hint="who steals the server would have it; name a file elsewhere",
        )


def _require_two_ports(settings: Settings) -> None:
    if settings.delivery_port == settings.management_port != 0:
        raise CommandError(
            f"delivery and management cannot both listen on port {settings.delivery_port}",
            hint="--management-port PORT",
        )


def _database_of_environment(option: str | None) -> str | None:
    """Return the URL that the environment gives; it may hold a password, and is not written down.

    Raises:
        CommandError: the option is no URL that may stand there.
    """
    found = os.environ.get(_DATABASE) or None
    if option is None:
        return found
    if not option.startswith("postgresql"):
        raise CommandError(
            "expected --database to be the URL of PostgreSQL",
            hint="postgresql+psycopg://USER@HOST/NAME; leave it out for SQLite in the data folder",
        )
    _require_no_password(option, "--database")
    if found not in (None, option):
        raise CommandError(
            f"--database and {_DATABASE} name different databases",
            hint="give one of them; whenever the server starts, the variable wins",
        )
    return None


def _require_no_password(url: str, option: str) -> None:
    """Refuse a password where everybody on the machine can read it: in the process list."""
    from livepin_server.storage.database import has_password

    if has_password(url):
        raise CommandError(
            f"{option}: a password in a command is in the process list, for everybody to read",
            hint="leave it out; PGPASSWORD, PGPASSFILE or ~/.pgpass gives it. And change this one",
        )


def _new_passphrase(root_key: Path, file: Path | None) -> str:
    """Return a new passphrase: from a file, the environment, or asked for twice."""
    if root_key.exists():
        raise CommandError(f"{root_key} exists already", hint="name a new file")
    if not root_key.absolute().parent.is_dir():
        raise CommandError(f"{root_key.parent} is not a folder", hint="make it first")
    found = os.environ.get("LIVEPIN_ROOT_PASSPHRASE") if file is None else read_text(file).strip()
    if not found and file is None:
        found = _asked()
    if not found or len(found) < SHORTEST_PASSPHRASE:
        raise CommandError(
            f"expected a passphrase of at least {SHORTEST_PASSPHRASE} characters",
            hint="six random words are long enough, and can be remembered",
        )
    return found


def _asked() -> str:
    if not sys.stdin.isatty():
        raise CommandError(
            "expected a passphrase for the root key",
            hint="--passphrase-file FILE, or the variable LIVEPIN_ROOT_PASSPHRASE",
        )
    try:
        first = getpass.getpass(f"Passphrase for the root key (at least {SHORTEST_PASSPHRASE}): ")
        if first != getpass.getpass("The same again: "):
            raise CommandError("the two passphrases differ", hint="nothing was made: try again")
    except EOFError as exc:
        raise CommandError("expected a passphrase for the root key") from exc
    return first


ERRORS = (LivepinError, SchemaError)
