"""Profiles: servers that the commands know by name, in one small file of the user's.

A profile is a server elsewhere or a data folder. The API key of a server is a secret: it is in a
file of its own beside, which is refused once others can read it. The profiles themselves are
refused once others can change them: whoever does could have the key sent to another server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import tomllib

from livepin_server.custody.files import read_secret, write_secret
from livepin_server.services.model import Name
from livepin_server.services.nearest import nearest

from .output import CommandError, put

FILE = "profiles.toml"
_MOST = 256 * 1024  # bytes
_MOST_KEY = 1024  # bytes
_HEADER = (
    "# Servers by name. livepin profile writes this file; the API keys are in files beside it."
)


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server at a `url`, with its CA file, or a folder `data`; and the account that is meant."""

    url: str | None = None
    ca: str | None = None
    data: str | None = None
    account: Name | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    default: str | None = None
    profiles: dict[Name, Profile] = {}


@dataclass(frozen=True, slots=True)
class Profiles:
    """The profiles of a user, in `folder`. Every change is written at once, whole or not at all.

    `default` names the profile that commands use where nothing else is said.
    """

    folder: Path
    default: str | None
    known: Mapping[str, Profile]

    @classmethod
    def load(cls) -> Profiles:
        """Return what is kept; no file is no profiles.

        Raises:
            CommandError: the file cannot be used; the message says why.
        """
        folder = _folder(os.environ)
        path = folder / FILE
        text = _read(path)
        try:
            found = msgspec.convert(tomllib.loads(text), _File)
            _require_whole(found)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
            reason = str(exc).replace("`", "").replace("$.", "")
            raise CommandError(f"{path}: {reason}", hint="mend it, or move it away") from exc
        return cls(folder, found.default, found.profiles)

    def __getitem__(self, name: str) -> Profile:
        """Return a profile.

        Raises:
            CommandError: there is none of that name; the hint says which was probably meant.
        """
        if name not in self.known:
            raise CommandError(
                f"there is no profile {name[:100]!r}", hint=nearest("profile", name, self.known)
            )
        return self.known[name]

    def key_file(self, name: str) -> Path:
        """Return where the API key of a profile is."""
        return self.folder / f"{name}.key"

    def key(self, name: str) -> str:
        """Return the API key of a profile.

        Raises:
            CustodyError: it is not there, or others can read it.
        """
        return read_secret(self.key_file(name), limit=_MOST_KEY).decode("latin-1").strip()

    def add(self, name: str, profile: Profile, *, key: str | None) -> None:
        """Keep a new profile, and its key.

        Raises:
            CommandError, CustodyError: it cannot be kept; nothing of it was.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise CommandError(f"cannot make {self.folder}: {exc.strerror}") from exc
        if key is not None:
            if self.key_file(name).exists():
                raise CommandError(
                    f"{self.key_file(name)} exists already",
                    hint="no profile has this key: move it away, or delete it",
                )
            write_secret(self.key_file(name), key.encode() + b"\n")
        try:
            self._write(self.default, {**self.known, name: profile})
        except BaseException:
            if key is not None:
                self.key_file(name).unlink()
            raise

    def use(self, name: str | None) -> None:
        """Make a profile the default, or none."""
        if name is not None:
            self[name]
        self._write(name, self.known)

    def remove(self, name: str) -> Profile:
        """Forget a profile and its key; return what it was."""
        gone = self[name]
        left = {each: found for each, found in self.known.items() if each != name}
        self._write(None if name == self.default else self.default, left)
        self.key_file(name).unlink(missing_ok=True)
        return gone

    def _write(self, default: str | None, known: Mapping[str, Profile]) -> None:
        text, path = _render(default, known), self.folder / FILE
        try:
            put(path, text, mode=0o600)
        except OSError as exc:
            raise CommandError(f"cannot write {path}: {exc.strerror}") from exc


def _folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of this program among those where a user's programs keep such files.

    On Linux as the XDG Base Directory Specification says: a relative path there is ignored.
    """
    said = environment.get("LIVEPIN_PROFILES")
    if said:
        return Path(said)
    if sys.platform == "win32":
        roaming = environment.get("APPDATA")
        return (Path(roaming) if roaming else Path.home() / "AppData" / "Roaming") / "livepin"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "livepin"
    named = Path(environment.get("XDG_CONFIG_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".config") / "livepin"


def _read(path: Path) -> str:
    try:
        _require_own(path.parent, path.parent.stat(), mode="700")
        with path.open("rb") as file:
            _require_own(path, os.fstat(file.fileno()), mode="600")
            data = file.read(_MOST + 1)
    except FileNotFoundError:
        return ""
    except OSError as exc:
        raise CommandError(f"cannot read {path}: {exc.strerror}") from exc
    if len(data) > _MOST:
        raise CommandError(f"expected {path} to hold at most {_MOST // 1024} KiB")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise CommandError(f"{path}: it is not text", hint="mend it, or move it away") from exc


def _require_own(path: Path, found: os.stat_result, *, mode: str) -> None:
    """Refuse what others can change: by its mode, or since it is theirs."""
    if os.name != "posix":
        return
    if found.st_uid not in (0, os.geteuid()):
        raise CommandError(
            f"{path} belongs to another user", hint="LIVEPIN_PROFILES names another folder"
        )
    if found.st_mode & 0o022:
        raise CommandError(f"{path} can be changed by others", hint=f"chmod {mode} {path}")


def _require_whole(found: _File) -> None:
    for name, each in found.profiles.items():
        if (each.url is None) == (each.data is None):
            raise msgspec.ValidationError(f"Expected url or data - at profiles.{name}")
    if found.default is not None and found.default not in found.profiles:
        raise msgspec.ValidationError(f"default: there is no profile {found.default[:100]!r}")


def _render(default: str | None, known: Mapping[str, Profile]) -> str:
    lines = [_HEADER, *([] if default is None else [f"default = {_quoted(default)}"])]
    for name, each in sorted(known.items()):
        members: dict[str, Any] = msgspec.to_builtins(each)
        lines += ["", f"[profiles.{name}]"]
        lines += [f"{member} = {_quoted(text)}" for member, text in members.items() if text]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a string as TOML writes it, which is as JSON does where all of it can be printed."""
    if not text.isprintable():
        raise CommandError(f"expected characters that can be printed, found {text[:100]!r}")
    return msgspec.json.encode(text).decode()
