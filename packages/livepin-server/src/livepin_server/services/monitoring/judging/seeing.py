"""What is held of an endpoint, sorted by what it says: verified, untrusted, or no answer.

A chain counts as verified only if the engine says so and has it. What was merely presented proves
nothing, for anybody can append a pinned certificate. The values are structs, for a million of them
are made where nothing is wrong.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

from livepin.pins import PREFIX, PinSet
from msgspec import Struct

from livepin_server.probing.probe import CertificateSeen
from livepin_server.services.monitoring.model import Elsewhere, Held, Sighted

_LONGEST_WORD = 200  # characters of what strangers say
_SKIPPED = len(PREFIX)
_NOTHING = timedelta(0)


class Seen(Struct, frozen=True):
    """The sights of an endpoint; `silent` has those of addresses that answer in no way.

    A server that has no certificate of one algorithm, or ends the conversation of clients that
    want one, is all right while the same address has a chain of the other.
    """

    verified: list[Sighted]
    untrusted: list[Sighted]
    silent: list[Sighted]

    @classmethod
    def of(cls, held: Held) -> Seen:
        """Return what is held, sorted."""
        verified, untrusted, rest = [], [], []
        for sight in held.sights:
            seen = sight.observation
            if seen.verified and seen.chain:
                verified.append(sight)
            elif seen.failure == "untrusted" or seen.presented:
                untrusted.append(sight)
            else:
                rest.append(sight)
        if rest:
            answer = {each.address for group in (verified, untrusted) for each in group}
            rest = [each for each in rest if each.address not in answer]
        return cls(verified, untrusted, rest)


class Matching(Struct, frozen=True):
    """Which verified paths hold a pin in force, and by which keys, the leaf's first."""

    matched: list[Sighted]
    keys: list[tuple[str, ...]]  # of each in `matched`
    unmatched: list[Sighted]

    @classmethod
    def of(cls, verified: Sequence[Sighted], pins: PinSet, *, now: datetime) -> Matching:
        """Return what the pins of a set say to verified chains."""
        known: dict[str, bool] = {}
        always, limited = pins.unlimited, not pins.timeless
        matched, by, unmatched = [], [], []
        for sight in verified:
            found = []
            for each in sight.observation.chain:
                key = each.sha256
                matches = known.get(key)
                if matches is None:
                    digest = fingerprint(key)
                    matches = digest in always
                    if limited and not matches:
                        matches = pins.match((digest,), now=now) is not None
                    known[key] = matches
                if matches:
                    found.append(key)
            if found:
                matched.append(sight)
                by.append(tuple(found))
            else:
                unmatched.append(sight)
        return cls(matched, by, unmatched)


def fingerprint(text: str) -> bytes:
    """Return the bytes of a fingerprint that a probe wrote; of anything else, no fingerprint."""
    try:
        return a2b_base64(text[_SKIPPED:])
    except ValueError:
        return b""


def in_order(sights: Iterable[Sighted]) -> list[Sighted]:
    """Return sights by address and algorithm: looks come in any order."""
    return sorted(sights, key=lambda each: (address_order(each.address), each.algorithm))


def addresses(sights: Iterable[Sighted]) -> list[str]:
    """Return their addresses, each once, in order."""
    return sorted({each.address for each in sights if each.address}, key=address_order)


def address_order(text: str) -> tuple[int, int, str]:
    """Return by what addresses are sorted: IPv4 before IPv6, then by number."""
    try:
        address = ip_address(text)
    except ValueError:
        return 9, 0, text
    return address.version, int(address), text


def leaf(sight: Sighted) -> CertificateSeen | None:
    """Return the certificate of the server itself, as verified or else as presented."""
    seen = sight.observation
    chain = (seen.chain if seen.verified else []) or seen.presented
    return chain[0] if chain else None


def leaf_keys(sights: Iterable[Sighted]) -> list[str]:
    """Return the fingerprints of the servers' own keys, each once, in the order of the sights."""
    found = (leaf(each) for each in sights)
    return list(dict.fromkeys(each.sha256 for each in found if each is not None))


def first_to_end(chain: Sequence[CertificateSeen]) -> CertificateSeen:
    """Return the certificate of a verified chain that expires first; of two, the lower one.

    The anchor counts only where it is the whole chain: trust stores have rules of their own.
    """
    if len(chain) < 3:
        return chain[0]
    return min(chain[:-1], key=lambda each: each.not_after)


def lifetime(certificate: CertificateSeen) -> timedelta:
    """Return how long a certificate lives."""
    return max(certificate.not_after - certificate.not_before, _NOTHING)


def has_looked(other: Elsewhere, since: datetime) -> bool:
    """Tell whether another vantage has looked later than that.

    When a sight was written says nothing: a look that finds it as it was leaves it as it is.
    """
    return other.looked is not None and other.looked > since


def recent(other: Elsewhere, since: datetime) -> list[Sighted]:
    """Return the verified sights of another vantage, if it has looked later than `since`."""
    return Seen.of(other.held).verified if has_looked(other, since) else []


def readable(text: str | None) -> str:
    """Return what strangers or systems say as one line that can do nothing to a terminal."""
    line = "".join(each if each.isprintable() else " " for each in (text or "")[:_LONGEST_WORD])
    return " ".join(line.split())


Others = Mapping[str, Elsewhere]  # what other vantages hold, by name
