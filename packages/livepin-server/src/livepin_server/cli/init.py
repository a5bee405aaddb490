"""livepin init: a data folder, made whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter
from cyclopts.validators import Number

from livepin_server.errors import InvalidError
from livepin_server.settings import FILE, Settings

from .api import DataFolder, Json
from .delivery import RecoveryUrls, Urls, check_urls
from .output import CommandError, say, show_json, warn, working
from .parameters import name_of, quoted
from .passphrases import PassphraseFile, new_passphrase
from .places import HERE, is_found_unsaid
from .server import DATABASE, require_no_password

if TYPE_CHECKING:
    from livepin_server.folder import Plan

MAIL_PASSWORD = "LIVEPIN_SMTP_PASSWORD"  # noqa: S105 - its name
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
    alert_email: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="ADDRESS",
            negative=(),
            help="Mail here what is found wrong; may be given again.",
        ),
    ] = (),
    smtp: Annotated[
        str | None,
        Parameter(
            metavar="URL", help="The mail server, such as smtp+starttls://USER@HOST; no password."
        ),
    ] = None,
    smtp_from: Annotated[
        str | None, Parameter(metavar="ADDRESS", help="Whom the mail is from.")
    ] = None,
    data: DataFolder = None,
    json: Json = False,
) -> None:
    """Make a data folder: database, keys, TLS identity, and a first account with its root key."""
    made = _new_folder(folder, data)
    _require_outside(root_key, made)
    name_of("an account", account, such_as="acme")
    check_urls(url, recovery_url)
    _require_one_root(root_key, online_root)
    _require_mail(alert_email, smtp, smtp_from)
    settings = Settings(
        delivery_urls=list(url),
        recovery_urls=list(recovery_url),
        delivery_port=port if port is not None else urlsplit(url[0]).port or 8443,
        management_port=management_port,
        database=database,
        smtp=smtp,
        smtp_from=smtp_from,
    )
    _require_two_ports(settings)
    unwritten = _database_of_environment(database)
    passphrase = None if root_key is None else new_passphrase(root_key, passphrase_file)
    with working("making keys and the database"):
        from livepin_server.folder import Plan  # these take a while
        from livepin_server.main import initialise

        plan = Plan(
            data=made, account=account, settings=settings, root_key=root_key,
            passphrase=passphrase, database=unwritten, alert_email=alert_email,
        )  # fmt: skip
        initialise(plan)
    if json:
        members = {"data": str(made), "account": account, "root_key": str(root_key or "")}
        show_json(members | {"alert_email": list(alert_email)})
    else:
        _show_made(plan)


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
        say(f"The database is that of {DATABASE}, which is not written down: serve needs it, too.")
    _say_who_is_told(plan)
    say("Next:")
    named = "" if is_found_unsaid(plan.data) else f" --data {quoted(str(plan.data))}"
    say(f"  livepin serve{named}")
    say(f"  livepin domain add api.example.com{named}")
    if not plan.alert_email:
        say(f"  livepin channel add email ops --to ops@example.com{named}")
    say(f"  livepin bootstrap --out bootstrap.json{named}")


def _say_who_is_told(plan: Plan) -> None:
    """Say whom the account tells of what is found wrong, and what is missing for that."""
    settings = plan.settings
    if not plan.alert_email:
        return
    say(f"What is found wrong is mailed to {', '.join(plan.alert_email)}.")
    if settings.smtp is None:
        warn(f"no mail server is known: set smtp and smtp_from in {plan.data / FILE}")
    elif "@" in settings.smtp and not os.environ.get(MAIL_PASSWORD):
        say(f"The password for the mail server is to be given to serve as {MAIL_PASSWORD}.")


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


def _require_mail(addresses: tuple[str, ...], smtp: str | None, smtp_from: str | None) -> None:
    """Refuse what could not be mailed before anything is made, and a password in the open."""
    if (smtp is None) != (smtp_from is None):
        raise CommandError(
            "expected --smtp URL and --smtp-from ADDRESS, found one of them",
            hint="--smtp smtp+starttls://livepin@mail.example.com --smtp-from livepin@example.com",
        )
    if smtp is not None and ":" in smtp.partition("://")[2].rpartition("@")[0]:
        raise CommandError(
            "--smtp: a password in a command is in the process list, for everybody to read",
            hint=f"leave it out; {MAIL_PASSWORD} gives it to serve. And change this one",
        )
    if addresses:
        from livepin_server.services.monitoring.channel_kinds import Email, checked

        try:
            checked(Email(to=list(addresses)))
        except InvalidError as exc:
            raise CommandError(f"--alert-email: {exc}", hint="such as ops@example.com") from exc


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
    found = os.environ.get(DATABASE) or None
    if option is None:
        return found
    if not option.startswith("postgresql"):
        raise CommandError(
            "expected --database to be the URL of PostgreSQL",
            hint="postgresql+psycopg://USER@HOST/NAME; leave it out for SQLite in the data folder",
        )
    require_no_password(option, "--database")
    if found not in (None, option):
        raise CommandError(
            f"--database and {DATABASE} name different databases",
            hint="give one of them; whenever the server starts, the variable wins",
        )
    return None
