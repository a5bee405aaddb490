"""Where a notice may go: URLs that are plain, addresses that are public unless it was allowed."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin_server.errors import InvalidError
from livepin_server.services.monitoring.targets import require_address, require_url

PRIVATE = [
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "127.8.8.8", "100.64.0.1", "192.0.2.1",
    "198.18.0.1", "0.1.2.3", "240.0.0.1", "255.255.255.255", "::1", "fd00::1", "2001:db8::1",
    "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1",
    "2002:7f00:1::", "2002:a00:1::1", "::127.0.0.1", "::10.0.0.1", "64:ff9b:1::1", "fec0::1",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe", "168.63.129.16", "::ffff:168.63.129.16", "100.100.100.200",
    "fd00:ec2::254", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "2002:a9fe:a9fe::",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_refused_unless_it_was_allowed(address):
    with pytest.raises(InvalidError, match="no notice is sent to a private address"):
        require_address(address, allow_private=False)
    require_address(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_refused_whatever_was_allowed(address):
    for allowed in (True, False):
        with pytest.raises(InvalidError, match="link-local, multicast or metadata"):
            require_address(address, allow_private=allowed)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_taken_and_never_in_cleartext(address):
    require_address(address, allow_private=False)
    with pytest.raises(InvalidError, match="cleartext to a public address"):
        require_address(address, allow_private=True, cleartext=True)
    require_address("127.0.0.1", allow_private=True, cleartext=True)


@given(st.ip_addresses(v=4))
def test_ipv4_is_judged_the_same_however_ipv6_carries_it(address):
    def verdict(text):
        try:
            require_address(text, allow_private=False)
        except InvalidError as exc:
            return str(exc)
        return None

    plain = verdict(str(address))
    number = int(address)
    assert verdict(f"::ffff:{address}") == plain
    if number > 1:
        assert (verdict(str(ipaddress.IPv6Address((0x64FF9B << 96) + number))) is None) == (
            plain is None
        )


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "0x7f.1", "1.1.1.1:443", "example.com"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidError, match="expected an address"):
        require_address(text, allow_private=True)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example.com/a?token=b", "https://hooks.example.com"),
        ("https://hooks.example.com:8443/", "https://hooks.example.com:8443"),
        ("https://[2606:4700::1111]:8443/x", "https://[2606:4700::1111]:8443"),
        ("https://1.1.1.1", "https://1.1.1.1"),
        ("HTTPS://HOOKS.example.com/", "https://hooks.example.com"),
    ],
)
def test_a_target_shows_nothing_that_may_be_secret(url, target):
    assert require_url(url, allow_private=False) == target


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/", "ftp://hooks.example.com/", "file:///etc/passwd", "", "https://",
        "https:///x", "https://user@hooks.example.com/", "https://a:b@hooks.example.com/",
        "https://hooks.example.com/#x", "https://hooks.example.com:99999/", "https://[::1",
        "https://hooks.example.com:0/", "https://hooks example.com/", "https://a\r\nHost: b/",
        "https://h\u00f6.example/", "https://hooks.example.com/" + "x" * 2000, "https://127.0.0.1/",
        "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest/",
        "https://-x.example/", "//hooks.example.com/", "https://10.0.0.1./x y",
    ],
)  # fmt: skip
def test_other_urls_are_refused_and_not_quoted(url):
    with pytest.raises(InvalidError) as caught:
        require_url(url, allow_private=False)
    assert "hooks" not in str(caught.value)


def test_http_is_for_what_is_private():
    assert require_url("http://127.0.0.1:9093", allow_private=True) == "http://127.0.0.1:9093"
    with pytest.raises(InvalidError):
        require_url("http://169.254.169.254/", allow_private=True)


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused(text):
    for url in (text, f"https://{text}"):
        try:
            target = require_url(url, allow_private=False)
        except InvalidError:
            continue
        assert target.startswith("https://")
        assert target.isascii()
