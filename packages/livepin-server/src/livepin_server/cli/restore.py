"""livepin restore: a data folder out of a backup."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from livepin.documents.members import MAX_VERSION

from livepin_server.custody import age
from livepin_server.custody.age import Opening

from .api import Json
from .backup import PassphraseFile
from .output import FOUND, CommandError, counted, progress, say, show_json, warn, working
from .parameters import quoted
from .passphrases import BACKUP_VARIABLE, passphrase
from .places import is_found_unsaid

if TYPE_CHECKING:
    from livepin_server.backups.accounts import RestoredAccount
    from livepin_server.backups.restoring import Restored

_DATABASE = "LIVEPIN_DATABASE"
_MOST_LINES = 20  # of what a config holds that the backup does not


def restore(
    file: Annotated[Path, Parameter(help="The backup.")],
    folder: Annotated[Path, Parameter(help="A new folder.")],
    /,
    *,
    identity: Annotated[
        tuple[Path, ...],
        Parameter(metavar="FILE", help="The file of an age identity; may be given again."),
    ] = (),
    passphrase_file: PassphraseFile = None,
    database: Annotated[
        str | None,
        Parameter(
            metavar="URL",
            help="An empty PostgreSQL, without password, or sqlite; else what the backup says.",
        ),
    ] = None,
    seen: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="PLACE",
            help="A folder or URL where the documents may be newer; may be given again.",
        ),
    ] = (),
    keep: Annotated[
        Path | None,
        Parameter(metavar="FOLDER", help="Keep newer configs there, which the backup lacks."),
    ] = None,
    above: Annotated[
        int | None,
        Parameter(
            metavar="VERSION",
            validator=Number(gte=1, lte=MAX_VERSION),
            help="Go on above this version at least; needed where the clock is wrong.",
        ),
    ] = None,
    offline: Annotated[
        bool, Parameter(help="Do not look for newer documents, but for those of --seen.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a data folder out of a backup. Its server goes on above every version that apps know.

    Stop the lost server for good before. The first start publishes every stream again.
    """
    _check_database(database)
    opened = _opening(file, identity, passphrase_file)
    with working("opening the backup"):
        from livepin_server.backups.restoring import RestorePlan  # these take a while
        from livepin_server.main import restore as run

        plan = RestorePlan(
            file=file, data=folder, opening=opened, database=database, above=above, seen=seen,
            keep=keep, offline=offline,
        )  # fmt: skip
        restored = run(plan, progress=lambda rows: progress(counted(rows, "row")))
    if json:
        show_json(_json(folder, restored))
    else:
        _show(folder, restored)
    if any(each.foreign is not None or not each.signs for each in restored.accounts):
        raise SystemExit(FOUND)


def _opening(file: Path, identities: tuple[Path, ...], passphrase_file: Path | None) -> Opening:
    if identities:
        found = [each for path in identities for each in age.read_identities(path)]
        return Opening(identities=tuple(found))
    try:
        with file.open("rb") as sealed:
            under_passphrase = age.needs_passphrase(sealed)
    except OSError as exc:
        raise CommandError(
            f"cannot read {file}: {exc.strerror}", hint="is it the right file?"
        ) from exc
    if not under_passphrase:
        return Opening()  # whoever opens it says what is needed
    question = "Passphrase of the backup: "
    return Opening(passphrase=passphrase("the backup", BACKUP_VARIABLE, passphrase_file, question))


def _check_database(option: str | None) -> None:
    """Refuse a URL that may not stand in a command, or that the environment would overrule."""
    from livepin_server.backups.restoring import SQLITE
    from livepin_server.storage.database import has_password

    if option in (None, SQLITE):
        return
    if not option.startswith("postgresql"):
        raise CommandError(
            "expected --database to be the URL of PostgreSQL, or sqlite",
            hint="postgresql+psycopg://USER@HOST/NAME; sqlite is a file in the new folder",
        )
    if has_password(option):
        raise CommandError(
            "--database: a password in a command is in the process list, for everybody to read",
            hint="leave it out; PGPASSWORD, PGPASSFILE or ~/.pgpass gives it. And change this one",
        )
    if os.environ.get(_DATABASE) not in (None, "", option):
        raise CommandError(
            f"--database and {_DATABASE} name different databases",
            hint="give one of them; whenever the server starts, the variable wins",
        )


def _show(folder: Path, restored: Restored) -> None:
    header = restored.header
    what = f"{counted(len(restored.accounts), 'account')}, {counted(restored.rows, 'row')}"
    when = f"{header.moment:%Y-%m-%d %H:%M} UTC"
    say(f"{folder} is restored from the backup of {when}: {what}", style="bold green")
    for each in restored.accounts:
        say(
            f"{each.name} goes on above version {each.floor}; the last in the backup is {each.last}"
        )
        _show_sightings(each)
    for path in restored.kept:
        say(f"kept: {path}")
    if header.master_key == "elsewhere":
        warn("the backup holds no master key: serve needs it as LIVEPIN_MASTER_KEY")
    if os.environ.get(_DATABASE):
        say(f"The database is that of {_DATABASE}, which is not written down: serve needs it, too.")
    named = "" if is_found_unsaid(folder) else f" --data {quoted(str(folder))}"
    say("Next, once the lost server is stopped for good:")
    say(f"  livepin serve{named}")
    for each in restored.accounts:
        if not each.signs or each.foreign is not None:
            say(f"  livepin root prepare --account {each.name}{named}")


def _show_sightings(account: RestoredAccount) -> None:
    from livepin_server.backups import looking, mark

    for text in account.sightings.said:
        say(f"  {text}")
    for stream, newer in sorted(account.sightings.newer.items()):
        version = f"config {newer.config.version} of {stream}"
        say(f"  {newer.where}: {version} is newer than the backup, which lacks:")
        found = list(looking.lines(newer)) or ["nothing that an app would notice"]
        for line in found[:_MOST_LINES]:
            say(f"    {line}")
        if len(found) > _MOST_LINES:
            say(f"    and {len(found) - _MOST_LINES} more")
    for url in account.sightings.alive:
        warn(f"{url} answers: is the lost server still running? Two of one account undo each other")
    if not account.signs:
        warn(
            f"root {account.root_version} of {account.name} names no key that the backup holds: "
            "nothing can be published until a new root does"
        )
    if account.foreign is not None:
        warn(mark.foreign(account.name, account.foreign))


def _json(folder: Path, restored: Restored) -> dict[str, Any]:
    from livepin_server.backups import looking

    return {
        "data": str(folder),
        "moment": restored.header.moment,
        "rows": restored.rows,
        "master_key": restored.header.master_key == "file",
        "kept": [str(path) for path in restored.kept],
        "accounts": [
            {
                "name": each.name,
                "last": each.last,
                "above": each.floor,
                "root_version": each.root_version,
                "signs": each.signs,
                "foreign": each.foreign,
                "said": each.sightings.said,
                "alive": each.sightings.alive,
                "newer": [
                    {
                        "stream": stream,
                        "where": newer.where,
                        "root_version": newer.config.root_version,
                        "version": newer.config.version,
                        "lines": list(looking.lines(newer)),
                    }
                    for stream, newer in sorted(each.sightings.newer.items())
                ],
            }
            for each in restored.accounts
        ],
    }
