"""livepin app measure: a digest of a release, and its manifest, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from livepin.evidence import measurements
from livepin.evidence.manifest import MAX_TEXT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "shop.py").write_text("print()\n")
    return folder


def test_a_folder_is_measured_for_people_and_programs(run, folder: Path) -> None:
    digest = measurements.measure(folder).digest
    done = run("app", "measure", str(folder))
    assert (done.code, done.err) == (0, "")
    assert [each.split() for each in done.out.splitlines()] == [
        ["digest", "files", "bytes"],
        [digest, "1", "8"],
    ]
    found = run("app", "measure", str(folder), "--json").json
    assert found == {"digest": digest, "files": 1, "size": 8}


def test_a_manifest_is_written_over_nothing_but_another(run, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "shop.manifest"
    for content in ("print()\n", "print(2)\n"):
        (folder / "shop.py").write_text(content)
        assert run("app", "measure", str(folder), "--manifest", str(path)).code == 0
        assert path.read_text() == measurements.measure(folder).text


@pytest.mark.parametrize("content", [b"precious\n", b"\xff", b"x" * (MAX_TEXT + 1)])
def test_another_file_is_left_alone(run, folder: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious"
    path.write_bytes(content)
    done = run("app", "measure", str(folder), "--manifest", str(path))
    assert done.code == 2
    assert f"{path} exists, and is no manifest" in done.err
    assert path.read_bytes() == content


def test_a_manifest_in_the_folder_itself_would_change_it(run, folder: Path) -> None:
    done = run("app", "measure", str(folder), "--manifest", str(folder / "manifest"))
    assert done.code == 2
    assert done.err == (
        f"error: {folder}/manifest would be a file of the release itself\n"
        f"hint:  write it outside of {folder}\n"
    )
    assert not (folder / "manifest").exists()


def test_what_cannot_be_measured_is_said_in_words(run, folder: Path, tmp_path: Path) -> None:
    done = run("app", "measure", str(tmp_path / "none"))
    assert (done.code, done.err) == (
        2,
        f"error: cannot read {tmp_path}/none: No such file or directory\n",
    )
    (tmp_path / "no.whl").write_text("no archive")
    done = run("app", "measure", str(tmp_path / "no.whl"))
    assert (done.code, done.err) == (2, "error: no.whl is no wheel: File is not a zip file\n")
