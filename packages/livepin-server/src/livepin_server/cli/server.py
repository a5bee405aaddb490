"""livepin init, serve, upgrade, status, account: the server itself."""

from __future__ import annotations

import getpass
import json
import os
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import App, Parameter
from livepin.documents import root
from livepin.documents.config import check_url
from livepin.errors import LivepinError, MalformedError
from livepin.jose import PrivateKey, b64url_decode, sign_general

from livepin_server.custody.errors import CustodyError
from livepin_server.custody.root_file import SHORTEST_PASSPHRASE, write_root_key
from livepin_server.services.errors import ServiceError
from livepin_server.settings import Settings
from livepin_server.storage.schema_version import SchemaError

from .api import Common, connected, data_folder
from .output import FOUND, CommandError, day, say, show_json, table, warn, working

account_app = App(name="account", help="Accounts: each has its own root key, streams and pins.")
_DEFAULTS = Common()

RootKey = Annotated[
    Path | None, Parameter(help="A new file for the root key, not on the server for long.")
]
OnlineRoot = Annotated[
    bool, Parameter(negative="", help="Keep the root key on the server; for trials only.")
]
PassphraseFile = Annotated[
    Path | None, Parameter(help="A file with the passphrase; else it is asked for.")
]


def init(
    folder: Path,
    *,
    account: str,
    url: Annotated[tuple[str, ...], Parameter(help="Public base URL of delivery.", negative="")],
    recovery_url: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    root_key: RootKey = None,
    online_root: OnlineRoot = False,
    passphrase_file: PassphraseFile = None,
    port: Annotated[int | None, Parameter(help="Delivery's; else that of the URL.")] = None,
    management_port: int = 8444,
    common: Common = _DEFAULTS,
) -> None:
    """Make a data folder: database, keys, TLS identity, and a first account with its root key.

    Example: livepin init ./livepin-data --account acme --url https://pins.example.com:8443
    --root-key ./acme-root.key
    """
    from livepin_server.folder import Plan
    from livepin_server.main import initialise

    if (root_key is None) == (not online_root):
        raise CommandError(
            "expected --root-key FILE or --online-root",
            hint="--root-key keeps the root key off the server; --online-root is for trials",
        )
    settings = Settings(
        delivery_urls=list(url),
        recovery_urls=list(recovery_url),
        delivery_port=port if port is not None else _port(url) or 8443,
        management_port=management_port,
    )
    passphrase = None if root_key is None else _new_passphrase(passphrase_file)
    plan = Plan(
        data=folder,
        account=account,
        settings=settings,
        root_key=root_key,
        passphrase=passphrase,
    )
    with working("making keys and the database"):
        initialise(plan)
    if common.json:
        show_json({"data": str(folder), "account": account, "root_key": str(root_key or "")})
        return
    say(f"{folder} is ready: account {account}, delivery at {', '.join(url)}", style="bold green")
    if root_key is None:
        warn("the root key is on the server: who steals the server owns every app of the account")
    else:
        say(f"The root key is in {root_key}, encrypted. Move it off this machine, twice, to")
        say("places that do not burn together. It is needed to replace the server's keys.")
    say("Next:")
    named = "" if str(folder) in ("livepin-data", "./livepin-data") else f" --data {folder}"
    say(f"  livepin serve{named}")
    say(f"  livepin domain add api.example.com{named}")


def serve(*, common: Common = _DEFAULTS) -> None:
    """Serve delivery and management until Ctrl-C or SIGTERM."""
    from livepin_server.main import run_server

    run_server(data_folder(common))


def upgrade(*, common: Common = _DEFAULTS) -> None:
    """Bring the database to this version, after a backup."""
    from livepin_server.main import upgrade as run

    with working("upgrading"):
        schema, backup = run(data_folder(common))
    if common.json:
        show_json({"schema": schema, "backup": None if backup is None else str(backup)})
        return
    say(f"the database has the schema {schema}" + (f"; backup: {backup}" if backup else ""))


def status(*, common: Common = _DEFAULTS) -> None:
    """Show how the server fares. The exit code is 1 if something needs attention."""
    with connected(common) as api:
        found = api.call("GET", "/v1/status")
        accounts = api.call("GET", "/v1/accounts")
    if common.json:
        show_json(found | {"items": accounts})
    else:
        say(f"livepin-server {found['version']}, {found['accounts']} accounts")
        for text in found["warnings"]:
            warn(text)
    if found["warnings"]:
        raise SystemExit(FOUND)


@account_app.command
def add(
    name: str,
    *,
    root_key: RootKey = None,
    passphrase_file: PassphraseFile = None,
    common: Common = _DEFAULTS,
) -> None:
    """Make an account. Its root key is made here, and only signs here."""
    if root_key is None:
        raise CommandError("expected --root-key FILE", hint="a new file, for the root key")
    passphrase = _new_passphrase(passphrase_file)
    key = PrivateKey.generate()
    with connected(common) as api:
        path = f"/v1/accounts/{name}"
        prepared = api.call("POST", f"{path}/prepare", {"root_keys": [key.public.jwk()]})
        write_root_key(root_key, key, account=name, passphrase=passphrase)
        payload = b64url_decode(prepared["payload"].encode())
        document = sign_general(payload, typ=root.TYP, signers=[key])
        try:
            done = api.call("PUT", f"{path}/root", {"document": json.loads(document)})
        except CommandError:
            root_key.unlink(missing_ok=True)
            raise
    if common.json:
        show_json(done)
    else:
        say(f"the account {name} is ready; its root key is in {root_key}, encrypted")


@account_app.command(name="list")
def list_(*, common: Common = _DEFAULTS) -> None:
    """Show the accounts."""
    with connected(common) as api:
        found = api.call("GET", "/v1/accounts")
    if common.json:
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


def _port(urls: tuple[str, ...]) -> int | None:
    """Return the port of the first delivery URL; a wrong URL is refused here."""
    try:
        for url in urls:
            check_url(url, schemes=("https",))
        return urlsplit(urls[0]).port
    except (MalformedError, IndexError) as exc:
        raise CommandError(
            str(exc) if urls else "expected --url",
            hint="the public base URL of delivery, such as https://pins.example.com:8443",
        ) from exc


def _new_passphrase(file: Path | None) -> str:
    """Return a new passphrase: from a file, the environment, or asked for twice."""
    if file is not None:
        try:
            return file.read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise CommandError(f"cannot read {file}: {exc}") from exc
    found = os.environ.get("LIVEPIN_ROOT_PASSPHRASE")
    if found:
        return found
    if not sys.stdin.isatty():
        raise CommandError(
            "expected a passphrase for the root key",
            hint="--passphrase-file FILE, or the variable LIVEPIN_ROOT_PASSPHRASE",
        )
    first = getpass.getpass(f"Passphrase for the root key (at least {SHORTEST_PASSPHRASE}): ")
    if first != getpass.getpass("The same again: "):
        raise CommandError("the two passphrases differ")
    return first


ERRORS = (LivepinError, ServiceError, SchemaError, CustodyError)
