"""Where a notice may go: pure rules of URLs and addresses.

A webhook is a request that the server makes for whoever adds it: without these rules it would
reach what only the server can (SSRF). A URL is checked when a channel is added; the address when
one connects, since a name may point elsewhere by then.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from livepin_server.errors import InvalidError

LONGEST_URL = 2000
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?\.?", re.IGNORECASE)
_TEXT = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # printable ASCII that has a place in a URL

# Where clouds answer with credentials. Of these, Azure's is in no private range.
_METADATA = {
    ipaddress.ip_address(each)
    for each in ("168.63.129.16", "169.254.169.254", "100.100.100.200", "fd00:ec2::254")
}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052, 2.1: the last 32 bits are IPv4

# Local ones that Python calls global: RFC 8215, and RFC 3879, 4.
_LOCAL = [ipaddress.ip_network(each) for each in ("64:ff9b:1::/48", "fec0::/10")]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def require_url(url: str, *, allow_private: bool) -> str:
    """Return where a URL leads, as SCHEME://HOST[:PORT]: the rest may hold secrets.

    Raises:
        InvalidError: not a URL that notices may be sent to.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidError("expected a URL, such as https://receiver.example.com/x") from None
    host = parts.hostname or ""
    if len(url) > LONGEST_URL or not _TEXT.fullmatch(url) or port == 0:
        raise InvalidError(f"expected a URL of at most {LONGEST_URL} characters, in ASCII")
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_private):
        raise InvalidError(
            "expected an https URL",
            hint="http is for what is on this host or network: --allow-private",
        )
    if parts.username is not None or parts.fragment:
        raise InvalidError("expected a URL without a user and without a fragment")
    address = _parsed(host)
    if address is None and not _HOST.fullmatch(host):
        raise InvalidError("expected a URL with a host name or an address")
    if address is not None:
        require_address(host, allow_private=allow_private)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")


def require_address(address: str, *, allow_private: bool, cleartext: bool = False) -> None:
    """Refuse an address to which no notice may be sent.

    With `cleartext` it is one that is spoken to without TLS: never across the internet.

    Raises:
        InvalidError: it is refused.
    """
    found = _parsed(address)
    if found is None:
        raise InvalidError("expected an address")
    each = _within(found)
    if any(_is_never_meant(one) for one in each):
        raise InvalidError("no notice is sent to a link-local, multicast or metadata address")
    if not allow_private and not all(map(_is_public, each)):
        raise InvalidError(
            "no notice is sent to a private address",
            hint="if it is meant: add the channel anew with --allow-private",
        )
    if cleartext and any(map(_is_public, each)):
        raise InvalidError("nothing is sent in cleartext to a public address", hint="use https")


def _parsed(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _within(address: _Address) -> list[_Address]:
    """Return the addresses that one stands for: IPv4 may be carried in IPv6."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]  # Python calls ::ffff:a.b.c.d reserved, whatever is in it
    carried: list[_Address] = [address]
    if address in _NAT64:
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        carried.append(address.sixtofour)
    if address.teredo is not None:
        carried += address.teredo
    if int(address) >> 32 == 0 and int(address) > 1:  # IPv4-compatible (RFC 4291, 2.5.5.1)
        carried.append(ipaddress.IPv4Address(int(address)))
    return carried


def _is_never_meant(address: _Address) -> bool:
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in _METADATA
    )


def _is_public(address: _Address) -> bool:
    return address.is_global and not any(address in each for each in _LOCAL)
