"""The config document: which pins hold for which hosts, and where newer configs come from.

A pin set is defined once and named by any number of domains. The longest pattern that covers a
host wins whole; nothing is merged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from livepin import hostnames, jsontext
from livepin.certificates import pem_to_ders
from livepin.errors import MalformedError, VerificationError
from livepin.jose import b64url_decode, b64url_encode
from livepin.pins import Pin, PinSet, parse_sha256

from .members import Members, seconds

TYP = "livepin-config+jws"
MAX_SIZE = 8 * 1024 * 1024  # bytes, expanded
MAX_COMPRESSED = 2 * 1024 * 1024  # bytes
REFRESH_INTERVAL = timedelta(seconds=300)
STALE_GRACE = timedelta(days=7)

_DAY = 24 * 3600
_KNOWN = {
    "account", "stream", "root_version", "version", "issued", "expires", "refresh_interval",
    "stale_grace", "pin_sets", "domains", "delivery", "audit", "critical",
}  # fmt: skip
_KNOWN_DOMAIN = {"pattern", "pin_set", "mode", "token", "stale", "critical"}
_KNOWN_PIN = {"sha256", "not_before", "not_after", "critical"}
_KNOWN_DELIVERY = {"urls", "pins", "ca", "recovery_urls", "critical"}
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]]+)(:[0-9]{1,5})?(/[!-~]*)?\Z")
_MAX_URL = 2048
_MAX_URLS = 16
_DIGEST = 32  # bytes of a SHA-256


class Mode(str, Enum):
    """What a mismatch does: stop the connection, only be reported, or nothing."""

    ENFORCE = "enforce"
    REPORT = "report"
    OFF = "off"


class Stale(str, Enum):
    """What an expired config does to a domain: it goes on being enforced, or is refused."""

    ENFORCE = "enforce"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A protected API host or pattern, with the pin set that it names."""

    pattern: str
    pin_set: str
    pins: PinSet
    mode: Mode = Mode.ENFORCE
    token: bool = False
    stale: Stale = Stale.ENFORCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Where documents are fetched: pinned HTTPS URLs, their CA, and unpinned recovery URLs.

    `ca` is PEM, the only trust anchors for the delivery hosts, or None for the system's.
    """

    urls: tuple[str, ...]
    pins: PinSet
    ca: str | None = None
    recovery_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config document whose payload keeps rule 4.

    `audit` is the head of the server's audit log, 32 bytes, or None; it means nothing to an app.
    """

    account: str
    stream: str
    root_version: int
    version: int
    issued: datetime
    expires: datetime
    delivery: Delivery
    pin_sets: dict[str, PinSet]
    domains: tuple[Domain, ...]
    refresh_interval: timedelta = REFRESH_INTERVAL
    stale_grace: timedelta = STALE_GRACE
    audit: bytes | None = None
    _index: dict[str, Domain] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {d.pattern: d for d in self.domains})

    @classmethod
    def parse(cls, payload: bytes) -> Config:
        """Return the config document in `payload`.

        Raises:
            VerificationError: rule 1 or 4.
        """
        members = Members.parse(payload, where="config", known=_KNOWN)
        pin_sets = parse_pin_sets(members)
        return cls(
            account=members.name("account"),
            stream=members.name("stream"),
            root_version=members.version("root_version"),
            version=members.version(),
            issued=members.time("issued"),
            expires=members.time("expires"),
            refresh_interval=_interval(members, "refresh_interval", 7 * _DAY, REFRESH_INTERVAL),
            stale_grace=_interval(members, "stale_grace", 365 * _DAY, STALE_GRACE),
            pin_sets=pin_sets,
            domains=parse_domains(members, pin_sets),
            delivery=_delivery(members),
            audit=_audit(members),
        )

    @staticmethod
    def root_named(payload: bytes) -> int:
        """Return the root_version in `payload`, which nobody vouches for yet.

        Raises:
            VerificationError: rule 1 or 4.
        """
        return Members.parse(payload, where="config", known=_KNOWN).version("root_version")

    def payload(self) -> bytes:
        """Return the payload to be signed."""
        members: dict[str, Any] = {
            "account": self.account,
            "stream": self.stream,
            "root_version": self.root_version,
            "version": self.version,
            "issued": seconds(self.issued),
            "expires": seconds(self.expires),
            "refresh_interval": int(self.refresh_interval.total_seconds()),
            "stale_grace": int(self.stale_grace.total_seconds()),
            "pin_sets": pin_sets_json(self.pin_sets),
            "domains": [domain_json(domain) for domain in self.domains],
            "delivery": _delivery_json(self.delivery),
        }
        if self.audit is not None:
            members["audit"] = b64url_encode(self.audit).decode()
        return jsontext.dump(members)

    def lookup(self, host: str) -> Domain | None:
        """Return the domain whose pattern is the longest to cover a normalised host, or None."""
        return longest(self._index, host)

    def covers(self, pattern: str) -> bool:
        """Tell whether every host of a canonical pattern is one that this config lists."""
        # What covers a host named "*" below a name covers every host there.
        return self.lookup(pattern) is not None


def longest(index: dict[str, Domain], host: str) -> Domain | None:
    """Return the entry of the longest pattern in `index` that covers a normalised host."""
    exact = index.get(host)
    if exact is not None:
        return exact
    for pattern in hostnames.candidates(host)[1:]:
        found = index.get(pattern)
        if found is not None:
            return found
    return None


def parse_pin_sets(members: Members) -> dict[str, PinSet]:
    """Return the named pin sets of a document. An empty one refuses: it would pin nothing."""
    found = {}
    for name, listed in members.mapping("pin_sets").items():
        found[name] = _pin_set(listed, f"pin_sets.{name[:80]}")
    return found


def parse_domains(members: Members, pin_sets: dict[str, PinSet]) -> tuple[Domain, ...]:
    """Return the domains of a document, each with the pin set that it names."""
    domains = tuple(_domain(each, pin_sets) for each in members.items("domains"))
    if len({domain.pattern for domain in domains}) != len(domains):
        raise VerificationError(4, "domains: expected each pattern once")
    return domains


def domain_json(domain: Domain) -> dict[str, Any]:
    """Return a domain as it stands in a payload."""
    return {
        "pattern": domain.pattern,
        "pin_set": domain.pin_set,
        "mode": domain.mode.value,
        "token": domain.token,
        "stale": domain.stale.value,
    }


def pin_sets_json(pin_sets: dict[str, PinSet]) -> dict[str, Any]:
    """Return named pin sets as they stand in a payload."""
    return {name: [_pin_json(p) for p in found.pins] for name, found in pin_sets.items()}


def _domain(found: object, pin_sets: dict[str, PinSet]) -> Domain:
    members = Members(found, where="domain", known=_KNOWN_DOMAIN)
    pattern = members.text("pattern")
    try:
        canonical = hostnames.parse_pattern(pattern)
    except MalformedError as exc:
        raise VerificationError(4, f"domain.pattern: {exc}") from exc
    if canonical != pattern:
        # Two spellings of one host would be two entries, and one of them never found.
        raise VerificationError(4, f"domain.pattern: expected {canonical!r}, found {pattern!r}")
    name = members.text("pin_set")
    pins = pin_sets.get(name)
    if pins is None:
        raise VerificationError(4, f"domain {pattern}: expected a pin set, {name[:80]!r} is none")
    return Domain(
        pattern=pattern,
        pin_set=name,
        pins=pins,
        mode=_mode(members.text("mode", "enforce")),
        token=members.boolean("token", False),
        stale=Stale.REFUSE if members.text("stale", "enforce") == "refuse" else Stale.ENFORCE,
    )


def _mode(text: str) -> Mode:
    # A mode of the future may be anything but a reason not to pin.
    return Mode(text) if text in ("report", "off") else Mode.ENFORCE


def _pin_set(listed: object, where: str) -> PinSet:
    if not isinstance(listed, list) or not listed:
        raise VerificationError(4, f"{where}: expected a list of at least one pin")
    return PinSet(tuple(_pin(each, where) for each in listed))


def _pin(found: object, where: str) -> Pin:
    try:
        # Nearly every pin has only this member, and a config may have ten thousands of them.
        if isinstance(found, dict) and len(found) == 1 and isinstance(found.get("sha256"), str):
            return Pin(parse_sha256(found["sha256"]))
        members = Members(found, where=where, known=_KNOWN_PIN)
        sha256 = parse_sha256(members.text("sha256")) if members.has("sha256") else None
        return Pin(sha256, members.optional_time("not_before"), members.optional_time("not_after"))
    except MalformedError as exc:
        raise VerificationError(4, f"{where}: {exc}") from exc


def _pin_json(pin: Pin) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if pin.sha256 is not None:
        found["sha256"] = str(pin).removeprefix("sha256/")
    if pin.not_before is not None:
        found["not_before"] = seconds(pin.not_before)
    if pin.not_after is not None:
        found["not_after"] = seconds(pin.not_after)
    return found


def _delivery(config: Members) -> Delivery:
    members = Members(config.mapping("delivery"), where="delivery", known=_KNOWN_DELIVERY)
    ca = members.text("ca") if members.has("ca") else None
    if ca is not None:
        try:
            pem_to_ders(ca)
        except MalformedError as exc:
            raise VerificationError(4, f"delivery.ca: {exc}") from exc
    urls = _urls(members, "urls", ("https",))
    if not urls:
        raise VerificationError(4, "delivery.urls: expected at least one URL")
    return Delivery(
        urls=urls,
        pins=_pin_set(members.items("pins"), "delivery.pins"),
        ca=ca,
        recovery_urls=_urls(members, "recovery_urls", ("https", "http")),
    )


def _urls(members: Members, member: str, schemes: tuple[str, ...]) -> tuple[str, ...]:
    found = members.texts(member)
    if len(found) > _MAX_URLS:
        raise VerificationError(4, f"delivery.{member}: expected at most {_MAX_URLS} URLs")
    for url in found:
        try:
            check_url(url, schemes=schemes)
        except MalformedError as exc:
            raise VerificationError(4, f"delivery.{member}: {exc}") from exc
    return tuple(found)


def check_url(url: str, *, schemes: tuple[str, ...]) -> str:
    """Return the normalised host of a base URL: a scheme, a host, maybe a port and a path.

    Raises:
        MalformedError: another scheme, user information, a query, a fragment, or no such host.
    """
    match = _URL.match(url) if len(url) <= _MAX_URL else None
    if match is None or match[1] not in schemes or "?" in url or "#" in url:
        raise MalformedError(f"expected an {' or '.join(schemes)} URL, found {url[:80]!r}")
    if match[3] and int(match[3][1:]) not in range(1, 65536):
        raise MalformedError(f"expected a port from 1 to 65535, found {match[3][1:]}")
    return hostnames.normalise(match[2])


def _delivery_json(delivery: Delivery) -> dict[str, Any]:
    found: dict[str, Any] = {
        "urls": list(delivery.urls),
        "pins": [_pin_json(pin) for pin in delivery.pins.pins],
        "recovery_urls": list(delivery.recovery_urls),
    }
    if delivery.ca is not None:
        found["ca"] = delivery.ca
    return found


def _audit(members: Members) -> bytes | None:
    if not members.has("audit"):
        return None
    try:
        found = b64url_decode(members.text("audit").encode("ascii", "replace"))
    except MalformedError:
        found = b""
    if len(found) != _DIGEST:
        raise members.refused("audit", "the base64url of a SHA-256")
    return found


def _interval(members: Members, member: str, most: int, default: timedelta) -> timedelta:
    low = 1 if member == "refresh_interval" else 0
    return timedelta(
        seconds=members.integer(member, low, most, default=int(default.total_seconds()))
    )
