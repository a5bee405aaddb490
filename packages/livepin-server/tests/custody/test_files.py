"""Secret files: written whole or not at all, for the owner alone, over another only if told to."""

import errno
import fcntl
import os
import resource
import stat

import pytest
from livepin_server.custody import files
from livepin_server.custody.files import read_secret, replace_secret, replacing, write_secret
from livepin_server.errors import CustodyError


def test_a_secret_is_read_back_and_only_its_owner_may_read_it(tmp_path):
    previous = os.umask(0)
    try:
        write_secret(tmp_path / "key", b"secret")
    finally:
        os.umask(previous)
    assert read_secret(tmp_path / "key", limit=6) == b"secret"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_secret_is_never_written_over_another(tmp_path):
    write_secret(tmp_path / "key", b"first")
    with pytest.raises(CustodyError, match="exists already") as caught:
        write_secret(tmp_path / "key", b"second")
    assert caught.value.hint == "name a new file"
    assert (tmp_path / "key").read_bytes() == b"first"


def test_a_secret_is_not_written_through_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CustodyError, match="exists already"):
        write_secret(tmp_path / "link", b"secret")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CustodyError, match=r"cannot write .*gone/key: No such file"):
        write_secret(tmp_path / "gone" / "key", b"secret")


@pytest.fixture
def small_files():
    """Let this process write no file beyond 50 bytes: write(2) itself fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_half_of_a_secret(tmp_path, small_files):
    with pytest.raises(CustodyError, match=r"cannot write .*key: File too large"):
        write_secret(tmp_path / "key", b"x" * 100)
    assert not (tmp_path / "key").exists()
    write_secret(tmp_path / "key", b"x" * 50)  # nothing is in the way of the next try


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_secret_that_others_may_touch_is_refused(tmp_path, mode):
    path = tmp_path / "key"
    write_secret(path, b"secret")
    path.chmod(mode)
    with pytest.raises(CustodyError, match="can be read by others") as caught:
        read_secret(path, limit=100)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_secret_that_is_too_large_is_refused(tmp_path):
    write_secret(tmp_path / "key", b"x" * 11)
    with pytest.raises(CustodyError, match="at most 10 bytes"):
        read_secret(tmp_path / "key", limit=10)


def test_a_secret_that_is_not_there_or_is_a_folder_is_named(tmp_path):
    with pytest.raises(CustodyError, match=r"cannot read .*gone: No such file"):
        read_secret(tmp_path / "gone", limit=10)
    with pytest.raises(CustodyError, match="Is a directory"):
        read_secret(tmp_path, limit=10)


# -- in the place of another -----------------------------------------------------------------------


def test_a_secret_is_replaced_for_its_owner_alone(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"first")
    path.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    replace_secret(path, b"second")
    found = path.stat()
    assert read_secret(path, limit=6) == b"second"
    assert stat.S_IMODE(found.st_mode) == 0o600
    if os.geteuid() == 0:
        assert (found.st_uid, found.st_gid) == (1234, 2345)
    assert [*tmp_path.iterdir()] == [tmp_path / "key"]


def test_a_secret_that_is_not_there_is_written(tmp_path):
    replace_secret(tmp_path / "key", b"first")
    assert read_secret(tmp_path / "key", limit=6) == b"first"


def test_what_a_link_leads_to_is_replaced(tmp_path):
    (tmp_path / "real").write_bytes(b"first")
    (tmp_path / "link").symlink_to("real")
    replace_secret(tmp_path / "link", b"second")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"second"


def test_a_full_disk_leaves_the_secret_that_is_there(tmp_path, small_files):
    (tmp_path / "key").write_bytes(b"first")
    with pytest.raises(CustodyError, match="File too large"):
        replace_secret(tmp_path / "key", b"x" * 100)
    assert (tmp_path / "key").read_bytes() == b"first"
    assert [*tmp_path.iterdir()] == [tmp_path / "key"]


def test_what_cannot_be_replaced_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "key").mkdir()
    with pytest.raises(CustodyError, match=r"cannot write .*key: Is a directory"):
        replace_secret(tmp_path / "key", b"secret")
    assert [*tmp_path.iterdir()] == [tmp_path / "key"]


def test_a_folder_that_cannot_be_synced_is_told_and_the_new_secret_is_there(tmp_path, monkeypatch):
    (tmp_path / "key").write_bytes(b"first")
    synced = []

    def fail_the_second_time(folder):
        synced.append(folder)
        if len(synced) == 2:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "sync_folder", fail_the_second_time)
    with pytest.raises(CustodyError, match=r"cannot write .*key: Input/output error"):
        replace_secret(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"second"
    assert [*tmp_path.iterdir()] == [tmp_path / "key"]


# -- files that take the place of an older one ---------------------------------------------------

KIND = b"kind\n"


def replaced(path, data):
    with replacing(path, kind=KIND) as file:
        file.write(data)


def test_a_file_takes_the_place_of_an_older_one_of_its_kind(tmp_path):
    path = tmp_path / "file"
    replaced(path, KIND + b"first, and longer")
    previous = os.umask(0)
    try:
        replaced(path, KIND + b"second")
    finally:
        os.umask(previous)
    assert path.read_bytes() == KIND + b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_until_it_is_whole_the_older_one_is_there(tmp_path):
    path = tmp_path / "file"
    replaced(path, KIND + b"first")

    def half():
        with replacing(path, kind=KIND) as file:
            file.write(KIND + b"half")
            file.flush()
            assert path.read_bytes() == KIND + b"first"
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert path.read_bytes() == KIND + b"first"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("make", ["write", "mkdir", "fifo", "link", "empty"])
def test_nothing_of_another_kind_is_replaced(tmp_path, make):
    path = tmp_path / "file"
    if make == "write":
        path.write_bytes(b"mine")
    elif make == "empty":
        path.touch()
    elif make == "mkdir":
        path.mkdir()
    elif make == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "nowhere")
    before = path.lstat()
    with pytest.raises(CustodyError, match="exists, and is none of these"):
        replaced(path, KIND)
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)


def test_what_appears_meanwhile_is_left_alone(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(CustodyError, match="exists, and is none"), replacing(path, kind=KIND):
        path.write_bytes(b"mine")
    assert path.read_bytes() == b"mine"


def test_two_at_a_time_do_not_write_over_each_other(tmp_path):
    path = tmp_path / "file"
    with replacing(path, kind=KIND) as file:
        file.write(KIND + b"first")
        with pytest.raises(CustodyError, match="another process is writing"):
            replaced(path, KIND + b"second")
    assert path.read_bytes() == KIND + b"first"


def test_what_one_that_was_killed_left_is_written_over(tmp_path):
    (tmp_path / ".file.part").write_bytes(b"half of an older one, and longer than the new one")
    replaced(tmp_path / "file", KIND + b"new")
    assert (tmp_path / "file").read_bytes() == KIND + b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_who_waited_for_the_lock_of_a_file_that_was_renamed_takes_a_new_one(tmp_path, monkeypatch):
    path, lock = tmp_path / "file", fcntl.flock
    calls = []

    def renamed_meanwhile(descriptor, operation):
        lock(descriptor, operation)
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / ".file.part").rename(path)

    monkeypatch.setattr(fcntl, "flock", renamed_meanwhile)
    (tmp_path / ".file.part").write_bytes(KIND + b"of the one before")
    with replacing(path, kind=KIND) as file:
        assert path.read_bytes() == KIND + b"of the one before"
        file.write(KIND + b"next")
    assert path.read_bytes() == KIND + b"next"


def test_it_is_not_written_through_a_link_that_somebody_put_there(tmp_path):
    (tmp_path / ".file.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CustodyError, match="cannot write"):
        replaced(tmp_path / "file", KIND)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_it_is_not_written_into_a_file_of_somebody_elses(tmp_path):
    (tmp_path / ".file.part").touch(0o666)
    os.chown(tmp_path / ".file.part", 65534, 65534)
    with pytest.raises(CustodyError, match="is another user's"):
        replaced(tmp_path / "file", KIND)


def test_a_full_disk_leaves_the_older_one(tmp_path, small_files):
    replaced(tmp_path / "file", KIND)
    with pytest.raises(CustodyError, match=r"cannot write .*file: File too large"):
        replaced(tmp_path / "file", KIND + b"x" * 100)
    assert (tmp_path / "file").read_bytes() == KIND
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
