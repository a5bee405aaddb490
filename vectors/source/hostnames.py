"""Tables of host names and patterns: what is one host, and which pattern covers it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

_LONG = ".".join(["a" * 49] * 5) + ".com"  # 253 characters


def tables() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the name and the content of each table."""
    yield "normalise", _normalise()
    yield "patterns", _patterns()
    yield "covers", _covers()
    yield "lookup", _lookup()


def _normalise() -> dict[str, Any]:
    same = {
        "api.example.com": "api.example.com",
        "API.Example.COM": "api.example.com",
        "api.example.com.": "api.example.com",
        "API.EXAMPLE.COM.": "api.example.com",
        "localhost": "localhost",
        "a_b.example.com": "a_b.example.com",
        "_dmarc.example.com": "_dmarc.example.com",
        "1.example.com": "1.example.com",
        "a--b.example.com": "a--b.example.com",
        "host.x1": "host.x1",
        "a" * 63 + ".example": "a" * 63 + ".example",
        _LONG: _LONG,
        "xn--bcher-kva.example": "xn--bcher-kva.example",
        "XN--BCHER-KVA.Example": "xn--bcher-kva.example",
        "bücher.example": "xn--bcher-kva.example",
        "BÜCHER.example.": "xn--bcher-kva.example",
        "bu\u0308cher.example": "xn--bcher-kva.example",
        "例え.テスト": "xn--r8jz45g.xn--zckzah",
        "例え。テスト。": "xn--r8jz45g.xn--zckzah",
        "ａｐｉ.example.com": "api.example.com",
        "\u212aelvin.example": "kelvin.example",
        "192.0.2.1": "192.0.2.1",
        "::1": "::1",
        "[::1]": "::1",
        "2001:DB8:0:0:0:0:0:1": "2001:db8::1",
        "[2001:db8::0001]": "2001:db8::1",
        "2001:db8:0:1:0:0:0:1": "2001:db8:0:1::1",
        "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
        "::ffff:192.0.2.1": "192.0.2.1",
        "[::FFFF:c000:201]": "192.0.2.1",
    }
    refused = [
        "",
        ".",
        "..",
        ".example.com",
        "api..example.com",
        "api.example.com..",
        "api.example.com:443",
        "https://api.example.com",
        "api.example.com/path",
        "user@api.example.com",
        "api example.com",
        " api.example.com",
        "api.example.com ",
        "api.example.com\n",
        "api.example.com\0.evil.example",
        "api.example.com%2eevil.example",
        "*.example.com",
        "-a.example.com",
        "a-.example.com",
        "a" * 64 + ".example",
        "a." + _LONG,
        "ü" * 64 + ".example",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "192.0.2.1.",
        "192.0.2.256",
        "192.0.2.01",
        "192.0.2.0x1",
        "example.123",
        "[::1",
        "::1]",
        "[[::1]]",
        "1:2:3",
        "fe80::1%eth0",
        "[fe80::1%25eth0]",
        "straße.example",
        "STRA\u1e9eE.example",
        "βόλος.example",
        "a\u200cb.example",
        "a\u200db.example",
    ]
    rows = [{"host": host, "expected": expected} for host, expected in same.items()]
    rows += [{"host": host, "expected": None} for host in refused]
    return _table("The one form of a host; null where it is refused", rows)


def _patterns() -> dict[str, Any]:
    same = {
        "api.example.com": "api.example.com",
        "API.example.com.": "api.example.com",
        "localhost": "localhost",
        "*.example.com": "*.example.com",
        "*.EXAMPLE.com.": "*.example.com",
        "*.bücher.example": "*.xn--bcher-kva.example",
        "192.0.2.1": "192.0.2.1",
        "[2001:DB8::1]": "2001:db8::1",
    }
    refused = [
        "*",
        "*.",
        "*.com",
        "**.example.com",
        "*.*.example.com",
        "a.*.example.com",
        "a*.example.com",
        "*a.example.com",
        "*example.com",
        "api.example.*",
        "*.192.0.2.1",
        "*.[2001:db8::1]",
        "*.2001:db8::1",
        "*.api.example.com:443",
    ]
    rows = [{"pattern": pattern, "expected": expected} for pattern, expected in same.items()]
    rows += [{"pattern": pattern, "expected": None} for pattern in refused]
    title = "The one form of a pattern, which alone may stand in a document; null where refused"
    return _table(title, rows)


def _covers() -> dict[str, Any]:
    wild = "*.example.com"
    found = [
        ("api.example.com", "api.example.com", True),
        ("api.example.com", "a.api.example.com", False),
        ("api.example.com", "example.com", False),
        (wild, "api.example.com", True),
        (wild, "b.a.example.com", True),
        (wild, "_x.example.com", True),
        (wild, "example.com", False),
        (wild, "badexample.com", False),
        (wild, "api.example.com.evil.example", False),
        (wild, "example.org", False),
        (wild, "192.0.2.1", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.10", False),
        ("2001:db8::1", "2001:db8::1", True),
        ("2001:db8::1", "2001:db8::1:1", False),
        ("localhost", "localhost", True),
    ]
    rows = [{"pattern": p, "host": host, "expected": expected} for p, host, expected in found]
    return _table("Whether a pattern covers a host, both in their one form", rows)


def _lookup() -> dict[str, Any]:
    patterns = [
        "api.example.com",
        "*.example.com",
        "*.a.example.com",
        "x.b.a.example.com",
        "example.net",
        "xn--bcher-kva.example",
        "192.0.2.1",
        "2001:db8::1",
    ]
    found: list[tuple[str, str | None]] = [
        ("api.example.com", "api.example.com"),
        ("API.EXAMPLE.COM.", "api.example.com"),
        ("www.example.com", "*.example.com"),
        ("b.www.example.com", "*.example.com"),
        ("a.example.com", "*.example.com"),
        ("b.a.example.com", "*.a.example.com"),
        ("c.b.a.example.com", "*.a.example.com"),
        ("x.b.a.example.com", "x.b.a.example.com"),
        ("y.x.b.a.example.com", "*.a.example.com"),
        ("x.api.example.com", "*.example.com"),
        ("example.com", None),
        ("example.net", "example.net"),
        ("www.example.net", None),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", None),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("other.example", None),
    ]
    rows = [{"host": host, "expected": expected} for host, expected in found]
    title = "Which of these patterns decides for a host: the longest that covers it"
    return {"title": title, "patterns": patterns, "rows": rows}


def _table(title: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "rows": list(rows)}
