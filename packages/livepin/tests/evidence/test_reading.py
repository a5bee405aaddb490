"""What stands in a file, and what is no file."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from livepin.errors import MalformedError
from livepin.evidence import reading
from livepin.evidence.manifest import MAX_SIZE, File
from livepin.evidence.reading import read


@pytest.mark.parametrize("content", [b"", b"a\r\nb\x1a", os.urandom(600_000)])
def test_a_file_is_its_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert read(tmp_path / "a") == File(hashlib.sha256(content).hexdigest(), len(content))


def test_a_pipe_holds_nobody_and_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MalformedError, match="expected a regular file"):
        read(tmp_path / "pipe")


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_what_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(MalformedError, match="expected a regular file"):
        read(Path(path))


def test_a_file_that_takes_too_long_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(MAX_SIZE + 1)
    began = time.process_time()
    with pytest.raises(MalformedError, match=f"at most {MAX_SIZE} bytes in all"):
        read(tmp_path / "sparse")
    assert time.process_time() - began < 0.5


def test_a_file_that_grows_while_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_SIZE", 10**6)
    with open("/dev/zero", "rb", buffering=0) as endless:  # noqa: PTH123
        with pytest.raises(MalformedError, match="bytes in all"):
            reading.content(endless)
