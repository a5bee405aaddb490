"""The master key and its successor: whatever is cut off, the one that opens anything is kept."""

import base64
import stat

import pytest
from livepin_server.custody import master_key
from livepin_server.custody.files import read_secret
from livepin_server.custody.master_key import MasterKey
from livepin_server.errors import CustodyError


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "master.key"
    master_key.create(found)
    return found


@pytest.fixture
def master(path):
    return MasterKey(path, None)


def opening(*masters):
    """Return how many keys a master key opens: one, if it is among these."""
    return lambda found: int(found in masters)


def test_a_new_one_waits_beside_the_one_in_force(path, master):
    (before,) = master.read()
    after = master.begin()
    assert master.read() == [before, after]
    assert master.pending == path.with_name("master.key.new")
    assert stat.S_IMODE(master.pending.stat().st_mode) == 0o600
    with pytest.raises(CustodyError, match="a new master key waits in"):
        master.begin()


def test_nothing_is_settled_where_nothing_waits(path, master):
    before = path.read_bytes()
    master.settle(opening())
    assert path.read_bytes() == before


def test_what_was_not_begun_to_be_used_is_undone(path, master):
    (before,), _ = master.read(), master.begin()
    master.settle(opening(before))
    assert master.read() == [before]
    assert not master.pending.exists()


def test_what_is_in_use_takes_the_place_of_the_old_one(path, master):
    after = master.begin()
    master.settle(opening(after))
    assert master.read() == [after]
    assert not master.pending.exists()


def test_who_reads_while_the_new_one_takes_its_place_has_the_new_one(master, monkeypatch):
    after = master.begin()

    def read_and_settle(path, *, limit):
        data = read_secret(path, limit=limit)
        monkeypatch.undo()
        master.settle(opening(after))
        return data

    monkeypatch.setattr(master_key, "read_secret", read_and_settle)
    assert after in master.read()
    assert master.read() == [after]


def test_where_nothing_is_sealed_the_old_one_stays(master):
    (before,), _ = master.read(), master.begin()
    master.settle(None)
    assert master.read() == [before]


def test_where_both_open_something_both_are_kept(master):
    found = [*master.read(), master.begin()]
    master.settle(opening(*found))
    assert master.read() == found


def test_where_neither_opens_anything_both_are_kept_and_it_is_said(master):
    found = [*master.read(), master.begin()]
    with pytest.raises(CustodyError, match=r"neither .+ opens the keys") as caught:
        master.settle(opening())
    assert master.read() == found
    assert caught.value.hint == "put the right master key back; both were left as they are"


@pytest.mark.parametrize("left", [b"", b"AAAA", b"\xff\xfe", b"A" * 43])
def test_half_a_file_is_given_up_once_the_old_one_opens_everything(path, master, left):
    (before,) = master.read()
    master.pending.write_bytes(left)
    master.pending.chmod(0o600)
    assert master.read() == [before]
    with pytest.raises(CustodyError, match="neither"):
        master.settle(opening())
    assert master.pending.read_bytes() == left
    master.settle(opening(before))
    assert not master.pending.exists()


def test_a_file_that_cannot_be_read_now_is_not_given_up_for_it(master):
    (before,), after = master.read(), master.begin()
    master.pending.chmod(0o644)
    with pytest.raises(CustodyError, match="neither"):
        master.settle(opening(after))
    master.pending.chmod(0o600)
    master.settle(opening(after))
    assert master.read() == [after] != [before]


# -- a master key from the environment -----------------------------------------------------------


def text_of(found):
    return base64.b64encode(found).decode()


def test_one_in_the_environment_is_not_changed_here_so_the_new_one_waits(tmp_path):
    old = bytes(range(32))
    master = MasterKey(tmp_path / "master.key", text_of(old))
    after = master.begin()
    master.settle(opening(after))
    assert master.read() == [old, after]
    assert not (tmp_path / "master.key").exists()
    # Once it is put into the environment, the file goes.
    again = MasterKey(tmp_path / "master.key", text_of(after))
    again.settle(opening(after))
    assert again.read() == [after]
    assert not again.pending.exists()


def test_one_in_the_environment_that_stays_in_force_stays(tmp_path):
    old = bytes(range(32))
    master = MasterKey(tmp_path / "master.key", text_of(old))
    master.begin()
    master.settle(opening(old))
    assert master.read() == [old]
