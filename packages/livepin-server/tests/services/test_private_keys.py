"""The master key changes: everything sealed opens under the new one, or nothing was changed."""

import functools
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from livepin_server import folder
from livepin_server.custody.sealed import load_master_key
from livepin_server.errors import CustodyError, UnavailableError
from livepin_server.services import key_rows
from livepin_server.services.model import Intent, NextRoot
from livepin_server.storage.schema import keys
from sqlalchemy import event, select, update

INTENT = Intent(author="bob")


@pytest.fixture
def rows(services):
    def one():
        with services.database.reading() as connection:
            return {row.kid: row.sealed for row in connection.execute(select(keys))}

    return one


@pytest.fixture
def publish(services, intent):
    return lambda: services.publisher.republish("acme", "main", intent).version


def test_every_key_is_sealed_anew_and_the_old_master_key_opens_none(opened, rows, publish):
    old, before = opened.data / "old.key", rows()
    shutil.copy(opened.data / "master.key", old)
    done = opened.services.private_keys.rekey(INTENT)
    assert done.keys == len(before) == 3
    assert rows().keys() == before.keys()
    assert not set(rows().values()) & set(before.values())
    assert not (opened.data / "master.key.new").exists()
    with opened.services.database.reading() as connection:
        for each in key_rows.sealed(connection):
            assert load_master_key(opened.data / "master.key", None).open(each.data, each.label)
            with pytest.raises(CustodyError):
                load_master_key(old, None).open(each.data, each.label)
    assert publish() == 2  # without a restart


def test_after_a_restart_everything_still_opens(opened, open_folder, clock):
    opened.services.private_keys.rekey(INTENT)
    with open_folder(opened.data) as again:
        assert again.services.publisher.republish("acme", "main", INTENT).version == 2
        assert again.services.private_keys.warnings() == []


def test_keys_that_are_made_afterwards_are_sealed_under_the_new_one(opened, open_folder):
    opened.services.private_keys.rekey(INTENT)
    payload, _ = opened.services.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
    document = opened.services.roots.sign("acme", payload, INTENT)
    with open_folder(opened.data) as again:
        assert again.services.roots.publish("acme", document, INTENT)[0].root_version == 2


def test_it_says_what_is_left_to_do(opened):
    left = opened.services.private_keys.rekey(INTENT).next
    shared = opened.services.database.shared is not None
    assert any("copy the new master key to every other server" in each for each in left) == shared
    assert left[-1].startswith("backups made before this need the old master key")


def test_a_key_that_does_not_open_stops_it_and_nothing_is_changed(opened, services, rows):
    services.database.write(
        lambda each: each.execute(
            update(keys).where(keys.c.role == "override").values(sealed=b"\x01damaged")
        )
    )
    before, master = rows(), (opened.data / "master.key").read_bytes()
    with pytest.raises(CustodyError, match=r"the override key .* of acme does not open"):
        services.private_keys.rekey(INTENT)
    assert rows() == before
    assert (opened.data / "master.key").read_bytes() == master
    assert not (opened.data / "master.key.new").exists()


def test_a_folder_that_cannot_be_written_stops_it_before_anything(opened, rows):
    before = rows()
    (opened.data / "master.key.new").mkdir()
    with pytest.raises(CustodyError):
        opened.services.private_keys.rekey(INTENT)
    assert rows() == before


def test_a_database_that_cannot_write_stops_it(opened, rows, pragma):
    if opened.services.database.path is None:
        pytest.skip("the pragma is SQLite's")
    before, master = rows(), (opened.data / "master.key").read_bytes()
    pragma("query_only=1")
    with pytest.raises(UnavailableError):
        opened.services.private_keys.rekey(INTENT)
    assert rows() == before
    assert (opened.data / "master.key").read_bytes() == master
    assert not (opened.data / "master.key.new").exists()


def test_where_nobody_can_tell_which_is_in_force_both_are_kept(opened, rows, pragma, monkeypatch):
    if opened.services.database.path is None:
        pytest.skip("the pragma is SQLite's")
    before, master = rows(), (opened.data / "master.key").read_bytes()
    begin = opened.services.private_keys._sealed.begin

    def fail():
        begin()
        pragma("query_only=1")  # of each connection from now on, not of this one
        raise UnavailableError("the database has gone")

    with monkeypatch.context() as patch:
        patch.setattr(opened.services.private_keys._sealed, "begin", fail)
        with pytest.raises(UnavailableError, match="the database has gone"):
            opened.services.private_keys.rekey(INTENT)
    assert rows() == before
    assert (opened.data / "master.key").read_bytes() == master
    assert (opened.data / "master.key.new").exists()
    pragma("query_only=0")
    assert opened.services.private_keys.rekey(INTENT).keys == 3
    assert not (opened.data / "master.key.new").exists()


# -- several at once -------------------------------------------------------------------------------


def rekey(services):
    return services.private_keys.rekey(INTENT).keys


def require_nothing_lost(opened):
    """Check that one master key is there, and opens everything."""
    assert sorted(each.name for each in opened.data.glob("master*")) == ["master.key"]
    master = load_master_key(opened.data / "master.key", None)
    with opened.services.database.reading() as connection:
        found = key_rows.sealed(connection)
    assert {master.open(e.data, e.label).public.kid for e in found} == {e.label.kid for e in found}
    assert opened.services.private_keys.warnings() == []


def test_two_that_change_it_at_once_take_turns_and_no_key_is_lost(opened, publish, rekey_at_once):
    assert rekey_at_once([opened.services] * 2, rekey) == [3, 3]
    require_nothing_lost(opened)
    assert publish() == 2


def test_two_that_have_the_same_folder_take_turns_and_no_key_is_lost(
    opened, open_folder, publish, rekey_at_once
):
    """Such as two hosts that share it, and that its lock does not keep apart."""
    with open_folder(opened.data) as other:
        assert rekey_at_once([opened.services, other.services], rekey) == [3, 3]
        require_nothing_lost(opened)
        require_nothing_lost(other)
        assert publish() == 2
        assert other.services.publisher.republish("acme", "main", INTENT).version == 3


def test_many_at_once_lose_no_key_and_keep_nobody_from_publishing(opened, publish):
    services, start = opened.services, threading.Barrier(6)

    def work(one):
        start.wait(60)
        for _ in range(5):
            one()

    with ThreadPoolExecutor(6) as pool:
        work_on = [functools.partial(rekey, services)] * 4 + [publish] * 2
        for each in [pool.submit(work, one) for one in work_on]:
            each.result(60)
    assert publish() == 12
    require_nothing_lost(opened)


@pytest.fixture
def refuse_resealing(opened):
    """Have the disk not take what is sealed anew, once the transaction has begun."""
    if opened.services.database.path is None:
        pytest.skip("the pragma is SQLite's")
    engine = opened.services.database._engine

    def refuse(_connection, cursor, statement, *_):
        if statement.startswith("UPDATE keys"):
            cursor.execute("PRAGMA query_only=1")

    def go_on(connection):
        connection.connection.execute("PRAGMA query_only=0")

    event.listen(engine, "before_cursor_execute", refuse)
    event.listen(engine, "rollback", go_on)
    yield
    event.remove(engine, "before_cursor_execute", refuse)
    event.remove(engine, "rollback", go_on)


@pytest.mark.usefixtures("refuse_resealing")
def test_no_master_key_is_given_up_while_what_was_sealed_under_it_may_come_back(
    opened, rows, publish, rekey_at_once, monkeypatch
):
    """Not even by who comes next, before the one that was refused has its turn again."""
    sealed, database = opened.services.private_keys._sealed, opened.services.database
    before, settle, problems = rows(), sealed.settle, []

    def look_and_settle(found):
        problems.append(database.problem)
        settle(found)

    def refused(services):
        with pytest.raises(UnavailableError, match="the database is read-only"):
            services.private_keys.rekey(INTENT)

    monkeypatch.setattr(sealed, "settle", look_and_settle)
    rekey_at_once([opened.services] * 2, refused)
    assert set(problems) == {None}
    assert rows() == before
    assert not (opened.data / "master.key.new").exists()
    assert publish() == 2


# -- a master key from the environment -------------------------------------------------------------


@pytest.fixture
def from_environment(data_folder):
    """A data folder without its master key, and that key."""
    text = (data_folder / "master.key").read_text().strip()
    (data_folder / "master.key").unlink()
    return data_folder, text


def test_one_of_the_environment_waits_in_a_file_until_it_is_put_there(
    from_environment, clock, intent
):
    data, old = from_environment
    with folder.opened(data, {"LIVEPIN_MASTER_KEY": old}, clock=clock) as opened:
        left = opened.services.private_keys.rekey(INTENT).next
        assert left[0].startswith("LIVEPIN_MASTER_KEY is the master key of before: put the new one")
        assert opened.services.publisher.republish("acme", "main", intent)
    new = (data / "master.key.new").read_text().strip()
    assert new not in str(left)
    # A restart with the old one goes on, and says so; another change has to wait.
    with folder.opened(data, {"LIVEPIN_MASTER_KEY": old}, clock=clock) as opened:
        assert opened.services.publisher.republish("acme", "main", intent)
        (said,) = opened.services.private_keys.warnings()
        assert said == left[0]
        with pytest.raises(CustodyError, match="a new master key waits in"):
            opened.services.private_keys.rekey(INTENT)
    with folder.opened(data, {"LIVEPIN_MASTER_KEY": new}, clock=clock) as opened:
        assert not (data / "master.key.new").exists()
        assert opened.services.private_keys.warnings() == []
        assert opened.services.publisher.republish("acme", "main", intent)


# -- keys in a token -------------------------------------------------------------------------------


@pytest.fixture
def with_token(data_folder, soft_token, clock):
    """The data folder, opened with a token set up."""
    with folder.opened(data_folder, soft_token.environment, clock=clock) as found:
        yield found


def replace_online(services):
    payload, _ = services.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
    return services.roots.publish("acme", services.roots.sign("acme", payload, INTENT), INTENT)


def test_new_keys_of_the_server_are_made_in_the_token_and_sign_there(with_token, intent):
    services = with_token.services
    assert services.publisher.republish("acme", "main", intent).root_version == 1
    assert replace_online(services)[0].root_version == 2
    view = services.roots.show("acme")
    held = {each.held for name in ("config", "override") for each in view.roles[name].keys}
    assert held == {"in the token acme"}
    assert services.publisher.republish("acme", "main", intent).root_version == 2
    assert services.private_keys.rekey(INTENT).keys == 1  # the root key, which stays sealed
    assert services.publisher.republish("acme", "main", intent).version == 5


def test_keys_that_a_root_replaces_are_destroyed_in_the_token(with_token):
    replace_online(with_token.services)
    with with_token.services.database.reading() as connection:
        before = [each for each in key_rows.of_account(connection, "acme") if each.role != "root"]
    replace_online(with_token.services)
    custody = with_token.services.private_keys._custody
    for row in before:
        with pytest.raises(CustodyError, match="holds no key"):
            custody.open(row.sealed, key_rows.label(row))


def test_without_its_token_a_server_signs_nothing_and_says_so(
    with_token, data_folder, soft_token, clock, intent
):
    replace_online(with_token.services)
    environment = soft_token.environment
    del environment["LIVEPIN_PKCS11_PIN"]
    with folder.opened(data_folder, environment, clock=clock) as opened:
        with pytest.raises(CustodyError, match="the token acme needs a PIN") as caught:
            opened.services.publisher.republish("acme", "main", intent)
        assert caught.value.hint == "give it as LIVEPIN_PKCS11_PIN"
        (said,) = opened.services.private_keys.warnings()
        assert said == "the token acme needs a PIN; give it as LIVEPIN_PKCS11_PIN"
    with folder.opened(data_folder, {}, clock=clock) as opened:
        with pytest.raises(CustodyError, match="is in a token, and none is set up"):
            opened.services.publisher.republish("acme", "main", intent)
