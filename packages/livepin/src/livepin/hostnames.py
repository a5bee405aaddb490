"""Host names and patterns, brought to the one form in which they are compared.

A host is compared as ASCII in lower case, without a trailing dot, internationalised names as
A-labels, IP addresses in their canonical text (RFC 5952). Name resolution is not done here.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache

from .errors import MalformedError

# What nearly every host looks like already; the rest goes the long way.
_CANONICAL = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}\Z")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_MAX_NAME = 253
# U+00DF, U+03C2, U+200C, U+200D map to different hosts in IDNA 2003 and 2008 (RFC 5894, 7.2),
# and so do U+1E9E, the capital of the first, and what NFKC makes one of them.
_DEVIATIONS = re.compile("[\u00df\u03c2\u200c\u200d\u1e9e]")


@lru_cache(maxsize=4096)
def normalise(host: str) -> str:
    """Return `host` in the form in which names are compared.

    Takes names in any case, with one trailing dot, with U-labels; IPv4 and IPv6 literals, the
    latter also in brackets.

    Raises:
        MalformedError: not a host name and not an address; a scope id; a name that IDNA 2003
            and 2008 send to different hosts.
    """
    if len(host) <= _MAX_NAME and _CANONICAL.match(host):
        return host
    if len(host) > 4 * _MAX_NAME:
        raise MalformedError(f"expected a host name, found {len(host)} characters")
    address = _address(host)
    if address is not None:
        return address
    name = _to_ascii(host).removesuffix(".")
    labels = name.split(".")
    if not name or len(name) > _MAX_NAME or not all(_LABEL.match(label) for label in labels):
        raise _not_a_host(host)
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        # Resolvers read "127.1" or "0x7f.1" as an address; certificates never carry such names.
        raise MalformedError(
            f"expected a host name or a full IP address, found {host[:80]!r}",
            hint="write IPv4 addresses with four decimal numbers",
        )
    return name


def parse_pattern(text: str) -> str:
    """Return a domain pattern in its canonical form: a host, `*.host`, or an IP literal.

    Raises:
        MalformedError: a wildcard anywhere but in the whole first label, before an IP address,
            or before a single label; otherwise as `normalise`.
    """
    if not text.startswith("*."):
        return normalise(text)
    host = normalise(text[2:])
    if is_address(host) or "." not in host:
        raise MalformedError(
            f"expected *.name.tld, found {text[:80]!r}",
            hint="a wildcard stands before a name of at least two labels",
        )
    return "*." + host


def pattern_covers(pattern: str, host: str) -> bool:
    """Tell whether a canonical pattern covers a normalised host: any depth, not the host itself."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and not is_address(host)
    return pattern == host


def candidates(host: str) -> list[str]:
    """Return the patterns that cover a normalised host, the longest (which wins) first."""
    found = [host]
    if is_address(host):
        return found
    parent = host.partition(".")[2]
    while "." in parent:
        found.append("*." + parent)
        parent = parent.partition(".")[2]
    return found


def is_address(host: str) -> bool:
    """Tell whether a normalised host is an IP address."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def _address(host: str) -> str | None:
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" not in text and not text[-1:].isdigit():
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        raise MalformedError(f"expected an IP address without a scope id, found {host[:80]!r}")
    # An IPv4-mapped address reaches the IPv4 host, whose pins must hold; its text differs, too,
    # between versions of Python.
    return str(getattr(address, "ipv4_mapped", None) or address)


def _to_ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    if _DEVIATIONS.search(unicodedata.normalize("NFKC", host)):
        raise MalformedError(
            f"{host[:80]!r} means different hosts in IDNA 2003 and IDNA 2008",
            hint="give the name in its ASCII form, xn--...",
        )
    try:
        return host.encode("idna").decode("ascii").lower()
    except UnicodeError as exc:
        raise _not_a_host(host) from exc


def _not_a_host(host: str) -> MalformedError:
    return MalformedError(
        f"expected a host name, found {host[:80]!r}",
        hint="give the bare host, without scheme, port or path",
    )
