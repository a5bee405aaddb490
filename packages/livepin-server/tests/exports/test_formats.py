"""Exports: what each format says, as its own readers read it, and what each declines."""

from __future__ import annotations

import json
import plistlib
import re
import xml.etree.ElementTree as ET

import pytest
import yaml
from livepin_server.exports.formats import FORMATS, DeclinedError, Entry, ExportPin, export

A, B, C = ("A" * 43 + "=", "B" * 42 + "A=", "C" * 42 + "A=")


def entry(pattern: str = "api.example.com", *hashes: str, **members) -> Entry:
    level = members.pop("level", "leaf")
    pins = tuple(ExportPin(sha256=each, level=level) for each in hashes or (A, B))
    return Entry(pattern=pattern, **{"mode": "enforce", "pins": pins, **members})


def mixed() -> Entry:
    pins = (ExportPin(sha256=A, level="leaf"), ExportPin(sha256=B, level="root"))
    return entry(pins=pins)


# -- what they say -------------------------------------------------------------------------------


def android(*entries: Entry) -> dict[tuple[str, bool], list[str]]:
    """Read the file as Android does: its names, strictly; a domain only once."""
    root = ET.fromstring(export("android", entries).text.encode())
    assert root.tag == "network-security-config"
    found = {}
    for each in root:
        assert (each.tag, each.attrib) == ("domain-config", {"cleartextTrafficPermitted": "false"})
        domain, pins = each
        assert (domain.tag, set(domain.attrib)) == ("domain", {"includeSubdomains"})
        assert (pins.tag, pins.attrib) == ("pin-set", {}), "an expiration would end the pinning"
        assert all((pin.tag, pin.attrib) == ("pin", {"digest": "SHA-256"}) for pin in pins)
        name = domain.text, domain.get("includeSubdomains") == "true"
        assert name[0] not in [host for host, _ in found]
        found[name] = [pin.text for pin in pins]
    return found


def test_android_says_hosts_and_pins_and_never_ends() -> None:
    assert android(entry(), entry("b.example.com", C)) == {
        ("api.example.com", False): [A, B],
        ("b.example.com", False): [C],
    }


def test_android_says_a_wildcard_with_its_host() -> None:
    entries = entry("*.example.com"), entry("example.com", B, A), entry("api.example.com", C)
    assert android(*entries) == {
        ("example.com", True): [B, A],
        ("api.example.com", False): [C],
    }


@pytest.mark.parametrize(
    ("level", "name"),
    [
        ("leaf", "NSPinnedLeafIdentities"),
        ("intermediate", "NSPinnedCAIdentities"),
        ("root", "NSPinnedCAIdentities"),
    ],
)
def test_ios_has_one_list_by_the_level_of_the_pins(level, name) -> None:
    found = plistlib.loads(export("ios", [entry(level=level)]).text.encode())
    assert found == {
        "NSAppTransportSecurity": {
            "NSPinnedDomains": {
                "api.example.com": {
                    "NSIncludesSubdomains": False,
                    name: [{"SPKI-SHA256-BASE64": A}, {"SPKI-SHA256-BASE64": B}],
                }
            }
        }
    }


def test_trustkit_says_report_mode_and_wildcards() -> None:
    entries = entry("example.com"), entry("*.example.com"), entry("b.test", mode="report")
    done = export("trustkit", entries)
    assert [each for each in done.notes if "TSKReportUris" in each] == [
        "nobody hears of the mismatches of b.test until you add TSKReportUris"
    ]
    found = plistlib.loads(done.text.encode())["TSKConfiguration"]
    assert found["TSKSwizzleNetworkDelegates"] is True
    assert found["TSKIgnorePinningForUserDefinedTrustAnchors"] is False
    assert found["TSKPinnedDomains"] == {
        name: {
            "TSKIncludeSubdomains": wide,
            "TSKEnforcePinning": enforced,
            "TSKPublicKeyHashes": [A, B],
            "TSKDisableDefaultReportUri": True,
        }
        for name, wide, enforced in [("example.com", True, True), ("b.test", False, False)]
    }


def test_okhttp_is_code_that_names_each_pin() -> None:
    addresses = entry("192.0.2.7", C), entry("2001:db8::5", C)
    text = export("okhttp", [entry("example.com"), entry("*.example.com"), *addresses]).text
    calls = re.findall(r'\.add\("([^"]+)",\s*((?:"sha256/[^"]+",?\s*)+)\)', text)
    assert [(name, re.findall(r"sha256/([^\"]+)", pins)) for name, pins in calls] == [
        ("**.example.com", [A, B]),
        ("192.0.2.7", [C]),
        ("[2001:db8::5]", [C]),
    ]
    assert text.startswith("CertificatePinner pinner = new CertificatePinner.Builder()\n")
    assert text.endswith("\n    .build();")


@pytest.mark.parametrize(
    ("pattern", "kind"), [("api.example.com", "DNS"), ("2001:db8::5", "IP_ADDRESS")]
)
def test_envoy_verifies_chain_and_name_as_well(pattern, kind) -> None:
    found = yaml.safe_load(export("envoy", [entry(pattern)]).text)["transport_socket"]
    config = found["typed_config"]
    assert config.get("sni") == (pattern if kind == "DNS" else None)
    assert config["max_session_keys"] == 0, "a resumed session shows no certificate"
    assert config["common_tls_context"] == {
        "validation_context": {
            "trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"},
            "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": pattern}}],
            "verify_certificate_spki": [A, B],
        }
    }


def test_json_is_hosts_and_base64() -> None:
    found = json.loads(export("json", [entry(), entry("192.0.2.7", C)]).text)
    assert found == {"api.example.com": [A, B], "192.0.2.7": [C]}


def test_curl_speaks_https_alone() -> None:
    assert export("curl", [entry()]).text.splitlines() == [
        'proto = "=https"',
        "# pins of api.example.com",
        f'pinnedpubkey = "sha256//{A};sha256//{B}"',
    ]


@pytest.mark.parametrize("name", ["curl", "envoy"])
def test_where_the_leaf_alone_is_matched_keys_of_cas_are_left_out_and_it_is_said(name) -> None:
    found = export(name, [mixed()])
    assert A in found.text
    assert B not in found.text
    assert any("matches the leaf only" in each for each in found.notes)
    assert any("the pins of CAs are left out" in each for each in found.notes)


@pytest.mark.parametrize("name", FORMATS)
def test_a_domain_that_is_off_is_not_in_it(name) -> None:
    found = export(name, [entry(), entry("off.test", C, mode="off")])
    assert "off.test" not in found.text
    assert C not in found.text


@pytest.mark.parametrize("name", ["android", "ios", "trustkit", "okhttp", "json"])
def test_what_leaves_other_hosts_open_says_so(name) -> None:
    assert any("not pinned" in each for each in export(name, [entry()]).notes)


# -- what they decline ---------------------------------------------------------------------------

TIMED = entry(pins=(ExportPin(sha256=A, level="leaf", timed=True),) * 2)
REPORT, WILD = entry(mode="report"), entry("*.example.com")
LONELY = {
    "android": "together with example.com, which is not pinned alike",
    "trustkit": "together with example.com, which is not pinned alike",
    "okhttp": "together with example.com, which is not pinned alike",
    "ios": "any depth below but not the host",
    "envoy": "any depth below but not the host",
    "json": "any depth below but not the host",
}
DECLINED = [
    *((name, [TIMED], "cannot say when a pin of api.example.com begins") for name in FORMATS),
    *((name, [REPORT], "cannot only report") for name in FORMATS if name != "trustkit"),
    *((name, [WILD], text) for name, text in LONELY.items()),
    *((name, [entry(mode="off")], "no pinned domain") for name in FORMATS),
    *((name, [], "no pinned domain") for name in FORMATS),
    *(
        (
            name,
            [entry("example.com"), WILD, entry("off.example.com", mode="off")],
            "off.example.com is off",
        )
        for name in FORMATS
    ),
    *(
        (name, [entry("example.com", C, A), WILD], "is not pinned alike")
        for name in ("android", "trustkit")
    ),
    (
        "trustkit",
        [entry("example.com", mode="report"), WILD],
        "is not pinned alike",
    ),
    *((name, [entry("192.0.2.7")], "not the address") for name in ("android", "ios", "trustkit")),
    *((name, [entry(level=None)], "needs to know") for name in ("ios", "curl", "envoy")),
    *((name, [entry(level="root")], "matches the leaf only") for name in ("curl", "envoy")),
    *((name, [entry(), entry("b.test")], "several domains") for name in ("curl", "envoy")),
    ("ios", [mixed()], "wants a leaf and a CA to match at once"),
    ("trustkit", [entry("api.example.com", A)], "wants two pins"),
    (
        "okhttp",
        [entry("example.com"), WILD, entry("api.example.com", C)],
        r"would take the pins of \*.example.com for api.example.com",
    ),
    (
        "okhttp",
        [entry("example.com"), WILD, entry("b.example.com", C), entry("*.b.example.com", C)],
        r"would take the pins of \*.example.com for",
    ),
]


@pytest.mark.parametrize(
    ("name", "entries", "match"), DECLINED, ids=[f"{n} {i}" for i, (n, *_) in enumerate(DECLINED)]
)
def test_what_a_format_cannot_say_is_declined(name, entries, match) -> None:
    with pytest.raises(DeclinedError, match=match):
        export(name, entries)
