"""The values that use cases take and return; msgspec structs, so that the edge validates them."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)]
Pattern = Annotated[str, Meta(max_length=1100)]
Text = Annotated[str, Meta(max_length=500)]
Mode = Literal["enforce", "report", "off"]
Stale = Literal["enforce", "refuse"]
Level = Literal["leaf", "intermediate", "root"]
Moment = Annotated[datetime, Meta(tz=True)]
MOST_PINS = 500  # of a set: three times what a public trust store holds


class Role(str, Enum):
    """What an API key may do. `pentest` stands beside the others, not among them."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    PENTEST = "pentest"


class Area(str, Enum):
    """A part of the management API, to which the scopes of an API key may limit it."""

    DOMAINS = "domains"
    PINS = "pins"
    STREAMS = "streams"
    CONFIGS = "configs"
    DELIVERY = "delivery"
    AUDIT = "audit"
    ROOT = "root"
    KEYS = "keys"
    TOKENS = "tokens"
    INSTALLATIONS = "installations"
    ACCOUNTS = "accounts"
    METRICS = "metrics"
    PROBES = "probes"
    MONITOR = "monitor"
    SERVER = "server"


class Principal(Struct, frozen=True, kw_only=True):
    """Who calls: an API key. `account` limits it to one account; None is all of them.

    `scopes` limit it to these areas; None is all of them.
    """

    key_id: str
    name: str
    role: Role
    account: str | None = None
    scopes: tuple[Area, ...] | None = None


class How(Struct, frozen=True, kw_only=True):
    """How a change is to be made.

    `stage` keeps it for later, and so does `at`, which publishes it by itself then. `force` takes
    what may shut apps out, and needs a reason; `confirmed` takes what weakens their protection.
    `expected` is the newest config version that its author has seen.
    """

    stage: bool = False
    at: datetime | None = None
    force: bool = False
    confirmed: bool = False
    expected: int | None = None


class Intent(Struct, frozen=True, kw_only=True):
    """Who changes something, from where, why, and how.

    `key_id` is that of the API key, empty where none was used; `origin` is an address.
    """

    author: str
    reason: str = ""
    key_id: str = ""
    origin: str = ""
    how: How = How()


class ApiKeyView(Struct, frozen=True, kw_only=True):
    """An API key without its secret.

    `overlap_until` tells until when the secret of before its last rotation is taken, too.
    """

    id: str
    name: str
    role: Role
    account: str | None
    scopes: tuple[Area, ...] | None = None
    expires: datetime | None = None
    created: datetime
    created_by: str | None = None
    rotated: datetime | None = None
    overlap_until: datetime | None = None
    last_used: datetime | None = None
    last_used_from: str | None = None
    revoked: datetime | None = None


class NewPin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pin to add: `sha256/BASE64`, and what people want to remember of it.

    `level` is the place of its certificate in a chain, None where nobody knows.
    """

    sha256: Annotated[str, Meta(max_length=100)]
    label: Text = ""
    level: Level | None = None
    backup: bool = False
    not_before: Moment | None = None
    not_after: Moment | None = None


class PinView(Struct, frozen=True, kw_only=True):
    """A pin as it is kept."""

    sha256: str
    label: str
    level: str | None
    backup: bool
    not_before: datetime | None
    not_after: datetime | None
    created: datetime
    author: str


class NewDomain(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A domain to add: with its first pins, or following the shared pin set that is named.

    `connect` is HOST:PORT for probes, `ca` PEM.
    """

    pattern: Pattern
    pins: Annotated[list[NewPin], Meta(max_length=100)] = []
    pin_set: Name | None = None
    stream: Name = "main"
    mode: Mode = "enforce"
    token: bool = False
    stale: Stale = "enforce"
    connect: Annotated[str, Meta(max_length=300)] | None = None
    ca: Annotated[str, Meta(max_length=65536)] | None = None


class DomainSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of a domain; what is not said stays."""

    mode: Mode | None = None
    token: bool | None = None
    stale: Stale | None = None


class DomainView(Struct, frozen=True, kw_only=True):
    """A domain as it is kept.

    `shared` tells whether its pin set is one with a name, which other domains may follow; else it
    is its own. `pins` are those of the set.
    """

    pattern: str
    stream: str
    pin_set: str
    shared: bool
    mode: str
    token: bool
    stale: str
    connect: str | None
    ca: str | None
    pins: list[PinView]
    created: datetime


class NewPinSet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pin set to add, which domains may follow by its name."""

    name: Name
    pins: Annotated[list[NewPin], Meta(min_length=1, max_length=MOST_PINS)]
    stream: Name = "main"


class PinSetView(Struct, frozen=True, kw_only=True):
    """A shared pin set, and the patterns of the domains that follow it."""

    name: str
    stream: str
    pins: list[PinView]
    domains: list[str]


class NewStream(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stream to add: a copy of the stream `source` at that moment."""

    name: Name
    source: Name = "main"


class StreamView(Struct, frozen=True, kw_only=True):
    """A stream: its newest version, and how many domains and shared pin sets it has."""

    name: str
    version: int
    issued: datetime
    expires: datetime
    domains: int
    pin_sets: int
    created: datetime


class DomainTaken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A domain to take from the stream `source`, which has it no more unless `keep` is said."""

    pattern: Pattern
    source: Name
    keep: bool = False


class Publication(Struct, frozen=True, kw_only=True):
    """One config version: what was published, by whom, and why."""

    account: str
    stream: str
    root_version: int
    version: int
    issued: datetime
    expires: datetime
    author: str
    reason: str
    changed: list[str]
    warnings: list[str] = []


class Staged(Struct, frozen=True, kw_only=True):
    """A change that was kept for later: on which stage, what it changes there, and until when.

    `number` counts the changes on that stage; `second_person` says that another API key must
    publish them.
    """

    stage: int
    changed: list[str]
    number: int
    at: datetime | None
    second_person: bool


class StagedChange(Struct, frozen=True, kw_only=True):
    """One change on a stage; `action` is what the audit log will call it."""

    action: str
    changed: list[str]
    author: str
    reason: str
    created: datetime


class StageView(Struct, frozen=True, kw_only=True):
    """Changes that are to be published together.

    `revision` rises with each of them. With `at` they are published then; `failure` says why that
    was not possible. `approved_by` is the second person.
    """

    number: int
    account: str
    revision: int
    created: datetime
    changes: list[StagedChange]
    at: datetime | None = None
    approved_by: str | None = None
    failure: str | None = None


class AccountView(Struct, frozen=True, kw_only=True):
    """An account. `root_online` warns that its root key is on the server.

    `warnings` are about its root and the key of that.
    """

    name: str
    root_version: int
    root_expires: datetime
    root_online: bool
    streams: list[str]
    created: datetime
    warnings: list[str] = []


class BackupMade(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backup that was made of this server: for how many recipients, 0 under a passphrase."""

    recipients: Annotated[int, Meta(ge=0, le=1000)]
    size: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    rows: Annotated[int, Meta(ge=0, le=2**53 - 1)]


class ConfigDocument(Struct, frozen=True, kw_only=True):
    """A signed config as it is delivered."""

    root_version: int
    version: int
    raw: bytes


class OverrideDocument(Struct, frozen=True, kw_only=True):
    """A signed override as it is delivered, `until` a time; in force it is until it `expires`."""

    root_version: int
    version: int
    raw: bytes
    expires: datetime
    until: datetime


class AccountDocuments(Struct, frozen=True, kw_only=True):
    """Everything that delivery serves for one account."""

    configs: dict[str, ConfigDocument]
    roots: dict[int, bytes]


class NextRoot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the next root is to change; what is not said stays.

    `add_keys` are root keys as JWK, `remove_keys` thumbprints of root keys. `replace_online` has
    the server make new keys of its own. `days` is how long the root is to live.
    """

    replace_online: bool = False
    add_keys: Annotated[list[dict[str, Any]], Meta(max_length=32)] = []
    remove_keys: Annotated[list[Annotated[str, Meta(max_length=43)]], Meta(max_length=32)] = []
    threshold: Annotated[int, Meta(ge=1, le=32)] | None = None
    days: Annotated[int, Meta(ge=1, le=36500)] = 1095


class RootKeyView(Struct, frozen=True, kw_only=True):
    """A key that a root names. `held` says where the server has its private half, if it has it."""

    kid: str
    held: str | None


class RootRoleView(Struct, frozen=True, kw_only=True):
    """A role of a root: its keys, and how many of them must sign."""

    threshold: int
    keys: list[RootKeyView]


class RootView(Struct, frozen=True, kw_only=True):
    """The newest root of an account.

    `sha256` is that of its payload, in hexadecimal, for people to compare. `prepared` are
    thumbprints of keys that the server has made for a root to come.
    """

    account: str
    version: int
    issued: datetime
    expires: datetime
    sha256: str
    roles: dict[str, RootRoleView]
    prepared: list[str]
    online: bool
    warnings: list[str]
