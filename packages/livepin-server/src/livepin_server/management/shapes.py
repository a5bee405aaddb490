"""Request and answer bodies that are not the services' own values."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from livepin_server.attestation.policy import Policy
from livepin_server.services.api_keys import LONGEST_OVERLAP, OVERLAP
from livepin_server.services.apps.model import AppChange, NewApp, NewRelease
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.guard_settings import GuardChange, GuardSettings
from livepin_server.services.model import (
    MOST_PINS,
    ApiKeyView,
    Area,
    DomainSettings,
    DomainTaken,
    DomainView,
    Moment,
    Name,
    NewDomain,
    NewPin,
    NewPinSet,
    NewStream,
    NextRoot,
    Pattern,
    PinSetView,
    Publication,
    Role,
    StageView,
    StreamView,
    Text,
)
from livepin_server.services.monitoring.channel_kinds import NewChannel
from livepin_server.services.monitoring.model import MonitorChange
from livepin_server.services.overrides.model import NewOverride
from livepin_server.services.tokens.keys import LONGEST_OVERLAP as LONGEST_TOKEN_OVERLAP
from livepin_server.services.tokens.model import (
    MOST_TAGS,
    AccountTokens,
    AccountTokensChange,
    Binding,
    DomainTokens,
    DomainTokensChange,
    NewExample,
    NewTokenKey,
    TokenKeyView,
)

_LONGEST_TOKEN_OVERLAP = int(LONGEST_TOKEN_OVERLAP.total_seconds())
_LONGEST_OVERLAP = int(LONGEST_OVERLAP.total_seconds())
_LONGEST_SNOOZE = 30 * 24 * 60 * 60  # seconds
_MOST_PAYLOAD = 256 * 1024  # characters


class AddDomain(NewDomain, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A domain to add, and why."""

    reason: Text = ""


class ChangeDomain(DomainSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of a domain, and why."""

    reason: Text = ""


class AddPins(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pins to add, and why."""

    pins: Annotated[list[NewPin], Meta(min_length=1, max_length=100)]
    reason: Text = ""


class FollowPinSet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shared pin set that a domain is to follow, or null for one of its own; and why."""

    name: Name | None
    reason: Text = ""


class AddPinSet(NewPinSet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pin set to add, and why."""

    reason: Text = ""


class ReplacePins(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pins that a set is to hold, no others; and why."""

    pins: Annotated[list[NewPin], Meta(min_length=1, max_length=MOST_PINS)]
    reason: Text = ""


class PinSetChanged(Struct, frozen=True, kw_only=True):
    """A pin set after a change, and the config version that carries it."""

    pin_set: PinSetView
    publication: Publication


class AddStream(NewStream, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stream to add, and why."""

    reason: Text = ""


class StreamMade(Struct, frozen=True, kw_only=True):
    """A new stream, and its first config version."""

    stream: StreamView
    publication: Publication


class TakeDomain(DomainTaken, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A domain to take from another stream, and why."""

    reason: Text = ""


class DomainChanged(Struct, frozen=True, kw_only=True):
    """A domain after a change, and the config version that carries it.

    `warnings` are beside what the guards say of that, such as that nobody will be told of it.
    """

    domain: DomainView
    publication: Publication
    warnings: list[str] = []


class Published(Struct, frozen=True, kw_only=True):
    """The config version that carries a change."""

    publication: Publication


class Publications(Struct, frozen=True, kw_only=True):
    """Config versions."""

    items: list[Publication]


class ConfigShown(Struct, frozen=True, kw_only=True):
    """One config version: its payload for people, its document as signed."""

    publication: Publication
    payload: dict[str, Any]
    document: str


class Why(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why something is done."""

    reason: Text = ""


class RaiseVersions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The version above which those of an account are to go on, and why."""

    above: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    reason: Text = ""


class StaticRoot(Struct, frozen=True, kw_only=True):
    """A root, as signed: the text of a general JSON JWS."""

    version: int
    document: str


class StaticDocuments(Struct, frozen=True, kw_only=True):
    """What delivery serves of a stream: every root, and the newest config, as signed."""

    roots: list[StaticRoot]
    root_version: int
    version: int
    document: str


class BackupNoted(Struct, frozen=True, kw_only=True):
    """When the server noted a backup."""

    noted: datetime


class PrepareAccount(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The public root keys of a new account."""

    root_keys: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=32)]
    threshold: Annotated[int, Meta(ge=1, le=32)] = 1


class RootPayload(Struct, frozen=True, kw_only=True):
    """The payload of root 1 in base64url, to be signed with the root key."""

    payload: str


class SignedRoot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A root as general JSON JWS."""

    document: dict[str, Any]


class PrepareRoot(NextRoot, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the next root is to change, and why."""

    reason: Text = ""


class RootPrepared(Struct, frozen=True, kw_only=True):
    """The payload of the next root in base64url, to be signed, and the root before it as signed."""

    payload: str
    previous: dict[str, Any]


class PublishRoot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The next root as general JSON JWS, and why."""

    document: dict[str, Any]
    reason: Text = ""


class SignRoot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload of the next root in base64url, for a root key on the server to sign; and why."""

    payload: Annotated[str, Meta(max_length=_MOST_PAYLOAD)]
    reason: Text = ""


class WhyRekey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the master key changes."""

    reason: Text = ""


class AccountApiKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An API key to make for an account, and why. Without `scopes` it reaches all its role may."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    role: Role
    scopes: Annotated[list[Area], Meta(min_length=1, max_length=len(Area))] | None = None
    expires: Moment | None = None
    reason: Text = ""


class NewApiKey(AccountApiKey, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An API key to make, for an account or for the whole server, and why."""

    account: Name | None = None


class RotateApiKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many seconds the secret of until now is to be taken yet, and why."""

    overlap: Annotated[int, Meta(ge=0, le=_LONGEST_OVERLAP)] = int(OVERLAP.total_seconds())
    reason: Text = ""


class ApiKeyMade(Struct, frozen=True, kw_only=True):
    """An API key with its new text `key`, which is shown this once."""

    view: ApiKeyView
    key: str


class Status(Struct, frozen=True, kw_only=True):
    """How the server fares."""

    version: str
    accounts: int
    warnings: list[str]


class ProbeTarget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A live endpoint for the server to look at."""

    host: Annotated[str, Meta(min_length=1, max_length=255)]
    port: Annotated[int, Meta(ge=1, le=65535)] = 443
    connect: Annotated[str, Meta(max_length=300)] | None = None
    ca: Annotated[str, Meta(max_length=65536)] | None = None


class NewDelivery(DeliveryChange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where documents are to be delivered; what is not said stays as it is. And why."""

    reason: Text = ""


class PublishStage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a stage is published; `approve` says that its publisher is the second person."""

    reason: Text = ""
    approve: bool = False


class Outcome(Struct, frozen=True, kw_only=True):
    """The config versions that carry the changes of a stage, or the stage that has a time now."""

    items: list[Publication] = []
    stage: StageView | None = None


class NewGuards(GuardChange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What publishes are to be measured by; what is not said stays as it is. And why."""

    reason: Text = ""


class Kept(Struct, frozen=True, kw_only=True):
    """What publishes of the account are measured by from now on."""

    guards: GuardSettings


class AddTokenKey(NewTokenKey, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token key to add, and why."""

    reason: Text = ""


class RotateTokenKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After how many seconds the next key signs, 0 for at once; and why."""

    # A minimum of 0 would not get into the OpenAPI document.
    overlap: Annotated[int, Meta(gt=-1, le=_LONGEST_TOKEN_OVERLAP)] | None = None
    reason: Text = ""


class ExportTokenKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a secret is wanted."""

    reason: Text = ""


class TokenSecret(Struct, frozen=True, kw_only=True):
    """A secret that signs and verifies tokens of one domain, in base64."""

    key: TokenKeyView
    secret: str


class TokensShown(Struct, frozen=True, kw_only=True):
    """How tokens are made: for an account, and for the domains that differ, by pattern."""

    account: AccountTokens
    domains: dict[str, DomainTokens]


class ChangeAccountTokens(
    AccountTokensChange, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What is to change of how tokens of an account are made, and why."""

    reason: Text = ""


class ChangeDomainTokens(DomainTokensChange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of how tokens for a domain are made, and why."""

    reason: Text = ""


class TagInstallation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tags that an installation is to have, and why."""

    tags: Annotated[list[str], Meta(max_length=MOST_TAGS)]
    reason: Text = ""


class JudgeInstallation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is decided of an installation, until when, and why."""

    verdict: Literal["block", "fail"]
    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    expires: Moment | None = None


class PassInstallation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Until when an installation passes, and why."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    expires: Moment | None = None


class SetPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy to set, whole, and why."""

    policy: Policy
    reason: Text = ""


class TryPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy to try on the evidence of the last day."""

    policy: Policy


class CreateOverride(NewOverride, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An override to sign, and why."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class AddApp(NewApp, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An app to add, and why."""

    reason: Text = ""


class ChangeApp(AppChange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of the identities of an app, and why."""

    reason: Text = ""


class AddRelease(NewRelease, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A release to add, and why."""

    reason: Text = ""


class CheckToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token, and in base64url the SHA-256 of what it is to be bound to."""

    token: Annotated[str, Meta(max_length=8192)]
    bind: Binding | None = None


class ExampleToken(NewExample, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token that is wanted, and why."""

    reason: Text = ""


class LookNow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The domain whose endpoints are to be looked at now, or all of them; and why."""

    pattern: Pattern = ""
    reason: Text = ""


class Looks(Struct, frozen=True, kw_only=True):
    """How many endpoints are looked at anew: each is once `looked` is not before `moment`."""

    endpoints: int
    moment: datetime


class ChangeMonitoring(MonitorChange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of how a domain is monitored, and why."""

    reason: Text = ""


class SnoozeIncident(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many seconds an incident is not told of, and why."""

    seconds: Annotated[int, Meta(ge=60, le=_LONGEST_SNOOZE)]
    reason: Text = ""


class AddChannel(NewChannel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel to add, and why."""

    reason: Text = ""


class RetryNotices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which notices that nobody got are to be sent again, all of them if none is named; and why.

    With `drop` they are forgotten instead.
    """

    notices: Annotated[list[Annotated[int, Meta(ge=1, lt=2**53)]], Meta(max_length=1000)] = []
    drop: bool = False
    reason: Text = ""
