"""livepin account: who owns domains, streams, and a root key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number
from livepin.documents import root
from livepin.jose import PrivateKey, b64url_decode, sign_general

from livepin_server.custody.public_file import read_public
from livepin_server.custody.root_file import write_root_key

from .api import Local, connected
from .init import AccountName
from .output import UNREACHABLE, CommandError, day, say, show_json, table, warn, working
from .parameters import name_of
from .passphrases import PassphraseFile, new_passphrase
from .root import proposed
from .root_sign import write_proposal
from .root_words import still_missing

app = App(name="account")
_LOCAL = Local()


@app.command(
    help_epilogue="""Examples:
  livepin account add beta --root-key ./beta-root.key
  livepin account add beta --root-public alice.key.pub --root-public bob.key.pub --threshold 2"""
)
def add(
    name: AccountName,
    /,
    *,
    root_key: Annotated[
        Path | None, Parameter(metavar="FILE", help="A new file for the root key, encrypted.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    root_public: Annotated[
        tuple[Path, ...],
        Parameter(
            metavar="FILE.pub", help="The public half of a root key made elsewhere, for each key."
        ),
    ] = (),
    threshold: Annotated[
        int,
        Parameter(
            metavar="N", validator=Number(gte=1, lte=32), help="How many of these must sign a root."
        ),
    ] = 1,
    out: Annotated[
        Path | None,
        Parameter(metavar="FILE", help="A new file for the proposal; else NAME-root-1.json."),
    ] = None,
    local: Local = _LOCAL,
) -> None:
    """Make an account. Its root key is made here, and only signs here.

    With --root-public its root keys are elsewhere: the account is ready once enough of them have
    signed the proposal, and livepin root publish has brought it back.
    """
    name_of("an account", name, such_as="acme")
    if root_public:
        _propose(name, root_key, root_public, threshold, out, local)
        return
    if root_key is None or threshold != 1 or out is not None:
        raise CommandError(
            "expected --root-key FILE or --root-public FILE.pub",
            hint="--root-key makes the one root key here; --root-public names those made elsewhere",
        )
    passphrase = new_passphrase(root_key, passphrase_file)
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


def _propose(
    name: str,
    root_key: Path | None,
    root_public: Sequence[Path],
    threshold: int,
    out: Path | None,
    local: Local,
) -> None:
    """Write the proposal of root 1, to be signed where the root keys are."""
    if root_key is not None:
        raise CommandError(
            "expected --root-key or --root-public, found both", hint="where is the root key?"
        )
    body = {"root_keys": [read_public(each) for each in root_public], "threshold": threshold}
    file = out or Path(f"{name}-root-1.json")
    with connected(local) as api:
        proposal = proposed(api.call("POST", f"/v1/accounts/{name}/prepare", body))
    write_proposal(file, proposal, new=True)
    if local.json:
        show_json({"file": str(file), "version": 1})
        return
    say(f"{file} proposes root 1 of {name}. {still_missing(proposal)}", "green")
    say("Carry it to each machine with a root key. There:")
    say(f"  livepin root sign {file} --key FILE")


@app.command(name="list", help_epilogue="Example:\n  livepin account list")
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
    for each in found:
        for text in each["warnings"]:
            warn(text)
