"""The values of monitoring that use cases take and return."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from livepin.pins import PinSet
from msgspec import Meta, Struct

from livepin_server.probing.looks import Algorithm, Known
from livepin_server.probing.probe import Failure, Observation
from livepin_server.services.model import Mode, Name, Pattern, PinView, Text

HERE = "here"  # the vantage of the server itself
EVERY, SHORTEST, LONGEST = 15 * 60, 60, 24 * 60 * 60  # seconds between two looks
LEAD = 21  # days before its certificate expires, by which a renewal is due
UNSERVED = 90  # days after which a pin that nothing has served is told of
MOST_HOSTS = 100  # of a domain, that are looked at

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
Kind = Literal[
    "pin_mismatch",  # no presented path satisfies the pins: apps break now
    "partial",  # at some addresses, or with one algorithm only
    "at_risk",  # apps get in, and may soon not: see `Finding.code`
    "unreachable",  # nothing answers; never said to be wrong pins
    "untrusted",  # the chain does not verify
    "interception_suspected",  # vantage points, or a second look, disagree
    "would_break",  # by what is staged, or by what a part of the fleet still holds
    "monitor_silent",  # nobody looks
    "installation_refused",  # by the appraisal policy; no finding, and no incident
]
REFUSED: Kind = "installation_refused"


# -- settings ------------------------------------------------------------------------------------


class MonitorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a domain is monitored.

    `every` is in seconds. `hosts` are looked at for a wildcard, or in the place of port 443 of an
    exact host: each HOST or HOST:PORT. `lead` and `unserved` are in days. `tags` choose channels.
    """

    every: Annotated[int, Meta(ge=SHORTEST, le=LONGEST)] = EVERY
    hosts: Annotated[list[Annotated[str, Meta(max_length=300)]], Meta(max_length=MOST_HOSTS)] = []
    lead: Annotated[int, Meta(ge=1, le=365)] = LEAD
    unserved: Annotated[int, Meta(ge=1, le=3650)] = UNSERVED
    tags: Annotated[list[Name], Meta(max_length=16)] = []


# -- what is held of an endpoint -----------------------------------------------------------------


class Sighted(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What was seen last at one address, for one algorithm, and how long it has been like that.

    `verified` is when the engine of that name last looked. An observation of `no_certificate`
    tells of a server that has no certificate of this algorithm, which is no failure.
    """

    address: str
    algorithm: Algorithm
    observation: Observation
    since: datetime
    verified: datetime


class Before(Struct, frozen=True, kw_only=True, gc=False):
    """The chain that was seen last where there is none at the moment: its digest and its keys."""

    address: str
    algorithm: Algorithm
    digest: str
    keys: list[str]


class Held(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What is held of an endpoint as one vantage sees it. With a `failure` it has no address.

    `before` is what failures of places, or of the whole endpoint, do not erase.
    """

    sights: list[Sighted] = []
    failure: Failure | None = None
    error: str | None = None
    since: datetime | None = None  # of the failure
    before: list[Before] = []


class Claimed(Struct, frozen=True, kw_only=True, gc=False):
    """An endpoint that was claimed to be looked at, with what is held of it; see `Schedule`.

    `others` is what other vantages hold. `wrong` tells that it has findings from this vantage,
    `pins_match` what is told of it so far, `at` when it was claimed.
    """

    endpoint: int
    account: str
    host: str
    port: int
    connect: str | None
    ca: str | None
    every: int
    vantage: str
    fence: int
    held: Held
    known: list[Known]
    others: dict[str, Held] = {}
    wrong: bool = False
    pins_match: bool | None = None
    at: datetime | None = None


class MonitorChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of how a domain is monitored; what is not said stays as it is."""

    every: Annotated[int, Meta(ge=SHORTEST, le=LONGEST)] | None = None
    hosts: (
        Annotated[list[Annotated[str, Meta(max_length=300)]], Meta(max_length=MOST_HOSTS)] | None
    ) = None
    lead: Annotated[int, Meta(ge=1, le=365)] | None = None
    unserved: Annotated[int, Meta(ge=1, le=3650)] | None = None
    tags: Annotated[list[Name], Meta(max_length=16)] | None = None


# -- what it is judged by ------------------------------------------------------------------------


class Following(Struct, frozen=True, kw_only=True):
    """A domain by which apps judge an endpoint: of the newest config of one stream.

    `pins` is what that config says; `views` the rows of them, with level and backup. `apps` says
    which apps those are, such as "apps that follow main". `asked` tells that the endpoint is one
    of `hosts` of the settings, or the host itself.
    """

    stream: str
    version: int
    pattern: str
    mode: Mode
    pins: PinSet
    views: list[PinView]
    settings: MonitorSettings
    apps: str
    published: datetime


class Holding(Struct, frozen=True, kw_only=True):
    """Pins that are not the newest config's: of one that a part of the fleet holds, or staged.

    `installations` of `of` hold it; both are 0 for what is staged, and `at` is when it is
    published, if that is known. `pins` is None where that config does not have the host at all.
    """

    stream: str
    version: int | None  # of a config; None: staged
    stage: int | None = None
    at: datetime | None = None
    pattern: str
    mode: Mode
    pins: PinSet | None
    installations: int = 0
    of: int = 0


class Judging(Struct, frozen=True, kw_only=True, gc=False):
    """All that an endpoint is judged by: none `following` means that nobody pins it any more."""

    following: list[Following]
    holding: list[Holding] = []
    served: dict[str, datetime] = {}  # pins as sha256/BASE64: when any endpoint last served each


class Finding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong, in one sentence, which apps it hits, and the command that mends it.

    `key` tells it from the other findings of its endpoint, whatever address it is at; `cause` is
    the same for all that have one cause, also of other endpoints. `code` says which of its kind.
    """

    kind: Kind
    code: str
    severity: Severity
    key: str
    cause: str
    host: str
    port: int
    sentence: str
    pattern: str = ""
    stream: str = ""
    apps: str = ""
    command: str = ""
    addresses: list[str] = []
    fingerprints: list[str] = []  # that are served
    pinned: list[str] = []  # that apps accept
    tags: list[str] = []


class Judged(Struct, frozen=True, kw_only=True):
    """An endpoint that was looked at from a vantage, and everything that is wrong with it.

    `addresses` are those that it has now; None where that is not said.
    """

    account: str
    endpoint: int
    vantage: str
    host: str
    port: int
    findings: list[Finding]
    addresses: list[str] | None = None


# -- incidents and who is told -------------------------------------------------------------------

Event = Literal["opened", "grew", "again", "worse", "resolved", "test", "happened"]
ChannelKind = Literal["email", "webhook", "pagerduty", "alertmanager", "apprise"]


class Notice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a channel tells: one event of an incident. All that people read is in it.

    What `happened` has no incident and no end; what is alike has the same `subject`.

    `lines` are further sentences, such as of the other endpoints; `endpoints` how many share the
    cause. `duration` is in seconds, of an incident that is over.
    """

    account: str
    event: Event
    incident: int | None
    kind: Kind
    severity: Severity
    title: str
    sentence: str
    moment: datetime
    since: datetime
    domain: str = ""
    stream: str = ""
    apps: str = ""
    command: str = ""
    addresses: list[str] = []
    fingerprints: list[str] = []
    pinned: list[str] = []
    lines: list[str] = []
    endpoints: int = 1
    duration: int | None = None
    tags: list[str] = []
    subject: str = ""


class IncidentView(Struct, frozen=True, kw_only=True):
    """An incident, as it stands. `state` is open, acknowledged, snoozed, or resolved."""

    number: int
    kind: Kind
    severity: Severity
    state: Literal["open", "acknowledged", "snoozed", "resolved"]
    opened: datetime
    seen: datetime
    resolved: datetime | None
    acknowledged: datetime | None
    acknowledged_by: str | None
    snoozed_until: datetime | None
    notices: int
    next_notice: datetime | None
    endpoints: list[str]  # HOST:PORT, a hundred at most
    count: int  # of endpoints
    notice: Notice


class NewMaintenance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A time in which nobody is told: of a domain, or of all. Looking goes on."""

    pattern: Pattern = ""
    starts: datetime | None = None  # now
    lasts: Annotated[int, Meta(ge=60, le=7 * 24 * 60 * 60)]  # seconds
    reason: Text = ""


class MaintenanceView(Struct, frozen=True, kw_only=True):
    """A maintenance window."""

    number: int
    pattern: str
    starts: datetime
    ends: datetime
    reason: str
    author: str
    active: bool


class ChannelView(Struct, frozen=True, kw_only=True):
    """A channel without its secrets. `target` says where it leads, such as ops@example.com."""

    name: str
    kind: ChannelKind
    target: str
    severity: Severity
    tags: list[str]
    created: datetime
    author: str
    disabled: datetime | None
    trouble: str | None
    waiting: int  # notices
    dead: int


# -- status --------------------------------------------------------------------------------------


class EndpointView(Struct, frozen=True, kw_only=True):
    """An endpoint as a vantage sees it. `state` is ok, suspect, firing, or unseen so far."""

    domain: str
    stream: str
    host: str
    port: int
    vantage: str
    state: Literal["unseen", "ok", "suspect", "firing"]
    pins_match: bool | None
    expires: datetime | None  # the first certificate of it that does
    looked: datetime | None
    took: int | None  # milliseconds
    next_due: datetime
    every: int
    addresses: int
    findings: list[str]  # sentences


class BeatView(Struct, frozen=True, kw_only=True):
    """A worker: from where it looks, and when it was last heard of."""

    vantage: str
    worker: str
    started: datetime
    beat: datetime
    looks: int
    silent: bool


class ChangeView(Struct, frozen=True, kw_only=True):
    """A change of the certificate at one address. `pinned` tells whether its key was beforehand.

    It is None where nobody pinned that host then.
    """

    host: str
    port: int
    vantage: str
    address: str
    algorithm: Algorithm
    moment: datetime
    was: str | None  # sha256/BASE64 of the leaf's key
    became: str | None
    subject: str
    issuer: str
    expires: datetime | None
    pinned: bool | None
    pin: str | None  # that matches


class MonitorStatus(Struct, frozen=True, kw_only=True):
    """How monitoring of an account fares."""

    endpoints: list[EndpointView]
    count: int  # of endpoints
    unwatched: list[str]  # domains that nobody looks at, such as *.host without hosts
    incidents: list[IncidentView]  # that are not resolved
    beats: list[BeatView]
    channels: int
    dead: int  # notices that nobody gets
    warnings: list[str]
    mismatched: int = 0  # endpoints where no pin matches
    unknown: int = 0  # endpoints of which nobody knows whether one does
    late: dict[str, int] = {}  # endpoints not looked at since a given moment, by vantage
