"""The token of a workload: read anew each time, and bounded."""

from __future__ import annotations

from pathlib import Path

import pytest
from livepin.evidence import WorkloadToken

NONCE = bytes(32)


def test_it_is_read_anew_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    found = WorkloadToken(file)
    for token in ("a.b.c", "d.e.f"):
        file.write_text(f"{token}\n")
        assert found.collect(NONCE) == {"format": "workload-jwt", "token": token}


def test_an_empty_file_is_no_evidence(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    assert WorkloadToken(tmp_path / "token").collect(NONCE) is None


@pytest.mark.parametrize("content", [b"not a token", b"a.b." + b"c" * 20_000, b"\xff.b.c"])
def test_what_is_no_token_is_not_sent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ValueError, match=r"expected a JWT|ascii") as caught:
        WorkloadToken(tmp_path / "token").collect(NONCE)
    assert str(tmp_path) not in str(caught.value)


def test_a_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        WorkloadToken(tmp_path / "token").collect(NONCE)
