"""livepin profile: servers that the commands know by name."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from livepin_server.services.nearest import nearest

from .api import Json, reaching
from .files import read_text
from .output import CommandError, say, show_json, table
from .parameters import name_of
from .places import Folder, Names, Server, checked_key, https
from .profiles import Profile, Profiles

app = App(name="profile")

_NAMES = Names(url="--url", key="the key", ca="--ca")
_MOST_KEY = 1024  # characters
_MAY = {
    "viewer": "it may look",
    "operator": "it may change domains and pins",
    "admin": "it may do everything",
}

ProfileName = Annotated[str, Parameter(metavar="NAME", help="The name of a profile.")]


@app.command(
    help_epilogue="""Examples:
  livepin profile add production --url https://pins.example.com:8444 --ca production-ca.pem
  livepin profile add staging --url https://10.0.0.5:8444 --ca ca.pem --key-file -
  livepin profile add trial --data ./livepin-data"""
)
def add(
    name: Annotated[str, Parameter(help="A name of a-z, 0-9 and hyphens.")],
    /,
    *,
    url: Annotated[
        str | None, Parameter(metavar="URL", help="The https URL of a management listener.")
    ] = None,
    ca: Annotated[
        Path | None, Parameter(metavar="FILE", help="A copy of tls/ca.pem of its data folder.")
    ] = None,
    key_file: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            allow_leading_hyphen=True,
            help="Holds the API key, - is standard input; else it is asked for.",
        ),
    ] = None,
    data: Annotated[
        Path | None, Parameter(metavar="FOLDER", help="A data folder on this machine instead.")
    ] = None,
    account: Annotated[
        str | None, Parameter(metavar="NAME", help="The account that is meant unless one is said.")
    ] = None,
    unchecked: Annotated[
        bool, Parameter(help="Keep it although the server was not tried.")
    ] = False,
    json: Json = False,
) -> None:
    """Give a server a name, and keep an API key for it.

    The server is tried first. The key is kept in a file of its own that only you can read.
    """
    profiles = Profiles.load()
    _require_new(name, profiles)
    if (url is None) == (data is None):
        raise CommandError("expected --url URL or --data FOLDER", hint="livepin profile add --help")
    if account is not None:
        name_of("an account", account, such_as="acme")
    meant = _folder(data, ca, key_file) if url is None else _server(url, ca, key_file)
    caller = None if unchecked else _tried(meant, account)
    if isinstance(meant, Server):
        profile, key = Profile(url=meant.url, ca=meant.ca, account=account), meant.key
    else:
        profile, key = Profile(data=meant.where, account=account), None
    profiles.add(name, profile, key=key)
    if json:
        show_json(_shown(name, profile, Profiles.load()) | {"caller": caller})
        return
    say(f"{name} is {meant.where}", "green")
    if caller is not None:
        say(_may(caller))
    say("Next:")
    say(f"  livepin status --profile {name}")
    say(f"  livepin profile use {name}")


@app.command(name="list", help_epilogue="Example:\n  livepin profile list")
def list_(*, json: Json = False) -> None:
    """Show the profiles."""
    profiles = Profiles.load()
    rows = [_shown(name, each, profiles) for name, each in sorted(profiles.known.items())]
    if json:
        show_json(rows)
        return
    if not rows:
        say("no profiles yet; add one with: livepin profile add NAME --url URL --ca FILE")
        return
    table(
        ("profile", "place", "account", "default"),
        [
            (
                each["name"],
                each["url"] or each["data"],
                each["account"] or "-",
                "yes" if each["default"] else "no",
            )
            for each in rows
        ],
    )


@app.command(help_epilogue="Example:\n  livepin profile use production")
def use(
    name: Annotated[str | None, Parameter(metavar="NAME", help="The name of a profile.")] = None,
    /,
    *,
    none: Annotated[bool, Parameter(help="Have no default.")] = False,
) -> None:
    """Make a profile the default: what commands are meant for where nothing else is said."""
    if (name is None) == (not none):
        raise CommandError("expected NAME or --none", hint="livepin profile list")
    profiles = Profiles.load()
    profiles.use(name)
    if name is None:
        say("no profile is the default")
    else:
        say(f"commands are meant for {name} now: {_where(profiles[name])}")


@app.command(help_epilogue="Example:\n  livepin profile show production")
def show(name: ProfileName, /, *, json: Json = False) -> None:
    """Show one profile; its key is never shown."""
    profiles = Profiles.load()
    found = _shown(name, profiles[name], profiles)
    if json:
        show_json(found)
        return
    say(name, style="bold")
    for member in ("url", "ca", "data", "account", "key_file"):
        if found[member] is not None:
            say(f"  {member.replace('_', ' '):9} {found[member]}")
    say(f"  default   {'yes' if found['default'] else 'no'}")


@app.command(help_epilogue="Example:\n  livepin profile remove staging")
def remove(name: ProfileName, /) -> None:
    """Forget a profile, and the key that was kept for it."""
    gone = Profiles.load().remove(name)
    say(f"{name} is forgotten; {_where(gone)} was not changed")
    if gone.url is not None:
        say("Its API key was deleted here, and is valid there until it is revoked.")


def _require_new(name: str, profiles: Profiles) -> None:
    name_of("a profile", name, such_as="production")
    if name in profiles.known:
        raise CommandError(
            f"there is a profile {name} already: {_where(profiles[name])}",
            hint=f"choose another name, or first: livepin profile remove {name}",
        )


def _server(url: str, ca: Path | None, key_file: Path | None) -> Server:
    https(url, _NAMES.url)
    return Server(
        url=url,
        key=checked_key(_secret(key_file), _NAMES.key),
        ca=None if ca is None else str(ca.absolute()),
        names=_NAMES,
    )


def _folder(data: Path | None, ca: Path | None, key_file: Path | None) -> Folder:
    if data is None or ca is not None or key_file is not None:
        raise CommandError("--ca and --key-file go with --url", hint="a data folder has its own")
    return Folder(data=data.resolve())


def _secret(file: Path | None) -> str:
    """Return an API key: from a file, standard input, or asked for. It is no argument."""
    if file is not None and str(file) != "-":
        return read_text(file)
    if file is not None:
        return sys.stdin.read(_MOST_KEY)
    if not sys.stdin.isatty():
        raise CommandError(
            "expected an API key", hint="--key-file FILE, or --key-file - for standard input"
        )
    try:
        return getpass.getpass("API key: ")
    except EOFError as exc:
        raise CommandError("expected an API key") from exc


def _tried(meant: Server | Folder, account: str | None) -> dict[str, Any]:
    """Return whom the server takes the caller for."""
    with reaching(meant) as api:
        caller: dict[str, Any] = api.call("GET", "/v1/whoami")
        if account is not None:
            own = caller["account"]
            names = [own] if own else [each["name"] for each in api.call("GET", "/v1/accounts")]
            if account not in names:
                raise CommandError(
                    f"there is no account {account!r}", hint=nearest("account", account, names)
                )
    return caller


def _may(caller: dict[str, Any]) -> str:
    where = "in every account" if caller["account"] is None else f"in {caller['account']}"
    what = _MAY.get(caller["role"])
    role = f"the key {caller['name']!r} has the role {caller['role']}"
    scopes = caller["scopes"]
    alone = "" if scopes is None else f", for {', '.join(scopes) or 'nothing'} alone"
    return f"{role}{alone}" if what is None else f"{role}: {what}, {where}{alone}"


def _where(profile: Profile) -> str:
    return profile.url or profile.data or ""


def _shown(name: str, profile: Profile, profiles: Profiles) -> dict[str, Any]:
    key_file = None if profile.url is None else str(profiles.key_file(name))
    members = msgspec.to_builtins(profile)
    return {"name": name, **members, "key_file": key_file, "default": name == profiles.default}
