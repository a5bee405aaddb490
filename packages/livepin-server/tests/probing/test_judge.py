"""From an observation and the published pins to a verdict."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from livepin_server.probing.judge import judge, judge_delivery
from livepin_server.probing.probe import CertificateSeen, Observation


def certificate(name: str, pin: str) -> CertificateSeen:
    """A certificate of a chain."""
    return CertificateSeen(
        subject=f"CN={name}", issuer="CN=CA", names=[name], key_type="EC secp256r1", sha256=pin,
        not_before=datetime(2026, 1, 1, tzinfo=timezone.utc),
        not_after=datetime(2026, 7, 1, tzinfo=timezone.utc),
    )  # fmt: skip


SEEN = Observation(
    host="api.example.com", port=443, verified=True,
    chain=[certificate("api.example.com", "sha256/leaf"), certificate("CA", "sha256/ca")],
)  # fmt: skip


def pins(*digests: str, backup: tuple[str, ...] = ()) -> list[dict[str, object]]:
    """Published pins of leaves."""
    return [{"sha256": each, "backup": each in backup, "level": "leaf"} for each in digests]


@pytest.mark.parametrize(("pinned", "subject"), [("leaf", "api.example.com"), ("ca", "CA")])
def test_a_pin_of_any_certificate_of_the_chain_lets_apps_in(pinned: str, subject: str) -> None:
    digest = f"sha256/{pinned}"
    found = judge(SEEN, pins("sha256/other", digest, backup=("sha256/other",)), mode="enforce")
    assert (found["passes"], found["matched"]) == (True, digest)
    assert found["summary"] == f"the pin {digest} matches CN={subject}"
    assert found["notes"] == ["certificate of CN=api.example.com until 2026-07-01, EC secp256r1"]


def test_the_leaf_counts_before_its_issuer() -> None:
    found = judge(SEEN, pins("sha256/ca", "sha256/leaf"), mode="enforce")
    assert found["matched"] == "sha256/leaf"


@pytest.mark.parametrize(
    "published", [pins("sha256/leaf"), pins("sha256/leaf", backup=("sha256/leaf",)),
                  pins("sha256/leaf", "sha256/other")]
)  # fmt: skip
def test_a_missing_backup_pin_is_noted(published) -> None:
    notes = judge(SEEN, published, mode="enforce")["notes"]
    assert "there is no backup pin besides the one in use" in notes


def test_of_managed_roots_each_other_one_is_a_way_on() -> None:
    roots = [each | {"level": "root"} for each in pins("sha256/ca", "sha256/other")]
    found = judge(SEEN, roots, mode="enforce")
    assert found["matched"] == "sha256/ca"
    assert len(found["notes"]) == 1


@pytest.mark.parametrize(
    ("mode", "passes", "mismatch", "does", "cure"),
    [
        ("enforce", False, True, "apps are refused", "to let apps in"),
        ("report", True, True, "apps connect all the same, and report it", "before it is enforced"),
        ("off", True, False, "apps connect, for pinning is off", None),
    ],
)
def test_without_a_match_the_mode_decides(mode, passes, mismatch, does, cure) -> None:
    found = judge(SEEN, pins("sha256/old"), mode=mode)
    assert (found["passes"], found["mismatch"], found["matched"]) == (passes, mismatch, None)
    assert found["summary"] == f"no pin matches; {does}"
    assert found["notes"][1:3] == ["served: sha256/leaf, sha256/ca", "pinned: sha256/old"]
    command = f"{cure}: livepin pin add api.example.com sha256/leaf"
    assert found["notes"][3:] == ([] if cure is None else [command])


def test_a_hundred_pins_are_counted_not_listed() -> None:
    found = judge(SEEN, pins(*(f"sha256/{n}" for n in range(100))), mode="enforce")
    assert "pinned: 100 keys" in found["notes"]


# -- delivery -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pin", ["sha256/leaf", "sha256/ca"])
def test_apps_fetch_where_a_key_of_the_verified_chain_is_pinned(pin: str) -> None:
    found = judge_delivery(SEEN, {"sha256/other", pin})
    assert (found.answers, found.passes) == (True, True)


def test_a_key_that_no_delivery_pin_matches_is_named() -> None:
    found = judge_delivery(SEEN, ["sha256/other"])
    assert (found.answers, found.passes) == (True, False)
    assert found.summary == "none of the delivery pins matches its key, sha256/leaf"


def test_a_pinned_key_in_a_chain_that_was_only_presented_lets_nobody_fetch() -> None:
    seen = Observation(host="pins.example.com", port=443, error="expired", presented=SEEN.chain)
    found = judge_delivery(seen, ["sha256/leaf"])
    assert (found.answers, found.passes, found.summary) == (True, False, "expired")
    silent = judge_delivery(Observation(host="pins.example.com", port=443), ["sha256/leaf"])
    assert (silent.answers, silent.summary) == (False, "no chain was verified")
