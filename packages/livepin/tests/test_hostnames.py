"""Host names and patterns: one form to compare, and no second spelling that escapes its pins."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from livepin.errors import MalformedError
from livepin.hostnames import candidates, is_address, normalise, parse_pattern, pattern_covers

LABEL = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True)
NAME = st.builds(
    lambda labels, last: ".".join([*labels, last]),
    st.lists(LABEL, max_size=4),
    st.from_regex(r"[a-z]{2,8}", fullmatch=True),
)
ADDRESS = st.ip_addresses()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("localhost", "localhost"),
        ("a_b.example.com", "a_b.example.com"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("例え.テスト。", "xn--r8jz45g.xn--zckzah"),
        ("ａｐｉ.example.com", "api.example.com"),
        ("\u212aelvin.example", "kelvin.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (".".join(["a" * 49] * 5) + ".com", ".".join(["a" * 49] * 5) + ".com"),
        ("host.x1", "host.x1"),
        ("1.example.com", "1.example.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:db8::0001]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::FFFF:c000:201]", "192.0.2.1"),
    ],
)
def test_every_spelling_of_a_host_has_one_form(host: str, expected: str) -> None:
    assert normalise(host) == expected


@pytest.mark.parametrize(
    "host",
    [
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
        "api.example.com\n",
        "api.example.com\0.evil.example",
        "*.example.com",
        "-a.example.com",
        "a-.example.com",
        "a" * 64 + ".example",
        ".".join(["a" * 62] * 4) + ".com",
        "a" * 2000,
        "ä" * 2000,
        "ü" * 64 + ".example",
        "\ud800.example",
        "\u00ad.example",
        "a%2ecom",
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(MalformedError) as caught:
        normalise(host)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x",
        "127.0.0.01",
        "127.0.0.1.",
        "256.1.1.1",
        "1.2.3.4.5",
        "api.example.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "1.2.3.²",
    ],
)
def test_what_a_resolver_would_read_as_an_address_in_another_spelling_is_refused(host: str) -> None:
    with pytest.raises(MalformedError):
        normalise(host)


@pytest.mark.parametrize("host", ["fe80::1%eth0", "[fe80::1%25eth0]", "::1%1"])
def test_a_scope_id_is_refused(host: str) -> None:
    with pytest.raises(MalformedError, match="scope id"):
        normalise(host)


@pytest.mark.parametrize("host", ["[::1", "::1]", "[api.example.com]", "[]", "1::2::3", "::g"])
def test_what_is_nearly_an_address_is_refused(host: str) -> None:
    with pytest.raises(MalformedError):
        normalise(host)


@pytest.mark.parametrize(
    "letter",
    ["\u00df", "\u1e9e", "\u03c2", "\u03f2", "\U0001d6d3", "\u200c", "\u200d"],
    ids=lambda each: f"U+{ord(each):04X}",
)
def test_a_name_that_means_different_hosts_in_idna_2003_and_2008_is_refused(letter: str) -> None:
    with pytest.raises(MalformedError, match="different hosts"):
        normalise(f"a{letter}a.example")


@given(NAME)
def test_a_name_in_canonical_form_stays_as_it_is(name: str) -> None:
    assert normalise(name) == name


@given(NAME, st.randoms(use_true_random=False))
def test_case_and_a_trailing_dot_make_no_other_host(name: str, random) -> None:
    spelled = "".join(random.choice([c.upper(), c]) for c in name)
    assert normalise(spelled) == normalise(spelled + ".") == name


@given(ADDRESS)
def test_an_address_has_its_canonical_text(address) -> None:
    expected = getattr(address, "ipv4_mapped", None) or address
    assert normalise(str(address)) == str(expected)
    assert normalise(address.exploded) == str(expected)
    assert is_address(normalise(str(address)))
    if address.version == 6:
        assert normalise(f"[{address}]") == str(expected)


@given(
    st.text(max_size=80)
    | st.text(alphabet="aZ09.-_*[]:%x\u3002\uff0e\u00df\u00e4\u0660\u00b2\u00ad", max_size=40)
    | st.lists(st.text(max_size=8), max_size=5).map(".".join)
)
@example("\u1d16d.\u0300")
def test_any_text_is_a_host_in_one_form_or_is_refused(text: str) -> None:
    try:
        found = normalise(text)
    except MalformedError:
        return
    assert found.isascii()
    assert found == found.lower()
    assert normalise(found) == found
    assert is_address(found) == _reads_as_address(found)


def _reads_as_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api.example.com", "api.example.com"),
        ("API.example.com.", "api.example.com"),
        ("*.example.com", "*.example.com"),
        ("*.Example.COM.", "*.example.com"),
        ("*.a.b.example.com", "*.a.b.example.com"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("[::1]", "::1"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_pattern_has_one_form(text: str, expected: str) -> None:
    assert parse_pattern(text) == expected
    assert parse_pattern(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "*.com",
        "*.localhost",
        "*.192.0.2.1",
        "*.[2001:db8::1]",
        "*.*.example.com",
        "a*.example.com",
        "api.*.com",
        "**.example.com",
        "*example.com",
        "*..example.com",
        "＊.example.com",
    ],
)
def test_a_wildcard_stands_only_before_a_name_of_two_labels(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_pattern(text)


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("api.example.com", "api.example.com", True),
        ("api.example.com", "example.com", False),
        ("api.example.com", "x.api.example.com", False),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "a.b.c.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "badexample.com", False),
        ("*.example.com", "api.example.com.evil.example", False),
        ("*.0.2.1", "192.0.2.1", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("::1", "::1", True),
        ("::1", "::2", False),
    ],
)
def test_what_a_pattern_covers(pattern: str, host: str, expected: bool) -> None:
    assert pattern_covers(pattern, host) is expected


def test_the_candidates_go_from_the_longest_pattern_to_the_shortest() -> None:
    assert candidates("a.b.example.com") == [
        "a.b.example.com",
        "*.b.example.com",
        "*.example.com",
    ]
    assert candidates("localhost") == ["localhost"]
    assert candidates("example.com") == ["example.com"]


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_is_covered_by_itself_alone(host: str) -> None:
    assert candidates(host) == [host]


@given(NAME.filter(lambda name: name.count(".") > 1))
def test_the_candidates_are_the_patterns_that_cover_a_host(name: str) -> None:
    found = candidates(name)
    assert all(pattern_covers(each, name) for each in found)
    assert found == sorted(found, key=len, reverse=True)
    assert all(parse_pattern(each) == each for each in found)
