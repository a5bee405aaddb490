"""Which server a command is meant for: by what is said, the environment, or the default profile.

    1. --data or --profile
    2. one of LIVEPIN_PROFILE, LIVEPIN_URL, LIVEPIN_DATA
    3. the default profile
    4. ./livepin-data

Two answers of the same rank are a mistake that nothing here guesses away: a change of pins on the
wrong server is an outage.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from livepin_server.errors import CustodyError
from livepin_server.layout import OPERATOR_KEY, TLS
from livepin_server.settings import FILE

from .output import CommandError
from .profiles import Profile, Profiles

HERE = Path("livepin-data")
_PROFILE, _URL, _DATA = _VARIABLES = ("LIVEPIN_PROFILE", "LIVEPIN_URL", "LIVEPIN_DATA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a person calls the URL, the key and the CA of a place, for errors about them."""

    url: str = "LIVEPIN_URL"
    key: str = "LIVEPIN_API_KEY"
    ca: str = "LIVEPIN_CA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server elsewhere, and a key for it."""

    url: str
    key: str = field(repr=False)
    ca: str | None
    names: Names = Names()
    account: str | None = None
    profile: str | None = None  # where it is one, and not the default
    key_file: Path | None = None  # where the key is kept, if in a file

    @property
    def where(self) -> str:
        """The address."""
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A data folder on this machine."""

    data: Path
    account: str | None = None
    profile: str | None = None  # where it is one, and not the default

    @property
    def where(self) -> str:
        """The path."""
        return str(self.data)

    @property
    def names(self) -> Names:
        """What a person calls the URL, the key and the CA of a server that runs on it."""
        ca = str(self.data / TLS / "ca.pem")
        return Names(url=self.where, key=str(self.data / OPERATOR_KEY), ca=ca)


def find(data: Path | None, profile: str | None) -> Server | Folder:
    """Return the server or data folder that is meant.

    Raises:
        CommandError: two are, or the one cannot be used. CustodyError: its key cannot.
    """
    how, what = _said(data, profile, _VARIABLES) or _unsaid(Profiles.load())
    if how == _DATA:
        return Folder(data=Path(what))
    if how == _URL:
        return _of_environment(what)
    profiles = Profiles.load()
    return _of_profile(profiles, what, profiles[what])


def find_folder(data: Path | None, profile: str | None) -> Path:
    """Return the data folder that is meant, for what nobody can do on a server elsewhere.

    Where nothing is said, a default profile that is a server elsewhere does not count.

    Raises:
        CommandError: two are meant, or the profile that was named is no data folder.
    """
    said = _said(data, profile, (_PROFILE, _DATA))
    if said is not None and said[0] == _DATA:
        return Path(said[1])
    profiles = Profiles.load()
    name = profiles.default if said is None else said[1]
    folder = None if name is None else profiles[name].data
    if folder is None and said is None:
        return HERE
    if folder is None:
        raise CommandError(
            f"the profile {name} is a server elsewhere, and this works on a data folder",
            hint="run it on that server, with --data FOLDER",
        )
    if said is None:
        _unsaid(profiles)
    return Path(folder)


def is_found_unsaid(data: Path) -> bool:
    """Tell whether commands find a data folder where no option is given."""
    try:
        return find(None, None).where == str(data)
    except (CommandError, CustodyError):
        return False


def https(url: str, what: str) -> str:
    """Return the URL of a management listener.

    Over plain HTTP the key would be everybody's; before an @ stands a password.

    Raises:
        CommandError: it is none; `what` names it.
    """
    try:
        parts = urlsplit(url)
        wrong = parts.scheme != "https" or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if wrong or "@" in url:
        found = "one with a password" if "@" in url else repr(url[:200])
        raise CommandError(
            f"expected {what} to be an https URL, found {found}",
            hint="such as https://127.0.0.1:8444",
        )
    return url


def checked_key(text: str, what: str) -> str:
    """Return the text of an API key.

    Raises:
        CommandError: it cannot be one; `what` names it.
    """
    key = text.strip()
    if not (key and key.isascii() and key.isprintable()):
        raise CommandError(f"{what} is not an API key", hint="a key looks like lpk_...")
    return key


def _said(
    data: Path | None, profile: str | None, variables: tuple[str, ...]
) -> tuple[str, str] | None:
    """Return what an option says, else a variable: which of the variables, and its value."""
    if data is not None and profile is not None:
        raise CommandError(
            f"expected one place, found --data {data} and --profile {profile}",
            hint="say the one that is meant",
        )
    if data is not None:
        return _DATA, str(data)
    if profile is not None:
        return _PROFILE, profile
    found = [(name, value) for name in variables if (value := os.environ.get(name))]
    if len(found) > 1:
        raise CommandError(
            f"{' and '.join(name for name, _ in found)} are set, and each names a place",
            hint="unset all but one, or say --profile NAME or --data FOLDER",
        )
    return found[0] if found else None


def _unsaid(profiles: Profiles) -> tuple[str, str]:
    """Return what is meant where nothing is said."""
    name = profiles.default
    if name is None:
        return _DATA, str(HERE)
    kept = profiles[name].data
    if (HERE / FILE).is_file() and not (kept is not None and Path(kept) == HERE.resolve()):
        raise CommandError(
            f"the profile {name} is the default, and here is the data folder {HERE}",
            hint=f"which one? --profile {name}, or --data {HERE}",
        )
    return _PROFILE, name


def _of_environment(url: str) -> Server:
    key = os.environ.get("LIVEPIN_API_KEY", "").strip()
    if not key:
        raise CommandError(
            "LIVEPIN_URL is set, LIVEPIN_API_KEY is not", hint="it takes a key, such as lpk_..."
        )
    names = Names()
    return Server(
        url=https(url, names.url),
        key=checked_key(key, names.key),
        ca=os.environ.get("LIVEPIN_CA") or None,
    )


def _of_profile(profiles: Profiles, name: str, profile: Profile) -> Server | Folder:
    shown = None if name == profiles.default else name
    if profile.url is None:
        return Folder(data=Path(profile.data or ""), account=profile.account, profile=shown)
    names = Names(
        url=f"the URL of the profile {name}",
        key=f"the key of the profile {name}",
        ca=f"the CA of the profile {name}",
    )
    return Server(
        url=https(profile.url, names.url),
        key=checked_key(profiles.key(name), names.key),
        ca=profile.ca,
        names=names,
        account=profile.account,
        profile=shown,
        key_file=profiles.key_file(name),
    )
