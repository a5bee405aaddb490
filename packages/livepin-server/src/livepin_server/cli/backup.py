"""livepin backup: everything that a lost server needs, in one sealed file."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from livepin.errors import LivepinError

from livepin_server.custody import age
from livepin_server.custody.age import Seal
from livepin_server.custody.root_file import SHORTEST_PASSPHRASE
from livepin_server.errors import ServiceError

from .api import Json, Local, data_folder, opening, reaching
from .output import CommandError, counted, progress, say, show_json, warn, working
from .parameters import quoted
from .passphrases import BACKUP_VARIABLE, passphrase
from .places import Folder

app = App(
    name="backup",
    help_epilogue="""Examples:
  livepin backup /var/backups/livepin.age --recipient age1...
  livepin backup acme.age --passphrase-file words""",
)
_LOCAL = Local()

PassphraseFile = Annotated[
    Path | None,
    Parameter(metavar="FILE", help=f"Holds the passphrase; else {BACKUP_VARIABLE}, or a question."),
]


@app.default
def backup(
    file: Annotated[Path, Parameter(help="The backup to write; it may replace an older one.")],
    /,
    *,
    recipient: Annotated[
        tuple[str, ...],
        Parameter(metavar="AGE1...", help="Who can open it: an age recipient; may be given again."),
    ] = (),
    passphrase_file: PassphraseFile = None,
    local: Local = _LOCAL,
) -> None:
    """Back up a data folder, while its server runs or not.

    It is sealed in the age format: to recipients, or under a passphrase.
    """
    data = data_folder(local)
    seal = _seal(recipient, passphrase_file)
    with opening(data), working("reading the data folder"):
        from livepin_server.main import back_up  # it takes a while

        made = back_up(data, file, seal, progress=lambda rows: progress(counted(rows, "row")))
    noted = _note(data, {"recipients": len(recipient), "size": made.size, "rows": made.rows})
    if local.json:
        show_json(asdict(made) | {"path": str(file), "noted": noted})
        return
    what = f"{counted(made.accounts, 'account')}, {counted(made.rows, 'row')}, {_size(made.size)}"
    sealed = f"to {counted(len(recipient), 'recipient')}" if recipient else "under a passphrase"
    say(f"{file} is a backup of {data}: {what}, sealed {sealed}", style="bold green")
    if not made.master_key:
        warn("it holds no master key, for LIVEPIN_MASTER_KEY gives that: keep it elsewhere, too")
    say("Keep it off this machine. To make a server of it:")
    say(f"  livepin restore {quoted(str(file))} FOLDER{' --identity FILE' if recipient else ''}")


@app.command(name="new-key", help_epilogue="Example:\n  livepin backup new-key backup-identity.txt")
def new_key(
    file: Annotated[Path, Parameter(help="A new file for the identity, which opens backups.")],
    /,
    *,
    json: Json = False,
) -> None:
    """Make the key that opens backups; on another machine than the server's.

    The server needs its public half only, the recipient. age-keygen makes such keys too.
    """
    recipient = age.new_identity(file, now=datetime.now(timezone.utc))
    if json:
        show_json({"recipient": recipient, "file": str(file)})
        return
    say(recipient)
    say(f"The identity is in {file}: who has it opens every backup to this recipient. Keep it off")
    say("the server, twice, in places that do not burn together. On the server:")
    say(f"  livepin backup FILE --recipient {recipient}")


def _seal(recipients: tuple[str, ...], file: Path | None) -> Seal:
    if recipients and file is not None:
        raise CommandError("expected --recipient or --passphrase-file, found both")
    if recipients:
        return Seal(recipients=recipients).checked()
    if file is None and BACKUP_VARIABLE not in os.environ and not sys.stdin.isatty():
        raise CommandError(
            "expected --recipient AGE1..., or a passphrase: a backup holds every key of the server",
            hint="on another machine: livepin backup new-key FILE; it prints the recipient",
        )
    question = f"Passphrase for the backup (at least {SHORTEST_PASSPHRASE}): "
    found = passphrase("the backup", BACKUP_VARIABLE, file, question, "The same again: ")
    return Seal(passphrase=found).checked()


def _note(data: Path, made: dict[str, int]) -> bool:
    """Tell the server, for its history; the backup is whole whether it hears of it or not."""
    try:
        with reaching(Folder(data=data)) as api:
            api.call("POST", "/v1/backups", made)
    except (CommandError, LivepinError, ServiceError) as exc:
        warn(f"the backup is whole, but the server did not note it: {exc}")
        return False
    return True


def _size(number: int) -> str:
    if number < 1024:
        return f"{number} bytes"
    return f"{number / 1024:,.0f} KiB"
