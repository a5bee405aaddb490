"""The options that say by what the evidence of an app is known, and what they come to.

Keys are read from files: arguments are for all to see in the list of processes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from .files import read_text
from .output import CommandError

_PLAY_KEYS = "decryption_key", "verification_key"
_MOST = 64 * 1024  # characters of a file

Profile = Literal["kubernetes", "github", "gcp", "spiffe", "oidc"]
_Certificates = Annotated[
    tuple[str, ...],
    Parameter(metavar="HEX", help="The SHA-256 of a certificate that signs it; again for more."),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Identities:
    """What commands take that register an app."""

    android_package: Annotated[
        str | None, Parameter(metavar="PACKAGE", help="The app, in Android Key Attestation.")
    ] = None
    android_certificate: _Certificates = ()
    android_boot_key: Annotated[
        tuple[str, ...],
        Parameter(metavar="HEX", help="A verified boot key of another system that is taken."),
    ] = ()
    android_strongbox: Annotated[bool, Parameter(help="Take keys in a StrongBox alone.")] = False
    android_patched: Annotated[
        str | None, Parameter(metavar="YYYY-MM", help="The least patch level of the system.")
    ] = None
    apple_team: Annotated[
        str | None, Parameter(metavar="TEAM", help="The team, in Apple App Attest.")
    ] = None
    apple_bundle: Annotated[
        str | None, Parameter(metavar="BUNDLE", help="The bundle identifier there.")
    ] = None
    apple_development: Annotated[
        bool, Parameter(help="Take keys of Apple's development environment, too.")
    ] = False
    play_package: Annotated[
        str | None, Parameter(metavar="PACKAGE", help="The app, in Play Integrity.")
    ] = None
    play_certificate: _Certificates = ()
    play_keys: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            help="The keys of its Play Console page, which open tokens here: two lines, "
            "decryption_key=... and verification_key=...",
        ),
    ] = None
    play_service_account: Annotated[
        Path | None,
        Parameter(metavar="FILE", help="Or the JSON key of a service account: Google opens them."),
    ] = None
    workload_profile: Annotated[
        Profile | None, Parameter(help="The platform, in workload identity.")
    ] = None
    workload_issuer: Annotated[
        str | None, Parameter(metavar="URL", help="Who issues the tokens.")
    ] = None
    workload_audience: Annotated[
        str | None, Parameter(metavar="TEXT", help="Whom they are for: an audience of your own.")
    ] = None
    workload_subject: Annotated[
        str | None, Parameter(metavar="TEXT", help="Which workload; a * at the end is any.")
    ] = None
    workload_claim: Annotated[
        tuple[str, ...],
        Parameter(metavar="NAME=TEXT", help="What else a token must say; again for more."),
    ] = ()
    workload_jwks: Annotated[
        str | None,
        Parameter(metavar="FILE|URL", help="The keys of the issuer: a JWKS, or where it is."),
    ] = None
    workload_ca: Annotated[
        Path | None, Parameter(metavar="FILE", help="A private CA in PEM for that URL.")
    ] = None

    def said(self) -> dict[str, Any]:
        """Return the identities that were said, as the management API takes them.

        Raises:
            CommandError: one is said in part, or a file cannot be read.
        """
        made = {
            "android": self._android(),
            "apple": self._apple(),
            "play": self._play(),
            "workload": self._workload(),
        }
        return {kind: each for kind, each in made.items() if each is not None}

    def _android(self) -> dict[str, Any] | None:
        found: dict[str, Any] = {
            "package": self.android_package,
            "certificates": _digests(self.android_certificate),
            "boot_keys": _digests(self.android_boot_key),
            "strongbox": self.android_strongbox,
            "patched": self.android_patched,
        }
        return _whole("android", found, package="package", certificates="certificate")

    def _apple(self) -> dict[str, Any] | None:
        found: dict[str, Any] = {
            "team": self.apple_team,
            "bundle": self.apple_bundle,
            "development": self.apple_development,
        }
        return _whole("apple", found, team="team", bundle="bundle")

    def _play(self) -> dict[str, Any] | None:
        if self.play_keys is not None and self.play_service_account is not None:
            raise CommandError("expected --play-keys or --play-service-account, found both")
        found: dict[str, Any] = {
            "package": self.play_package,
            "certificates": _digests(self.play_certificate),
        }
        if self.play_keys is not None:
            found |= _play_keys(self.play_keys)
        elif self.play_service_account is not None:
            found["service_account"] = _service_account(self.play_service_account)
        made = _whole("play", found, package="package", certificates="certificate")
        if made is not None and self.play_keys is self.play_service_account:
            raise CommandError(
                "expected --play-keys FILE or --play-service-account FILE",
                hint="with neither, nobody could open the tokens of the app",
            )
        return made

    def _workload(self) -> dict[str, Any] | None:
        found: dict[str, Any] = {
            "profile": self.workload_profile,
            "issuer": self.workload_issuer,
            "audience": self.workload_audience,
            "subject": self.workload_subject,
            "claims": dict(_claim(each) for each in self.workload_claim),
            "ca": None if self.workload_ca is None else _bounded(self.workload_ca),
        }
        jwks = self.workload_jwks
        if jwks is not None and "://" in jwks:
            found["jwks_url"] = jwks
        elif jwks is not None:
            found["jwks"] = _object(Path(jwks), "a JWKS")
        made = _whole(
            "workload", found, profile="profile", issuer="issuer", audience="audience",
            subject="subject",
        )  # fmt: skip
        if made is not None and jwks is None:
            raise CommandError("expected --workload-jwks with the keys of the issuer: FILE or URL")
        return made


def _whole(kind: str, found: dict[str, Any], **needed: str) -> dict[str, Any] | None:
    """Return the members of an identity that are said, None for none; all that is `needed` is."""
    said = {name: each for name, each in found.items() if each}
    if not said:
        return None
    for name, option in needed.items():
        if name not in said:
            raise CommandError(f"expected --{kind}-{option} as well", hint="livepin app add --help")
    return said


def _digests(texts: tuple[str, ...]) -> list[str]:
    """Return digests as they are kept: tools write them with colons, and in capitals."""
    return [each.replace(":", "").lower() for each in texts]


def _claim(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise CommandError(
            f"--workload-claim: expected NAME=TEXT, found {text[:80]!r}",
            hint="such as repository=example/shop",
        )
    return name, value


def _play_keys(file: Path) -> dict[str, str]:
    """Return the keys in a file. No error shows what is in it."""
    found = {}
    for line in filter(None, map(str.strip, _bounded(file).splitlines())):
        name, _, value = line.partition("=")
        found[name.strip().lower()] = value.strip()
    if sorted(found) != [*_PLAY_KEYS]:
        raise CommandError(
            f"{file}: expected the two keys of the Play Console page",
            hint="two lines: decryption_key=... and verification_key=...",
        )
    return found


def _service_account(file: Path) -> dict[str, Any]:
    found = _object(file, "the JSON key of a service account")
    names = "client_email", "private_key", "private_key_id"
    return {name: found[name] for name in names if name in found}


def _object(file: Path, what: str) -> dict[str, Any]:
    try:
        found = json.loads(_bounded(file))
    except (ValueError, RecursionError):  # what it says may quote the file
        found = None
    if not isinstance(found, dict):
        raise CommandError(f"{file}: expected {what}")
    return found


def _bounded(file: Path) -> str:
    text = read_text(file)
    if len(text) > _MOST:
        raise CommandError(f"{file}: expected at most {_MOST} characters")
    return text
