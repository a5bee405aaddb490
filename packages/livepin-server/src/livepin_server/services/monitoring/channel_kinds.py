"""The kinds of channels: what each needs to know, and what of that is right.

All of it is sealed, since a URL or a routing key is a secret as good as a password. What is shown
is `target`: where a channel leads, and nothing by which one could write to it.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import ssl
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import unquote_plus

import msgspec
from msgspec import Meta, Struct, structs

from livepin_server.errors import InvalidError
from livepin_server.services.model import Name

from . import targets
from .model import ChannelKind, ChannelView, Event, Severity

MOST_ADDRESSES = 20  # of a channel
_PREFIX = "whsec_"
_SECRET = range(24, 65)  # bytes of a secret of a webhook (standardwebhooks)
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251})")
_ROUTING_KEY = re.compile(r"[A-Za-z0-9]{32}")
_TOKEN = re.compile(r"[!-~]{1,1000}")  # printable ASCII: it stands in a header
_USER = re.compile(r"[!-9;-~]{1,200}")  # no colon (RFC 7617, 2)

# What apprise may be asked for: services that take messages. Its other schemas run programs, talk
# to the desktop or a local bus, write files, or send any request to any host.
SCHEMAS = {
    "dingtalk", "discord", "feishu", "gchat", "gotify", "gotifys", "lark", "line", "matrix",
    "matrixs", "mmost", "mmosts", "ntfy", "ntfys", "opsgenie", "pagertree", "pover",
    "rocket", "rockets", "signal", "signals", "slack", "splunk", "tgram", "twilio", "victorops",
    "webex", "workflow", "workflows", "wxteams", "zulip",
}  # fmt: skip
# Of these, the ones that speak in cleartext: to what is on this host or network alone.
CLEARTEXT = {"gotify", "matrix", "mmost", "ntfy", "rocket", "signal"}

# What turns off verification, or has a file of the server read and sent. apprise takes such a name
# with what is around it, and more than once encoded; what it made of it, its child looks at too.
_GUARDS = re.compile(r"[?&;]\W*(verify|template)\s*([=&;]|$)", re.IGNORECASE)
_MOST_ENCODED = 3

Url = Annotated[str, Meta(max_length=targets.LONGEST_URL)]
Pem = Annotated[str, Meta(max_length=64 * 1024)]
Word = Annotated[str, Meta(max_length=1000)]


class _Settings(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower
):
    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"  # nearly all of it is secret


class Email(_Settings, frozen=True, kw_only=True):
    """Mail to these addresses."""

    to: Annotated[list[Annotated[str, Meta(max_length=320)]], Meta(max_length=MOST_ADDRESSES)]


class Webhook(_Settings, frozen=True, kw_only=True):
    """A signed request to a URL; `secret` is made where none is given.

    `ca` is PEM, the only anchors. `allow_private` lets it reach private addresses, and http there.
    """

    url: Url
    secret: Annotated[str, Meta(max_length=200)] | None = None
    ca: Pem | None = None
    allow_private: bool = False


class PagerDuty(_Settings, frozen=True, kw_only=True):
    """An incident of PagerDuty, by the key of an integration (Events API v2)."""

    routing_key: Annotated[str, Meta(max_length=100)]


class Alertmanager(_Settings, frozen=True, kw_only=True):
    """An alert for Prometheus Alertmanager at a base URL; a user and password, or a token."""

    url: Url
    user: Word | None = None
    password: Word | None = None
    bearer: Word | None = None
    ca: Pem | None = None
    allow_private: bool = False


class Apprise(_Settings, frozen=True, kw_only=True):
    """Any service of those in `SCHEMAS`, by a URL of apprise."""

    url: Url
    allow_private: bool = False


ChannelSettings = Email | Webhook | PagerDuty | Alertmanager | Apprise


class NewChannel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel to add: it is told what is at least of this severity, and shares a tag with it.

    Without tags it is told all.
    """

    name: Name
    settings: ChannelSettings
    severity: Severity = "warning"
    tags: Annotated[list[Name], Meta(max_length=16)] = []


class AddedChannel(Struct, frozen=True, kw_only=True):
    """A channel that was added. `secret` is that of a webhook, if it was made; shown this once."""

    channel: ChannelView
    secret: str | None = None

    def __repr__(self) -> str:
        return f"AddedChannel({self.channel.name!r})"


class DeadNotice(Struct, frozen=True, kw_only=True):
    """A notice that was given up: nobody got it by that channel."""

    id: int
    channel: str
    event: Event
    incident: int | None
    title: str
    created: datetime
    dead: datetime
    attempts: int
    trouble: str


class Retried(Struct, frozen=True, kw_only=True):
    """How many notices are sent again, how many are not, as out of date, or were dropped."""

    notices: int
    skipped: int = 0
    dropped: int = 0


def checked(settings: ChannelSettings) -> tuple[ChannelSettings, str]:
    """Return settings that are right and whole, and where they lead.

    Raises:
        InvalidError: they are not. The message quotes nothing that may be secret.
    """
    match settings:
        case Email():
            return settings, _mail(settings)
        case Webhook():
            target = targets.require_url(settings.url, allow_private=settings.allow_private)
            _require_anchors(settings.ca)
            if settings.secret is None:
                return structs.replace(settings, secret=new_secret()), target
            _require_secret(settings.secret)
            return settings, target
        case PagerDuty():
            if not _ROUTING_KEY.fullmatch(settings.routing_key):
                raise InvalidError("expected a routing key of 32 letters and digits")
            return settings, "PagerDuty"
        case Alertmanager():
            return settings, _alertmanager(settings)
        case Apprise():
            return settings, _apprise(settings)


def new_secret() -> str:
    """Make the secret of a webhook."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def kind_of(settings: ChannelSettings) -> ChannelKind:
    """Return the kind of settings."""
    kind: Any = settings.__struct_config__.tag
    return kind  # type: ignore[no-any-return]


def encode(settings: ChannelSettings) -> bytes:
    """Return settings as bytes, to be sealed."""
    return msgspec.json.encode(settings)


def decode(data: bytes) -> ChannelSettings:
    """Return the settings that these bytes are.

    Raises:
        msgspec.MsgspecError: they are none.
    """
    found: Any = msgspec.json.decode(data, type=ChannelSettings)
    return found  # type: ignore[no-any-return]


def _mail(settings: Email) -> str:
    if not settings.to:
        raise InvalidError("expected an address")
    for each in settings.to:
        # No display name, no comment, no line break: it stands in a header and in a command.
        if not _ADDRESS.fullmatch(each) or ".." in each:
            raise InvalidError(f"expected an address such as ops@example.com, found {each[:80]!r}")
    return ", ".join(settings.to)


def _require_secret(secret: str) -> None:
    try:
        size = len(base64.b64decode(secret.removeprefix(_PREFIX), validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size not in _SECRET:
        raise InvalidError(
            "expected the secret of a webhook as whsec_BASE64, of 24 to 64 bytes",
            hint="leave it out, and one is made",
        )


def _require_anchors(ca: str | None) -> None:
    if ca is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError):
        raise InvalidError("expected certificates in PEM") from None


def _alertmanager(settings: Alertmanager) -> str:
    target = targets.require_url(settings.url, allow_private=settings.allow_private)
    _require_anchors(settings.ca)
    if "?" in settings.url:
        raise InvalidError("expected the URL of Alertmanager without a query")
    if (settings.user is None) != (settings.password is None):
        raise InvalidError("expected a user and a password, or neither")
    if settings.user is not None and settings.bearer is not None:
        raise InvalidError("expected a user and a password, or a token, found both")
    said = {"user": _USER, "password": _TOKEN, "bearer": _TOKEN}
    for name, pattern in said.items():
        value = getattr(settings, name)
        if value is not None and not pattern.fullmatch(value):
            raise InvalidError(f"expected the {name} of Alertmanager in printable ASCII")
    return target


def _apprise(settings: Apprise) -> str:
    schema, separator, rest = settings.url.partition("://")
    if not separator or not rest or not all(" " < each < "\x7f" for each in settings.url):
        raise InvalidError("expected a URL of apprise, such as slack://...")
    if schema not in SCHEMAS:
        raise InvalidError(
            f"expected a service that apprise may be asked for, found {schema[:20]!r}",
            hint="there is " + ", ".join(sorted(SCHEMAS)),
        )
    if schema in CLEARTEXT and not settings.allow_private:
        raise InvalidError(
            f"{schema}:// speaks in cleartext",
            hint=f"take {schema}s://; or for what is on this network: --allow-private",
        )
    if _turns_guards_off(rest):
        raise InvalidError(
            "expected certificates to be verified and no file of the server to be read, found "
            "verify or template in the URL"
        )
    return f"{schema}://"


def _turns_guards_off(rest: str) -> bool:
    for _ in range(_MOST_ENCODED):
        if _GUARDS.search(rest):
            return True
        rest = unquote_plus(rest)
    return _GUARDS.search(rest) is not None
