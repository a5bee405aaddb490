"""Evidence of measured files: which release they are, and what is none."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from livepin.evidence.measurements import Measurements, measure
from livepin.jose import PrivateKey
from livepin_server.attestation.attested import Asked, Attested, EvidenceError
from livepin_server.attestation.measured import verify

DIGEST = "A" * 43
GOOD = {"format": "measurements", "digest": DIGEST, "files": 3}


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked(
        account="acme",
        app="com.example.shop",
        key=PrivateKey.generate().public,
        nonce=bytes(32),
        key_nonce=bytes(32),
        now=datetime(2026, 11, 26, tzinfo=timezone.utc),
    )


def test_the_files_of_a_release_are_told_by_what_was_measured_of_it(
    asked: Asked, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text("print()\n")
    releases = {measure(tmp_path).digest: "1.4"}
    evidence = Measurements(tmp_path).collect(asked.nonce)
    expected = Attested(format="measurements", level="self", said={"release": "1.4"})
    assert verify(evidence, asked, releases) == expected


def test_a_changed_file_is_of_no_registered_release(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("print()\n")
    releases = {measure(tmp_path).digest: "1.4"}
    (tmp_path / "shop.py").write_text("print('tampered')\n")
    evidence = Measurements(tmp_path).collect(asked.nonce)
    with pytest.raises(EvidenceError) as refused:
        verify(evidence, asked, releases)
    assert refused.value.check == "unregistered"
    assert str(refused.value) == (
        "unregistered: expected the files of a registered release of com.example.shop, found "
        f"{evidence['digest']} of 1 files"
    )


def test_what_comes_beside_is_for_later_versions(asked: Asked) -> None:
    assert verify({**GOOD, "more": 1}, asked, {DIGEST: "1.4"}).said == {"release": "1.4"}


@pytest.mark.parametrize(
    "change",
    [
        {"digest": None},
        {"digest": DIGEST[1:]},
        {"digest": DIGEST + "\n"},
        {"digest": DIGEST + "="},
        {"digest": "A" * 42 + "B"},  # bits left over
        {"digest": "+" + DIGEST[1:]},
        {"files": 0},
        {"files": 100_001},
        {"files": "3"},
        {"files": True},
        {"files": 10**30},
        {"format": "signals"},
    ],
)
def test_what_is_malformed_is_refused(asked: Asked, change: dict[str, Any]) -> None:
    evidence = {**GOOD, **change}
    with pytest.raises(EvidenceError) as refused:
        verify(evidence, asked, {str(evidence["digest"]): "1.4"})
    assert refused.value.check == "malformed"


@pytest.mark.parametrize("name", GOOD)
def test_a_member_that_is_missing_is_refused(asked: Asked, name: str) -> None:
    evidence = {each: value for each, value in GOOD.items() if each != name}
    with pytest.raises(EvidenceError, match="malformed"):
        verify(evidence, asked, {DIGEST: "1.4"})
