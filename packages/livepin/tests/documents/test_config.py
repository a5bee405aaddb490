"""The config document: pin sets, domains, delivery; nothing in it unpins by accident."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin.documents import Config, Mode, Stale
from livepin.documents.config import check_url
from livepin.errors import MalformedError, VerificationError
from livepin.hostnames import normalise
from livepin.pins import Pin
from livepin.testing import make_authority

if TYPE_CHECKING:
    from conftest import Account

PEM = make_authority().pem
HEAD = "A" * 42 + "E"


def parse(members: Any) -> Config:
    return Config.parse(json.dumps(members).encode())


def refused(members: Any) -> str:
    with pytest.raises(VerificationError) as caught:
        parse(members)
    assert caught.value.rule == 4
    return caught.value.reason


def with_domain(account: Account, **domain: Any) -> dict[str, Any]:
    base = {"pattern": "api.example.com", "pin_set": "api"} | domain
    return account.config_members(
        domains=[{name: value for name, value in base.items() if value is not ...}]
    )


def with_pins(account: Account, *pins: Any) -> dict[str, Any]:
    return account.config_members(pin_sets={"api": list(pins)}, domains=[])


def with_delivery(account: Account, **delivery: Any) -> dict[str, Any]:
    base = account.config_members()["delivery"] | delivery
    return account.config_members(
        delivery={name: value for name, value in base.items() if value is not ...}
    )


def test_a_config_is_read(account: Account) -> None:
    found = parse(account.config_members(9, refresh_interval=60, stale_grace=0))
    assert (found.account, found.stream, found.root_version, found.version) == (
        "acme", "main", 1, 9,
    )  # fmt: skip
    assert (found.issued, found.expires) == (account.now, account.now + timedelta(days=14))
    assert (found.refresh_interval, found.stale_grace) == (timedelta(minutes=1), timedelta())
    assert [d.pattern for d in found.domains] == ["api.example.com", "*.example.org"]
    assert found.domains[0].pins == found.pin_sets["api"]
    assert found.pin_sets["api"].pins == (Pin(b"\1" * 32),)
    assert found.delivery.urls == ("https://pins.example.com",)
    assert found.delivery.pins.pins == (Pin(b"\2" * 32),)
    assert (found.delivery.ca, found.delivery.recovery_urls) == (None, ())


def test_what_is_not_said_has_the_safe_default(account: Account) -> None:
    found = parse(account.config_members(refresh_interval=..., stale_grace=...))
    assert found.refresh_interval == timedelta(seconds=300)
    assert found.stale_grace == timedelta(days=7)
    domain = found.domains[0]
    assert (domain.mode, domain.token, domain.stale) == (Mode.ENFORCE, False, Stale.ENFORCE)


def test_a_config_without_a_ca_survives_its_payload(account: Account) -> None:
    found = parse(account.config_members())
    assert Config.parse(found.payload()) == found
    assert "ca" not in json.loads(found.payload())["delivery"]


def test_a_config_survives_its_payload(account: Account) -> None:
    members = with_delivery(
        account, ca=PEM, recovery_urls=["http://recovery.example.net:8080/a"]
    ) | {
        "pin_sets": {
            "api": [account.pin(1) | {"not_before": 0, "not_after": 10}, {"sha512": "x"}],
            "other": [account.pin(3), {"not_after": 5}],
        },
        "domains": [
            {"pattern": "api.example.com", "pin_set": "api", "mode": "report", "token": True},
            {"pattern": "*.example.org", "pin_set": "other", "mode": "off", "stale": "refuse"},
            {"pattern": "192.0.2.1", "pin_set": "other"},
            {"pattern": "2001:db8::1", "pin_set": "other"},
        ],
    }
    found = parse(members)
    assert Config.parse(found.payload()) == found
    assert found.domains[0].token
    assert [d.mode for d in found.domains[:3]] == [Mode.REPORT, Mode.OFF, Mode.ENFORCE]
    assert found.domains[1].stale is Stale.REFUSE
    assert found.delivery.ca == PEM


def test_the_head_of_an_audit_log_is_read_and_survives_its_payload(account: Account) -> None:
    assert parse(account.config_members()).audit is None
    assert "audit" not in json.loads(parse(account.config_members()).payload())
    found = parse(account.config_members(audit=HEAD))
    assert found.audit == bytes(31) + b"\1"
    assert Config.parse(found.payload()) == found
    assert json.loads(found.payload())["audit"] == HEAD


@pytest.mark.parametrize(
    "value",
    ["", HEAD[:-1], HEAD + "A", "A" * 42 + "F", "+" + HEAD[1:], HEAD + "=", "é" + HEAD[1:], 1,
     None, [HEAD]],
)  # fmt: skip
def test_what_is_no_head_is_refused(account: Account, value: Any) -> None:
    assert "config.audit: expected " in refused(account.config_members(audit=value))


@pytest.mark.parametrize(
    "member",
    ["account", "stream", "root_version", "version", "issued", "expires", "delivery"],
)
def test_a_missing_member_is_refused(account: Account, member: str) -> None:
    refused(account.config_members(**{member: ...}))


def test_a_config_without_domains_is_one(account: Account) -> None:
    found = parse(account.config_members(domains=..., pin_sets=...))
    assert (found.domains, found.pin_sets) == ((), {})
    assert found.lookup("api.example.com") is None


@pytest.mark.parametrize(
    ("member", "value", "taken"),
    [
        ("refresh_interval", 1, True),
        ("refresh_interval", 7 * 24 * 3600, True),
        ("refresh_interval", 0, False),
        ("refresh_interval", 7 * 24 * 3600 + 1, False),
        ("refresh_interval", 1.5, False),
        ("refresh_interval", None, False),
        ("stale_grace", 0, True),
        ("stale_grace", 365 * 24 * 3600, True),
        ("stale_grace", -1, False),
        ("stale_grace", 365 * 24 * 3600 + 1, False),
        ("version", 2**53 - 1, True),
        ("version", 2**53, False),
        ("version", 0, False),
        ("root_version", 0, False),
        ("root_version", "1", False),
        ("stream", "canary-1", True),
        ("stream", "Main", False),
        ("stream", "../main", False),
        ("account", "", False),
        ("domains", {}, False),
        ("domains", None, False),
        ("domains", ["api.example.com"], False),
        ("pin_sets", [], False),
        ("pin_sets", None, False),
        ("delivery", [], False),
        ("issued", -1, False),
        ("expires", 253402300800, False),
    ],
)
def test_every_member_has_its_type_and_its_limits(
    account: Account, member: str, value: Any, taken: bool
) -> None:
    members = account.config_members(**{member: value})
    if taken:
        assert parse(members)
    else:
        refused(members)


def test_the_root_that_a_config_names_is_read_before_it_is_trusted(account: Account) -> None:
    def named(**members: Any) -> int:
        return Config.root_named(json.dumps(account.config_members(**members)).encode())

    assert named(root_version=7) == 7
    assert named(root_version=7, domains="rubbish") == 7
    for wrong in (0, "1", 2**53, ..., None):
        with pytest.raises(VerificationError, match="root_version"):
            named(root_version=wrong)
    with pytest.raises(VerificationError):
        named(critical=["x"])
    with pytest.raises(VerificationError):
        Config.root_named(b"\xff")


# -- pins --------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [[], None, {}, "sha256/AAAA"])
def test_a_pin_set_is_never_empty(account: Account, listed: Any) -> None:
    assert "pin_sets.api" in refused(account.config_members(pin_sets={"api": listed}))


def test_a_pin_of_an_unknown_algorithm_is_kept_and_never_matches(account: Account) -> None:
    found = parse(with_pins(account, {"sha512": "x"}, {"not_after": 1}, {}))
    pins = found.pin_sets["api"]
    assert [p.sha256 for p in pins.pins] == [None, None, None]
    assert pins.match([b"", b"\0" * 32], now=account.now) is None


def test_a_pin_has_limits_in_time(account: Account) -> None:
    limited = account.pin() | {"not_before": account.at(), "not_after": account.at(days=1)}
    (pin,) = parse(with_pins(account, limited)).pin_sets["api"].pins
    assert pin == Pin(b"\1" * 32, account.now, account.now + timedelta(days=1))


@pytest.mark.parametrize(
    "pin",
    [
        None,
        "sha256/AAAA",
        [],
        {"sha256": None},
        {"sha256": 1},
        {"sha256": "AAAA"},
        {"sha256": ""},
        {"sha256": "sha256/" + "A" * 43 + "="},
        {"sha256": "A" * 44},
        {"sha256": "A" * 42 + "B="},
        {"sha256": "\ud800"},
        {"sha256": "A" * 43 + "=", "not_before": None},
        {"sha256": "A" * 43 + "=", "not_after": -1},
        {"sha256": "A" * 43 + "=", "critical": ["key_usage"]},
        {"sha256": "AAAA", "not_after": 1},
    ],
)
def test_a_malformed_pin_is_refused_not_passed_over(account: Account, pin: Any) -> None:
    refused(with_pins(account, account.pin(), pin))
    refused(with_delivery(account, pins=[pin]))


def test_a_pin_set_is_shared_by_the_domains_that_name_it(account: Account) -> None:
    found = parse(account.config_members())
    assert found.domains[0].pins is found.domains[1].pins


# -- domains -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "value", "expected"),
    [
        ("mode", "enforce", Mode.ENFORCE),
        ("mode", "report", Mode.REPORT),
        ("mode", "off", Mode.OFF),
        ("mode", ..., Mode.ENFORCE),
        ("mode", "", Mode.ENFORCE),
        ("mode", "OFF", Mode.ENFORCE),
        ("mode", "off ", Mode.ENFORCE),
        ("mode", "monitor-of-the-future", Mode.ENFORCE),
        ("stale", "refuse", Stale.REFUSE),
        ("stale", "enforce", Stale.ENFORCE),
        ("stale", "ignore", Stale.ENFORCE),
        ("token", True, True),
        ("token", False, False),
    ],
)
def test_how_a_domain_is_protected(
    account: Account, member: str, value: Any, expected: object
) -> None:
    (domain,) = parse(with_domain(account, **{member: value})).domains
    assert getattr(domain, member) == expected


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("mode", None),
        ("mode", False),
        ("mode", ["off"]),
        ("stale", None),
        ("stale", 0),
        ("token", None),
        ("token", "false"),
        ("token", 0),
        ("pin_set", ...),
        ("pin_set", None),
        ("pin_set", "other"),
        ("pin_set", "x" * 1000),
        ("pattern", ...),
        ("pattern", 1),
        ("pattern", ""),
        ("pattern", "*"),
        ("pattern", "*.com"),
        ("pattern", "https://api.example.com"),
        ("pattern", "API.example.com"),
        ("pattern", "api.example.com."),
        ("pattern", "bücher.example"),
        ("pattern", "*.Example.com"),
        ("pattern", "[::1]"),
        ("pattern", "2001:DB8::1"),
        ("pattern", "::ffff:192.0.2.1"),
        ("critical", ["ports"]),
    ],
)
def test_a_domain_that_could_mean_something_else_is_refused(
    account: Account, member: str, value: Any
) -> None:
    assert len(refused(with_domain(account, **{member: value}))) < 500


def test_a_pattern_stands_once(account: Account) -> None:
    twice = {"pattern": "api.example.com", "pin_set": "api"}
    members = account.config_members(domains=[twice, twice | {"mode": "off"}])
    assert "each pattern once" in refused(members)


LOOKUPS = ["api.example.com", "*.example.com", "*.b.example.com", "192.0.2.1"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("api.example.com", "api.example.com"),
        ("other.example.com", "*.example.com"),
        ("a.api.example.com", "*.example.com"),
        ("b.example.com", "*.example.com"),
        ("a.b.example.com", "*.b.example.com"),
        ("x.a.b.example.com", "*.b.example.com"),
        ("example.com", None),
        ("badexample.com", None),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", None),
        ("localhost", None),
    ],
)
def test_the_longest_pattern_wins_whole(account: Account, host: str, expected: str | None) -> None:
    domains = [{"pattern": p, "pin_set": "api"} for p in LOOKUPS]
    found = parse(account.config_members(domains=domains)).lookup(host)
    assert (found.pattern if found else None) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("api.example.com", True),
        ("any.example.com", True),
        ("a.example.com", True),
        ("example.com", False),
        ("*.example.com", True),
        ("*.any.example.com", True),
        ("*.c.b.example.com", True),
        ("*.api.example.com", True),
        ("*.com.example", False),
        ("*.xexample.com", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("other.example", False),
        ("*.other.example", False),
    ],
)
def test_whether_a_config_lists_every_host_of_a_pattern(
    account: Account, pattern: str, expected: bool
) -> None:
    domains = [{"pattern": p, "pin_set": "api"} for p in LOOKUPS]
    assert parse(account.config_members(domains=domains)).covers(pattern) is expected


def test_a_host_alone_does_not_cover_a_wildcard_over_it(account: Account) -> None:
    assert not parse(with_domain(account)).covers("*.example.com")
    assert not parse(with_domain(account)).covers("*.api.example.com")


# -- delivery ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://pins.example.com", "pins.example.com"),
        ("https://pins.example.com/", "pins.example.com"),
        ("https://pins.example.com:8443/a/b-c~d", "pins.example.com"),
        ("https://PINS.example.com.", "pins.example.com"),
        ("https://bücher.example/x", "xn--bcher-kva.example"),
        ("https://192.0.2.1:1", "192.0.2.1"),
        ("https://[2001:DB8::1]:65535/x", "2001:db8::1"),
        ("https://localhost", "localhost"),
    ],
)
def test_a_base_url_has_a_host(url: str, host: str) -> None:
    assert check_url(url, schemes=("https",)) == host
    plain = url.replace("https", "http", 1)
    assert check_url(plain, schemes=("https", "http")) == host
    with pytest.raises(MalformedError):
        check_url(plain, schemes=("https",))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pins.example.com",
        "//pins.example.com",
        "HTTPS://pins.example.com",
        "ftp://pins.example.com",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://:443",
        "https://user@pins.example.com",
        "https://user:pass@pins.example.com/",
        "https://pins.example.com?x=1",
        "https://pins.example.com/?x=1",
        "https://pins.example.com/#x",
        "https://pins.example.com/a b",
        "https://pins.example.com/\r\nHost: evil",
        "https://pins.example.com\n",
        "https://pins.example.com/\u00e4",
        "https://pins.example.com:0",
        "https://pins.example.com:65536",
        "https://pins.example.com:",
        "https://pins.example.com:+1",
        "https://pins.example.com:123456",
        "https://pins.example.com\\@evil.example",
        "https://*.example.com",
        "https://pins..example.com",
        "https://[::1",
        "https://[fe80::1%eth0]",
        "https://[pins.example.com]",
        "https://2001:db8::1",
        "https://127.1",
        "https://faß.example",
        "https://pins.example.com/" + "a" * 2048,
    ],
)
def test_what_is_no_base_url_is_refused(account: Account, url: str) -> None:
    with pytest.raises(MalformedError):
        check_url(url, schemes=("https", "http"))
    assert "delivery.urls" in refused(with_delivery(account, urls=[url]))
    assert "delivery.recovery_urls" in refused(with_delivery(account, recovery_urls=[url]))


@given(st.text(max_size=60) | st.text(alphabet="htps:/.@[]?#\\%a1\u00e4 \n", max_size=30))
def test_any_text_is_a_base_url_or_is_refused(text: str) -> None:
    for url in (text, "https://" + text, "https://a.example" + text):
        try:
            found = check_url(url, schemes=("https",))
        except MalformedError:
            continue
        assert normalise(found) == found


def test_only_recovery_may_go_without_tls(account: Account) -> None:
    assert "delivery.urls" in refused(with_delivery(account, urls=["http://pins.example.com"]))
    found = parse(with_delivery(account, recovery_urls=["http://a.example", "https://b.example"]))
    assert found.delivery.recovery_urls == ("http://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("member", "value", "taken"),
    [
        ("urls", ["https://a.example"] * 16, True),
        ("urls", ["https://a.example"] * 17, False),
        ("urls", [], False),
        ("urls", ..., False),
        ("urls", "https://a.example", False),
        ("urls", [1], False),
        ("recovery_urls", [], True),
        ("recovery_urls", ["http://a.example"] * 17, False),
        ("recovery_urls", None, False),
        ("pins", [], False),
        ("pins", ..., False),
        ("pins", None, False),
        ("ca", PEM, True),
        ("ca", ..., True),
        ("ca", None, False),
        ("ca", "", False),
        ("ca", "no PEM", False),
        ("ca", PEM[:-40], False),
        ("ca", 1, False),
        ("future", 1, True),
        ("critical", ["future"], False),
        ("critical", ["ca"], True),
    ],
)
def test_delivery_has_urls_and_pins(account: Account, member: str, value: Any, taken: bool) -> None:
    members = with_delivery(account, **{member: value})
    if taken:
        assert parse(members)
    else:
        refused(members)


# -- anything ----------------------------------------------------------------------------------


@given(data=st.data())
def test_a_mangled_config_is_a_config_or_is_refused(
    data: st.DataObject, account: Account, mangled, damaged
) -> None:
    members = with_delivery(account, ca=PEM, recovery_urls=["http://a.example"])
    text = json.dumps(members).encode()
    changed = mangled(members).map(lambda each: json.dumps(each).encode())
    payload = data.draw(changed | damaged(text))
    rule = None
    try:
        found = Config.parse(payload)
    except VerificationError as exc:
        rule = exc.rule
    else:
        assert Config.parse(found.payload()) == found
        assert all(len(domain.pins) for domain in found.domains)
    assert rule in (None, 1, 4)


@given(st.binary())
def test_any_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(VerificationError):
        Config.parse(payload)
