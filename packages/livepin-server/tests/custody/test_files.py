"""Secret files: written whole or not at all, for the owner alone, over another only if told to."""

import os
import resource
import stat

import pytest
from livepin_server.custody.files import read_secret, replace_secret, write_secret
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
