"""What people say of an app, looked at in whole: names, identities, versions, manifests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from livepin.documents.token_request import is_app_name
from livepin.errors import MalformedError
from livepin.evidence.manifest import Manifest

from livepin_server.attestation.android import AndroidApp
from livepin_server.attestation.apple import AppleApp
from livepin_server.attestation.play import PlayApp
from livepin_server.attestation.registered import Kind
from livepin_server.attestation.workload import Workload
from livepin_server.errors import InvalidError

from .model import Said

MOST_MANIFEST = 8 * 2**20  # bytes
Identity = AndroidApp | AppleApp | PlayApp | Workload

_SHAPES: Mapping[Kind, type[Identity]] = {
    "android": AndroidApp,
    "apple": AppleApp,
    "play": PlayApp,
    "workload": Workload,
}
_PLACE = re.compile(r"(.+) - at `\$\.?(.+)`\Z", re.DOTALL)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,62}\Z")


def require_name(name: str) -> None:
    """Refuse what no app can call itself, or what no URL path can name.

    Raises:
        InvalidError: it is no such name.
    """
    if not is_app_name(name) or not name.strip("."):
        raise InvalidError(
            f"expected the name of an app, found {name[:140]!r}",
            hint="1 to 128 letters, digits, dots, - and _, such as com.example.shop: as the app "
            "calls itself",
        )


def require_version(version: str) -> None:
    """Refuse what is no version of a release.

    Raises:
        InvalidError: it is none.
    """
    if not _VERSION.match(version):
        raise InvalidError(
            f"expected a version, found {version[:80]!r}",
            hint="1 to 63 letters, digits, dots, +, - and _, such as 2.4.1",
        )


def identities(said: Said) -> dict[Kind, Identity]:
    """Return the identities that were said, by kind.

    Raises:
        InvalidError: one is not what a verifier could use. The message holds no key.
    """
    named = {kind: getattr(said, kind) for kind in _SHAPES}
    return {kind: _identity(kind, raw) for kind, raw in named.items() if raw is not None}


def manifest(text: str) -> Manifest:
    """Return the manifest that has this text.

    Raises:
        InvalidError: it is none, or too large.
    """
    if len(text) > MOST_MANIFEST or len(text.encode("utf-8", "replace")) > MOST_MANIFEST:
        raise InvalidError(f"expected a manifest of at most {MOST_MANIFEST} bytes")
    try:
        return Manifest.parse(text)
    except MalformedError as exc:
        raise InvalidError(f"manifest: {exc}", hint="livepin app measure makes one") from exc


def _identity(kind: Kind, raw: dict[str, Any]) -> Identity:
    try:
        found = msgspec.convert(raw, _SHAPES[kind])
    except msgspec.ValidationError as exc:
        raise InvalidError(_in_words(kind, str(exc)), hint="livepin app add --help") from exc
    return found.checked() if isinstance(found, Workload) else found


def _in_words(kind: str, text: str) -> str:
    place = _PLACE.match(text)
    return f"{kind}: {text}" if place is None else f"{kind}.{place[2]}: {place[1]}"
