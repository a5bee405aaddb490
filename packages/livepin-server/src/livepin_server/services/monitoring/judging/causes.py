"""What findings have one cause, as a text that is the same for all of them. See ADR 0031.

A cause is told by what many endpoints can have in common: who issued their certificates and when,
the network they are in, the place from which nothing is seen. It never holds what comes and goes
while the same thing is wrong, such as the number of addresses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timezone
from hashlib import sha256
from ipaddress import ip_address, ip_network

from livepin_server.probing.probe import CertificateSeen

_ORGANISATION = re.compile(r"(?:^|[,+])O=((?:\\.|[^,+\\])+)")
_NETWORKS = {4: 24, 6: 48}  # what one place commonly has
_LONGEST = 60


def issuer(chain: Sequence[CertificateSeen]) -> str:
    """Return who issued a chain: the organisation, which has many keys, or else the key.

    A roll-out takes its ECDSA and its RSA certificates from different keys of one issuer.
    """
    found = _ORGANISATION.search(chain[0].issuer)
    if found is not None:
        return _short(found[1].lower())
    return _short(chain[1].sha256 if len(chain) > 1 else chain[0].issuer)


def new_issuer(chain: Sequence[CertificateSeen], *, enforced: bool) -> str:
    """A roll-out to an issuer that is not pinned, whose certificates come over weeks."""
    return f"{_pins(enforced)}:issuer:{issuer(chain)}"


def new_keys(chain: Sequence[CertificateSeen], *, enforced: bool) -> str:
    """Keys that nobody pinned, where keys of servers are pinned: those issued on one day."""
    return f"{_pins(enforced)}:keys:{issuer(chain)}:{day(chain[0], 'not_before')}"


def pin_out_of_time(pin: str, *, enforced: bool) -> str:
    """A pin that has ended, or has not begun: of all that serve its key."""
    return f"{_pins(enforced)}:time:{pin}"


def expiry(chain: Sequence[CertificateSeen], ends: CertificateSeen) -> str:
    """Certificates of one issuer that expire on one day, before and after they have.

    `ends` is the one of the chain that does; an issuer's own is the same for all that it issued.
    """
    by = issuer(chain) if ends is chain[0] else f"above:{_short(ends.sha256)}"
    return f"expiry:{by}:{day(ends, 'not_after')}"


def untrusted(code: str, chain: Sequence[CertificateSeen], host: str) -> str:
    """What one issuer's certificates are refused for; a wrong or self-signed one by its key."""
    if not chain:
        return f"untrusted:{code}:{_short(host)}"
    own = code in ("name-mismatch", "self-signed")
    return f"untrusted:{code}:{_short(chain[0].sha256) if own else issuer(chain)}"


def unseen(vantage: str) -> str:
    """Nothing comes back: as in an outage of the network, or of the name servers, of a vantage."""
    return f"unreachable:{vantage}"


def unrouted(vantage: str) -> str:
    """A vantage that has no way to IPv6 at all."""
    return f"unreachable:{vantage}:ipv6"


def nameless(host: str) -> str:
    """Names that are gone, of one zone as far as two labels tell."""
    return f"unreachable:name:{'.'.join(host.split('.')[-2:])}"


def refusing(vantage: str, address: str) -> str:
    """Something there says no: all that is in its network."""
    try:
        number = ip_address(address)
    except ValueError:
        return f"unreachable:{vantage}:{_short(address)}"
    network = ip_network((number, _NETWORKS[number.version]), strict=False)
    return f"unreachable:{vantage}:{network}"


def interception(vantage: str) -> str:
    """What sits on the way of one vantage sits on the way to every host."""
    return f"interception:{vantage}"


def day(certificate: CertificateSeen, member: str) -> str:
    """Return the day, in UTC, on which a certificate begins or ends."""
    moment = getattr(certificate, member)
    try:
        return f"{moment.astimezone(timezone.utc):%Y-%m-%d}"
    except (OverflowError, ValueError):
        return f"{moment:%Y-%m-%d}"


def _pins(enforced: bool) -> str:
    # Who has acknowledged what is only reported must hear of what breaks.
    return "pins" if enforced else "pins-reported"


def _short(text: str) -> str:
    """Return a text that is safe and short in a cause, whatever strangers write."""
    if len(text) <= _LONGEST and re.fullmatch(r"[A-Za-z0-9 .,'&+/=:_\\-]+", text):
        return text
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
