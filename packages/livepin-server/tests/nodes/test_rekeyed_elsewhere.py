"""Servers that share a database, and one of them changes the master key."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from livepin_server.errors import CustodyError
from livepin_server.services.model import Intent, NextRoot
from livepin_server.storage.schema import keys
from sqlalchemy import func, select

INTENT = Intent(author="bob")


@pytest.fixture
def two(postgres_folder, another_folder, open_folder):
    """Two servers on two hosts; the first is about to change the master key."""
    with (
        open_folder(postgres_folder) as first,
        open_folder(another_folder(postgres_folder)) as second,
    ):
        yield first, second


def publish(opened):
    return opened.services.publisher.republish("acme", "main", INTENT).version


def count(opened):
    with opened.services.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(keys))


def test_the_operator_is_told_what_to_carry_where(two):
    first, _ = two
    told = first.services.private_keys.rekey(INTENT).next
    assert told[0].startswith("copy the new master key to every other server of this database")


def test_a_server_with_the_old_master_key_signs_nothing_and_says_why(two):
    first, second = two
    first.services.private_keys.rekey(INTENT)
    with pytest.raises(CustodyError, match=r"the config key .* of acme does not open") as caught:
        publish(second)
    hint = f"is {second.data / 'master.key'} the master key in force? after livepin custody rekey"
    assert caught.value.hint.startswith(hint)
    (said,) = second.services.private_keys.warnings()
    assert said.endswith("on another server, take that one's")
    assert publish(first) == 2  # no number is lost


def test_a_server_with_the_old_master_key_seals_nothing_that_nobody_else_could_open(two):
    first, second = two
    first.services.private_keys.rekey(INTENT)
    before = count(first)
    with pytest.raises(CustodyError, match="does not open"):
        second.services.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
    with pytest.raises(CustodyError, match="does not open"):
        second.services.private_keys.rekey(INTENT)
    assert count(first) == before
    assert not (second.data / "master.key.new").exists()
    assert publish(first) == 2


def test_once_the_master_key_is_carried_there_it_goes_on_without_a_restart(two, open_folder):
    first, second = two
    first.services.private_keys.rekey(INTENT)
    with pytest.raises(CustodyError):
        publish(second)
    shutil.copy(first.data / "master.key", second.data / "master.key")
    assert publish(second) == 2
    assert second.services.private_keys.warnings() == []
    second.services.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
    # And the way back.
    second.services.private_keys.rekey(INTENT)
    shutil.copy(second.data / "master.key", first.data / "master.key")
    assert publish(first) == 3


def test_a_server_that_was_down_meanwhile_starts_and_says_it(
    postgres_folder, another_folder, open_folder
):
    other = another_folder(postgres_folder)
    with open_folder(postgres_folder) as first:
        first.services.private_keys.rekey(INTENT)
    with open_folder(other) as second:
        assert "does not open" in second.services.private_keys.warnings()[0]
        with pytest.raises(CustodyError, match="does not open"):
            publish(second)


def test_two_servers_that_change_it_at_once_leave_one_that_is_in_force(two):
    start = threading.Barrier(2)

    def rekey(opened):
        start.wait(60)
        return opened.services.private_keys.rekey(INTENT).keys

    with ThreadPoolExecutor(2) as pool:
        done = {each.data: pool.submit(rekey, each) for each in two}
        refused = [data for data, each in done.items() if each.exception(60) is not None]
    assert len(refused) == 1
    assert "does not open" in str(done[refused[0]].exception())
    winner = next(each for each in two if each.data not in refused)
    assert publish(winner) == 2
    assert [sorted(each.data.glob("master.key.new")) for each in two] == [[], []]
    shutil.copy(winner.data / "master.key", refused[0] / "master.key")
    assert [publish(each) for each in two] == [3, 4]


def test_two_that_change_it_one_after_the_other_leave_one_that_is_in_force(two):
    # The second begins with what the first has left behind: that does not open, and it says so.
    first, second = two
    first.services.private_keys.rekey(INTENT)
    with pytest.raises(CustodyError):
        second.services.private_keys.rekey(INTENT)
    shutil.copy(first.data / "master.key", second.data / "master.key")
    assert second.services.private_keys.rekey(INTENT).keys == 3
