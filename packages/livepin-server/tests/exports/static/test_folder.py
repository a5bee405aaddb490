"""A folder as target: readable for a web server, whole at any moment, one writer at a time."""

from __future__ import annotations

import os
import stat
import threading

import pytest
from livepin_server.errors import ExportError
from livepin_server.exports.static import export, target
from livepin_server.exports.static.documents import config_file
from livepin_server.exports.static.folder import FolderTarget

MAIN = "v1/acme/config/main"


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "www"
    found.mkdir()
    return found


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_web_server_can_read_it_whatever_the_umask_says(folder, documents):
    previous = os.umask(0o077)
    try:
        export(documents(), FolderTarget(folder))
    finally:
        os.umask(previous)
    assert mode(folder / MAIN) == mode(folder / "v1/acme/root/1") == 0o644
    for each in ("v1", "v1/acme", "v1/acme/config", "v1/acme/root"):
        assert mode(folder / each) == 0o755


def test_its_name_is_its_path(folder):
    assert target(str(folder), {}).name == str(folder)


def test_a_folder_that_is_not_there_is_not_made(tmp_path, documents):
    with pytest.raises(ExportError, match="is not a folder") as caught:
        export(documents(), FolderTarget(tmp_path / "unmounted"))
    assert caught.value.hint == "make it first"
    assert not (tmp_path / "unmounted").exists()


def test_a_file_in_the_place_of_a_folder_is_named(folder, documents):
    (folder / "v1").write_text("mine")
    with pytest.raises(ExportError, match="cannot write"):
        export(documents(), FolderTarget(folder))
    assert (folder / "v1").read_text() == "mine"


def test_what_cannot_be_removed_is_named_and_what_is_not_there_is_no_matter(folder, documents):
    found = FolderTarget(folder)
    (folder / "here" / "inner").mkdir(parents=True)
    with pytest.raises(ExportError, match="cannot write"):
        found.remove("here/inner")
    found.remove("here/nothing")


def test_what_cannot_be_read_is_named(folder, documents):
    (folder / MAIN).mkdir(parents=True)
    with pytest.raises(ExportError, match=r"cannot read .*www: Is a directory"):
        export(documents(), FolderTarget(folder))


def test_what_one_that_was_killed_left_is_swept_away(folder, documents):
    export(documents(), FolderTarget(folder))
    (folder / "v1/acme/config/.main.0a1b2c3d").write_text("half")
    (folder / "v1/acme/config/.mine").write_text("mine")
    (folder / MAIN).unlink()
    export(documents(), FolderTarget(folder))
    found = {each.name for each in (folder / "v1/acme/config").iterdir()}
    assert found == {"main", ".mine"}


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(folder, documents, tmp_path):
    (tmp_path / "mine").write_text("mine")
    (folder / MAIN).parent.mkdir(parents=True)
    (folder / MAIN).symlink_to(tmp_path / "mine")
    export(documents(), FolderTarget(folder))
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (folder / MAIN).is_symlink()


def test_a_full_disk_leaves_the_older_one_and_nothing_beside(folder, documents):
    import resource

    place = FolderTarget(folder)
    export(documents(), place)
    before = (folder / MAIN).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with place.working(), pytest.raises(ExportError, match="File too large"):
            place.write(config_file("acme", "main", b"x" * 100), over=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / MAIN).read_bytes() == before
    assert [each.name for each in (folder / MAIN).parent.iterdir()] == ["main"]


def test_two_at_a_time_wait_for_each_other(folder):
    place, order = FolderTarget(folder), []
    inside, leave = threading.Event(), threading.Event()

    def first():
        with place.working():
            inside.set()
            leave.wait(30)
            order.append("first")

    def second():
        with FolderTarget(folder).working():
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    inside.wait(30)
    threads[1].start()
    leave.set()
    for each in threads:
        each.join(30)
    assert order == ["first", "second"]
