"""Files as they are read: folders, links, what was changed, and what is no file."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from livepin.errors import ConfigurationError, MalformedError
from livepin.evidence import files
from livepin.evidence.files import Reader, of_distribution


def paths(manifest) -> list[str]:
    return [line.split(" ", 2)[2] for line in manifest.text.splitlines()]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    found = tmp_path / "app"
    (found / "shop" / "__pycache__").mkdir(parents=True)
    (found / "shop" / "__init__.py").write_bytes(b"1")
    (found / "shop" / "__pycache__" / "__init__.cpython-311.pyc").write_bytes(b"compiled")
    (found / "run.py").write_bytes(b"import shop")
    return found


def test_a_folder_is_all_its_files_but_bytecode(app) -> None:
    told: list[int] = []
    found = Reader(app, progress=told.append).read()
    assert paths(found) == ["run.py", "shop/__init__.py"]
    assert told == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda app: (app / "run.py").write_bytes(b"import shup"),
        lambda app: (app / "shop" / "added.py").touch(),
        lambda app: (app / "shop" / "cart.pyc").touch(),
        lambda app: (app / "run.py").unlink(),
        lambda app: (app / "run.py").rename(app / "ran.py"),
        lambda app: (app / "lib").symlink_to("/usr/lib"),
    ],
    ids=["changed", "added", "bytecode", "removed", "renamed", "linked"],
)
def test_a_change_is_seen(app, change) -> None:
    reader = Reader(app)
    before = reader.read().digest
    assert reader.read().digest == before
    change(app)
    assert reader.read().digest == Reader(app).read().digest != before


def test_a_change_is_seen_also_if_its_time_is_set_back(app) -> None:
    reader, path = Reader(app), app / "run.py"
    before, status = reader.read().digest, path.stat()
    path.write_bytes(b"import shup")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert reader.read().digest != before


def test_what_did_not_change_is_not_read_again(app, monkeypatch) -> None:
    reader = Reader(app)
    before = reader.read().digest
    read: list[str] = []
    content = files._content
    monkeypatch.setattr(
        files, "_content", lambda path, left: read.append(path) or content(path, left)
    )
    assert (reader.read().digest, read) == (before, [])
    (app / "run.py").write_bytes(b"changed")
    reader.read()
    assert read == [str(app / "run.py")]


def test_empty_folders_modes_and_times_are_no_part_of_it(app) -> None:
    before = Reader(app).read().digest
    (app / "empty").mkdir()
    (app / "run.py").chmod(0o755)
    os.utime(app / "run.py", (0, 0))
    assert Reader(app).read().digest == before


def test_a_link_is_not_followed(app, tmp_path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "evil.py").write_bytes(b"x")
    (app / "away").symlink_to(elsewhere)
    (app / "loop").symlink_to(app)
    (app / "broken").symlink_to("nowhere")
    found = Reader(app).read()
    assert [line.split()[1:] for line in found.text.splitlines()] == [
        ["link", "away"], ["link", "broken"], ["link", "loop"],
        ["11", "run.py"], ["1", "shop/__init__.py"],
    ]  # fmt: skip
    (elsewhere / "evil.py").write_bytes(b"y")
    assert Reader(app).read().digest == found.digest
    (app / "away").unlink()
    (app / "away").symlink_to(tmp_path)
    assert Reader(app).read().digest != found.digest


def test_an_app_of_one_file_is_the_same_under_any_name(tmp_path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"#!/usr/bin/env python3\n")
    other.write_bytes(b"#!/usr/bin/env python3\n")
    assert paths(Reader(one).read()) == ["."]
    assert Reader(one).read().digest == Reader(other).read().digest


def test_what_is_no_file_is_refused_and_not_opened(app) -> None:
    os.mkfifo(app / "pipe")
    with pytest.raises(MalformedError, match="links, found 'pipe'"):
        Reader(app).read()
    (app / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(app)  # its address is short
        one.bind("socket")
        with pytest.raises(MalformedError, match="links, found 'socket'"):
            Reader(app).read()


def test_a_name_that_no_text_holds_is_refused(app) -> None:
    Path(os.fsdecode(os.fsencode(app) + b"/\xff")).touch()
    with pytest.raises(MalformedError, match="path in UTF-8"):
        Reader(app).read()


def test_what_is_not_there_has_no_files(app) -> None:
    assert paths(Reader(app).read(["no", "run.py", "run.py/no"])) == ["run.py"]
    with pytest.raises(MalformedError, match="found none"):
        Reader(app / "no").read()


def test_files_and_bytes_are_bounded(app, monkeypatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 12)
    Reader(app).read()
    monkeypatch.setattr(files, "MOST_BYTES", 11)
    with pytest.raises(MalformedError, match="at most 11 bytes in all files"):
        Reader(app).read()
    monkeypatch.setattr(files, "_MOST_SEEN", 4)
    Reader(app, progress=lambda _: None).read(["shop"])
    monkeypatch.setattr(files, "_MOST_SEEN", 1)
    with pytest.raises(MalformedError, match="at most 1 files and folders"):
        Reader(app).read()


def test_a_distribution_that_is_not_there_is_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(ConfigurationError, match="livepin-nothing is not installed here"):
        of_distribution("livepin-nothing")
    about = tmp_path / "bare-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bare\nVersion: 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="bare has no RECORD") as caught:
        of_distribution("bare")
    assert caught.value.hint == "measure its folder"


def test_a_distribution_is_its_outermost_folders_and_single_files(tmp_path, monkeypatch) -> None:
    about = tmp_path / "bare-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bare\nVersion: 1\n")
    (about / "RECORD").write_text(
        'a/b/c.py,,\na/b/d/e.py,,\nab/x.py,,\n\nlone.py,,\n"with, comma.py",,\n'
        "../../../bin/run,,\n/etc/passwd,,\na/__pycache__/x.pyc,,\nbare-1.dist-info/METADATA,,\n"
        "bare-1.dist-info/RECORD,,\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    base, found = of_distribution("bare")
    assert base == tmp_path.resolve()
    assert found == ["a/b", "ab", "bare-1.dist-info", "lone.py", "with, comma.py"]
