"""From an observation and the published pins to a verdict."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from livepin_server.probing.judge import judge
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
    """Published pins."""
    return [{"sha256": each, "backup": each in backup} for each in digests]


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


@pytest.mark.parametrize(
    ("mode", "passes", "does"),
    [("enforce", False, "are refused"), ("report", True, "report"), ("off", True, "report")],
)
def test_without_a_match_the_mode_decides(mode: str, passes: bool, does: str) -> None:
    found = judge(SEEN, pins("sha256/old"), mode=mode)
    assert (found["passes"], found["matched"]) == (passes, None)
    assert found["summary"] == f"no pin matches; apps {does}"
    assert "served: sha256/leaf, sha256/ca" in found["notes"]
    assert "pinned: sha256/old" in found["notes"]
    command = "to let apps in: livepin pin add api.example.com sha256/leaf"
    assert (command in found["notes"]) == (mode == "enforce")
