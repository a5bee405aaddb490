"""What goes wrong before pins count: nothing answers, or what answers is not trusted."""

from __future__ import annotations

import pytest
from livepin_server.services.monitoring.judging import Place
from livepin_server.services.monitoring.model import Held
from minted_sights import (
    API,
    DAY,
    HERE,
    NOW,
    V6,
    certificate,
    chain,
    following,
    found,
    held,
    refused,
    sight,
    silent,
    text,
)


def one(*arguments, **members):
    """The only finding."""
    (finding,) = found(*arguments, **members)
    return finding


# -- unreachable -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("no_address", f"{API} has no address"),
        ("no_name_server", f"no name server tells the address of {API}"),
        ("refused", f"{API} refuses connections"),
        ("reset", f"{API} closes connections before the handshake ends"),
        ("timeout", f"{API} does not answer in time"),
        ("network", f"there is no way to {API}"),
        ("tls", f"{API} does not speak TLS as expected"),
        ("no_certificate", f"{API} has no certificate for any client"),
        (None, f"{API} does not answer"),
    ],
)
def test_each_failure_is_said_in_words_and_says_nothing_about_pins(failure, words) -> None:
    finding = one(silent(failure), following("leaf"))
    assert (finding.kind, finding.code) == (
        "unreachable", "silent" if failure is None else failure.replace("_", "-"),
    )  # fmt: skip
    assert finding.sentence.startswith(f"{words}, which says nothing about pins: apps that follow")
    assert finding.severity == ("warning" if failure == "no_name_server" else "critical")
    assert finding.command == f"livepin monitor run {API}"
    assert finding.fingerprints == []


def test_a_name_without_an_address_is_judged_by_the_failure_of_the_whole() -> None:
    seen = Held(failure="no_address", error="api.example.com does not resolve", since=NOW)
    finding = one(seen, following("leaf"))
    assert finding.sentence.endswith("either (api.example.com does not resolve)")
    assert finding.addresses == []


def test_another_port_is_named() -> None:
    place = Place(host=API, port=8443, vantage="here", endpoint=1)
    assert f"{API}:8443 refuses" in one(silent("refused"), following("a"), place=place).sentence
    place = Place(host=V6, port=8443, vantage="here", endpoint=1)
    assert f"[{V6}]:8443" in one(silent("refused"), following("a"), place=place).sentence


def test_one_address_of_several_is_a_warning() -> None:
    seen = held(sight(chain("leaf")), silent("timeout", "192.0.2.8"))
    finding = one(seen, following("leaf"))
    assert (finding.severity, finding.addresses) == ("warning", ["192.0.2.8"])
    assert f"{API} at 192.0.2.8 does not answer in time" in finding.sentence
    assert "it answers at other addresses" in finding.sentence


def test_the_key_is_the_same_when_the_last_address_falls_silent() -> None:
    some = held(sight(chain("leaf")), silent("timeout", "192.0.2.8"))
    every = held(silent("timeout"), silent("timeout", "192.0.2.8"))
    by = following("leaf")
    assert one(some, by).key == one(every, by).key == f"unreachable:main:{API}"


@pytest.mark.parametrize("failure", ["no_certificate", "reset", "tls", "timeout"])
def test_a_server_without_one_kind_of_certificate_is_all_right(failure) -> None:
    seen = held(sight(chain("leaf")), silent(failure, algorithm="rsa"))
    assert found(seen, following("leaf")) == []


def test_of_two_failures_at_an_address_the_one_that_is_none_of_a_kind_is_said() -> None:
    seen = held(silent("no_certificate"), silent("timeout", algorithm="rsa"))
    assert one(seen, following("leaf")).code == "timeout"


def test_a_vantage_without_ipv6_is_told_of_once_and_not_as_a_fault() -> None:
    seen = held(sight(chain("leaf")), silent("network", V6))
    finding = one(seen, following("leaf"))
    assert (finding.code, finding.severity) == ("no-ipv6", "info")
    assert finding.cause == "unreachable:here:ipv6"
    assert "from here there is no way by IPv6" in finding.sentence


@pytest.mark.parametrize(
    "seen",
    [
        held(sight(chain("leaf"), V6), silent("network", "2001:db8::8")),
        held(sight(chain("leaf")), silent("timeout", V6)),
        held(sight(chain("leaf")), silent("network", "192.0.2.8")),
        held(sight(chain("leaf")), silent("network", "somewhere")),
    ],
)
def test_other_silence_beside_an_answer_is_no_lack_of_ipv6(seen) -> None:
    assert one(seen, following("leaf")).code != "no-ipv6"


def test_a_place_without_an_address_is_said_to_have_none() -> None:
    seen = held(sight(chain("leaf")), silent("timeout", ""))
    assert f"{API} at no address does not answer" in one(seen, following("leaf")).sentence


# -- untrusted -------------------------------------------------------------------------------------

OLD = certificate("leaf", left=-1)
CASES = [
    ([OLD], "certificate has expired", "expired", "for it expired at 2026-11-22 12:00 UTC"),
    (
        [certificate("leaf"), certificate("ca", left=-2)],
        "certificate has expired",
        "expired",
        "for that of an issuer, CN=ca, expired at 2026-11-21 12:00 UTC",
    ),
    ([certificate("leaf")], "certificate has expired", "expired", "certificate has expired"),
    (
        [certificate("leaf", age=-1)],
        "certificate is not yet valid",
        "not-yet-valid",
        "for it counts from 2026-11-24 12:00 UTC on",
    ),
    (
        [certificate("leaf")],
        "Hostname mismatch, certificate is not valid for 'expired.example.com'.",
        "name-mismatch",
        f"for it is made for {API}",
    ),
    (
        [certificate("leaf")],
        "IP address mismatch, certificate is not valid for '192.0.2.1'.",
        "name-mismatch",
        f"for it is made for {API}",
    ),
    ([certificate("x", by="x")], "self-signed certificate", "self-signed", "signed by itself"),
    (
        [certificate("leaf")],
        "unable to get local issuer certificate",
        "incomplete-chain",
        "for it is sent without that of its issuer, CN=ca",
    ),
    (
        [certificate("leaf"), certificate("ca")],
        "self-signed certificate in certificate chain",
        "unknown-issuer",
        "for no root is known to it (self-signed certificate in certificate chain)",
    ),
    (
        [certificate("leaf")],
        "unable to verify the first certificate",
        "incomplete-chain",
        "without that of its issuer",
    ),
    ([certificate("leaf")], "certificate revoked", "revoked", "for it is revoked"),
    ([certificate("leaf")], "EE certificate key too weak", "not-verified", "key too weak"),
]


@pytest.mark.parametrize(("presented", "said", "code", "words"), CASES)
def test_each_reason_is_said_in_words(presented, said, code, words) -> None:
    finding = one(refused(presented, said), following("old"))
    assert (finding.kind, finding.code, finding.severity) == ("untrusted", code, "critical")
    assert words in finding.sentence
    assert "apps that follow main are refused, whatever is pinned" in finding.sentence
    assert finding.command == f"livepin domain check {API}"
    assert finding.fingerprints == [presented[0].sha256]


@pytest.mark.parametrize("mode", ["report", "off"])
def test_what_tls_refuses_is_critical_in_every_mode(mode) -> None:
    assert one(refused([OLD], "certificate has expired"), following("a", mode=mode)).severity == (
        "critical"
    )


def test_the_name_of_a_host_is_no_reason() -> None:
    error = "the certificate is not valid for expired.example.com by the given CA: unable to x"
    finding = one(sight(failure="untrusted", error=error), following("a"))
    assert (finding.code, finding.fingerprints) == ("not-verified", [])


def test_a_chain_that_could_not_be_read_is_untrusted_all_the_same() -> None:
    finding = one(sight(failure="untrusted"), following("a"))
    assert "for no reason that was told" in finding.sentence
    assert finding.cause == f"untrusted:not-verified:{API}"


def test_names_that_a_certificate_does_not_have_are_none() -> None:
    nobody = certificate("leaf")
    nobody.names.clear()
    finding = one(refused([nobody], "Hostname mismatch"), following("a"))
    assert "for it is made for no name" in finding.sentence


def test_some_addresses_are_named_where_others_are_trusted() -> None:
    seen = held(sight(chain("leaf")), refused([OLD], "certificate has expired", V6))
    finding = one(seen, following("leaf"))
    assert f"the certificate of {API} at {V6} is not trusted" in finding.sentence
    assert "apps that follow main and get there are refused" in finding.sentence
    assert finding.addresses == [V6]


def test_one_kind_of_certificate_is_named_where_the_other_is_trusted() -> None:
    bad = refused([OLD], "certificate has expired", algorithm="rsa")
    finding = one(held(sight(chain("leaf")), bad), following("leaf"))
    assert f"the RSA certificate of {API} is not trusted" in finding.sentence
    assert "and prefer RSA are refused" in finding.sentence


def test_untrusted_beside_silence_are_two_findings() -> None:
    seen = held(refused([OLD], "certificate has expired"), silent("timeout", "192.0.2.8"))
    kinds = [each.kind for each in found(seen, following("leaf"))]
    assert kinds == ["unreachable", "untrusted"]


def test_what_is_presented_is_shown_and_where() -> None:
    finding = one(refused([OLD], "certificate has expired", HERE), following("a"), now=NOW + DAY)
    assert (finding.addresses, finding.fingerprints) == ([HERE], [text("leaf")])
