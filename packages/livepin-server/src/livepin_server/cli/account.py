"""livepin account: who owns domains, streams, and a root key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from livepin.documents import root
from livepin.jose import PrivateKey, b64url_decode, sign_general

from livepin_server.custody.root_file import write_root_key

from .api import Local, connected
from .init import AccountName
from .output import UNREACHABLE, CommandError, day, say, show_json, table, working
from .parameters import name_of
from .passphrases import PassphraseFile, new_passphrase

app = App(name="account")
_LOCAL = Local()


@app.command(help_epilogue="Example:\n  livepin account add beta --root-key ./beta-root.key")
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
