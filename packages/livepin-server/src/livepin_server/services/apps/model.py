"""The values of apps that use cases take and return."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from livepin_server.attestation.android import AndroidApp
from livepin_server.attestation.apple import AppleApp
from livepin_server.attestation.attested import Level
from livepin_server.attestation.play import PlayAppView
from livepin_server.attestation.registered import Kind
from livepin_server.attestation.workload import Workload


class Said(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Identities of an app as somebody said them.

    They have the members that they are shown with; `play` has its keys as well: `decryption_key`
    and `verification_key`, or `service_account`.
    """

    android: dict[str, Any] | None = None
    apple: dict[str, Any] | None = None
    play: dict[str, Any] | None = None
    workload: dict[str, Any] | None = None


class NewApp(Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An app to add, under the name that it gives itself in token requests."""

    name: str


class AppChange(Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Identities that take the place of those of their kind, and kinds that end. Others stay."""

    remove: list[Kind] = []


class Identities(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What may be shown of the identities of an app, and is kept as it is shown."""

    android: AndroidApp | None = None
    apple: AppleApp | None = None
    play: PlayAppView | None = None
    workload: Workload | None = None

    def kinds(self) -> list[Kind]:
        """Return the kinds of which there is one."""
        kinds: tuple[Kind, ...] = ("android", "apple", "play", "workload")
        return [each for each in kinds if getattr(self, each) is not None]


class AppView(Struct, frozen=True, kw_only=True):
    """An app, its identities without keys, and how many releases of it are in force.

    `proves` is the highest level that its evidence can prove.
    """

    name: str
    identities: Identities
    proves: Level
    releases: int
    created: datetime


class NewRelease(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A release to add: its version, and the manifest that `livepin app measure` writes."""

    version: str
    manifest: str


class ReleaseView(Struct, frozen=True, kw_only=True):
    """A release of an app. `digest` is that of its manifest, as its installations send it."""

    version: str
    digest: str
    files: int
    created: datetime
    author: str
    ended: datetime | None
