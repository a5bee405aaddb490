"""A thief who cannot open a backup changes it, or cuts it off: nothing of it is ever used."""

from __future__ import annotations

import datetime as dt
import random
import shutil

import pytest
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.backups import making, restoring
from livepin_server.backups.restoring import RestorePlan
from livepin_server.custody import age
from livepin_server.custody.age import Opening, Seal
from livepin_server.errors import BackupError
from livepin_server.services.model import NewDomain

pytestmark = pytest.mark.no_cover  # half a hundred times what the tests of restoring do
NOW = FakeClock()()


def unseen(targets):
    """Look at no endpoint."""
    return {each: [] for each in targets}


@pytest.fixture(scope="module")
def sealed(data_template, tmp_path_factory, new_pin, intent):
    """A backup of several chunks, and what opens it."""
    place = tmp_path_factory.mktemp("sealed")
    data = place / "data"
    shutil.copytree(data_template, data)
    with folder.opened(data, {}, clock=lambda: NOW, look=unseen) as opened:
        for number in range(6):
            pins = [new_pin(each) for each in range(200 * number, 200 * number + 200)]
            new = NewDomain(pattern=f"{number}.example.com", pins=pins)
            opened.services.domains.add("acme", new, intent)
    recipient = age.new_identity(place / "identity", now=NOW)
    made = making.make(data, {}, place / "b.age", Seal(recipients=(recipient,)), now=NOW)
    return made.path.read_bytes(), Opening(identities=age.read_identities(place / "identity"))


@pytest.fixture
def backup(sealed, tmp_path):
    """The backup, and what restores it, changed or not."""
    content, opening = sealed

    def restore(content):
        (tmp_path / "changed.age").write_bytes(content)
        plan = RestorePlan(
            file=tmp_path / "changed.age", data=tmp_path / "new", opening=opening, offline=True
        )
        return restoring.restore(plan, {}, clock=lambda: NOW + dt.timedelta(hours=1))

    return content, restore


def nothing_is_left(tmp_path):
    return not [each for each in tmp_path.iterdir() if "new" in each.name]


def test_whatever_byte_is_changed_nothing_is_restored(backup, tmp_path):
    content, restore = backup
    assert len(content) > 2 * 65536
    chance = random.Random(1)
    for at in [25, len(content) - 1, *(chance.randrange(22, len(content)) for _ in range(25))]:
        changed = bytearray(content)
        changed[at] ^= 1 << chance.randrange(8)
        with pytest.raises(BackupError):
            restore(bytes(changed))
        assert nothing_is_left(tmp_path)


def test_wherever_it_is_cut_off_nothing_is_restored(backup, tmp_path):
    content, restore = backup
    chance = random.Random(1)
    ends = [0, 21, 22, 300, len(content) - 1, *(chance.randrange(len(content)) for _ in range(15))]
    for end in ends:
        with pytest.raises(BackupError):
            restore(content[:end])
        assert nothing_is_left(tmp_path)


def test_chunks_that_are_swapped_or_repeated_are_refused(backup, tmp_path):
    content, restore = backup
    size = 65536 + 16
    head = content.index(b"\n---") + 49 + 16  # the header's MAC, and the nonce
    first, second = content[head : head + size], content[head + size : head + 2 * size]
    rest = content[head + 2 * size :]
    for wrong in (second + first + rest, first + first + second + rest, first + rest):
        with pytest.raises(BackupError):
            restore(content[:head] + wrong)
        assert nothing_is_left(tmp_path)


def test_unchanged_it_is_restored(backup):
    content, restore = backup
    assert [each.name for each in restore(content).accounts] == ["acme"]


def test_what_is_appended_is_refused(backup, tmp_path):
    content, restore = backup
    with pytest.raises(BackupError):
        restore(content + b"x")
    assert nothing_is_left(tmp_path)
