"""PostgreSQL: what BEGIN IMMEDIATE gives on SQLite holds here, and troubles come in words."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from livepin.errors import ConfigurationError
from livepin_server.errors import InvalidError, UnavailableError
from livepin_server.storage.database import Database
from livepin_server.storage.schema import accounts
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

PATIENCE = 30.0


@pytest.fixture
def name(new_database):
    return new_database()


@pytest.fixture
def database(postgres, name, open_database):
    found = open_database(postgres.url(name))
    found.write(lambda each: each.execute(text("CREATE TABLE things (name TEXT PRIMARY KEY)")))
    return found


@pytest.fixture
def other(postgres, name):
    """A connection of another process."""
    with postgres.connect(name) as connection:
        yield connection


def add(thing):
    return lambda each: each.execute(text("INSERT INTO things VALUES (:name)"), {"name": thing})


def names(database):
    with database.reading() as connection:
        return list(connection.scalars(text("SELECT name FROM things ORDER BY name")))


# -- one writer ----------------------------------------------------------------------------------


def test_two_writers_of_two_processes_take_turns(database, postgres, name, open_database):
    second = open_database(postgres.url(name))
    entered, go_on, order = threading.Event(), threading.Event(), []

    def slow(connection):
        entered.set()
        assert go_on.wait(PATIENCE)
        order.append("first")

    def quick(connection):
        # It sees what the first has committed, though it began to wait before that.
        order.append("second")
        return list(connection.scalars(text("SELECT name FROM things")))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(database.write, lambda each: (slow(each), add("a")(each)))
        assert entered.wait(PATIENCE)
        waiting = pool.submit(second.write, quick)
        with postgres.connect(name) as watching:
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while watching.execute(query).fetchone() != (1,):
                assert not waiting.done()
        go_on.set()
        first.result(PATIENCE)
        assert waiting.result(PATIENCE) == ["a"]
    assert order == ["first", "second"]


ADDING = """
import sys
from livepin_server.storage.database import Database
from sqlalchemy import text
database = Database(sys.argv[1])
for _ in range(40):
    def change(connection):
        # Read, then write what was read: only a lock keeps this right.
        number = connection.scalar(text("SELECT n FROM counter"))
        connection.execute(text("UPDATE counter SET n = :n"), {"n": number + 1})
        connection.execute(text("INSERT INTO taken VALUES (:n)"), {"n": number + 1})
    database.write(change)
database.close()
"""


def test_three_processes_that_read_and_then_write_lose_nothing(database, postgres, name):
    def make(connection):
        connection.execute(text("CREATE TABLE counter (n BIGINT)"))
        connection.execute(text("INSERT INTO counter VALUES (0)"))
        connection.execute(text("CREATE TABLE taken (n BIGINT PRIMARY KEY)"))

    database.write(make)
    command = [sys.executable, "-c", ADDING, postgres.url(name)]
    children = [subprocess.Popen(command) for _ in range(3)]
    assert [child.wait(120) for child in children] == [0, 0, 0]
    with database.reading() as connection:
        assert connection.scalar(text("SELECT n FROM counter")) == 120
        taken = list(connection.scalars(text("SELECT n FROM taken ORDER BY n")))
    assert taken == list(range(1, 121))


def test_a_transaction_that_must_give_way_is_run_again(database, other):
    # A deadlock with a stranger's transaction; the stranger does not let itself be chosen.
    database.write(lambda each: (add("a")(each), add("b")(each)))
    other.execute("SET deadlock_timeout = '1h'")
    runs, first_has_a = [], threading.Event()
    update = "UPDATE things SET name = name WHERE name = "
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def change(connection):
        runs.append(len(runs))
        connection.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
        connection.execute(text(f"{update}'a'"))
        if len(runs) == 1:
            first_has_a.set()
            while not connection.scalar(waiting):
                pass
            connection.execute(text(f"{update}'b'"))  # now each waits for the other
        return "done"

    with ThreadPoolExecutor(1) as pool:
        with other.transaction():
            other.execute(f"{update}'b'")
            writing = pool.submit(database.write, change)
            assert first_has_a.wait(PATIENCE)
            other.execute(f"{update}'a'")  # goes on when the first run has given way
        assert writing.result(PATIENCE) == "done"
    assert runs == [0, 1]


def test_a_transaction_that_always_loses_is_refused_at_last(database):
    runs = []

    def change(connection):
        runs.append(1)
        connection.execute(text("DO $$ BEGIN RAISE serialization_failure; END $$"))

    with pytest.raises(UnavailableError, match="locked by another process"):
        database.write(change)
    assert len(runs) == 5


def test_a_commit_is_on_disk_whatever_the_default_is(postgres, name, open_database):
    def setting(connection):
        return connection.scalar(text("SHOW synchronous_commit"))

    for default, expected in (("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")):
        postgres.run(f"ALTER DATABASE {name} SET synchronous_commit = '{default}'")
        assert open_database(postgres.url(name)).write(setting) == expected


def test_a_writer_whose_host_has_gone_gives_up_its_lock(database):
    query = "SHOW idle_in_transaction_session_timeout"
    assert database.write(lambda each: each.scalar(text(query))) == "30s"


def test_what_is_read_cannot_be_changed_by_mistake(database):
    with database.reading() as connection, pytest.raises(UnavailableError, match="is read-only"):
        with database._in_words():
            add("a")(connection)
    database.write(add("a"))
    assert names(database) == ["a"]


# -- troubles ------------------------------------------------------------------------------------


def test_what_is_held_by_others_for_long_is_reported_after_a_while(
    database, other, postgres, name, open_database
):
    # The lock and the connections, in one test: each takes five seconds.
    lock = text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack, other.transaction():
        other.execute(f"SELECT pg_advisory_xact_lock({0x6C69_7665_7069_6E00})")
        readers = [stack.enter_context(database.reading()) for _ in range(16)]
        writing = pool.submit(open_database(postgres.url(name)).write, add("a"))
        while readers[0].scalar(lock) is None:
            assert not writing.done()
        with pytest.raises(UnavailableError, match="the database is busy"):
            names(database)
        with pytest.raises(UnavailableError, match="is locked by another process") as caught:
            writing.result(PATIENCE)
        assert readers[0].scalar(text("SELECT count(*) FROM things")) == 0  # reading goes on
    assert caught.value.hint == "try again in a moment; nothing was changed"
    database.write(add("b"))
    assert names(database) == ["b"]


def test_a_connection_that_ends_within_a_change_keeps_nothing(database, other):
    def change(connection):
        add("a")(connection)
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
        add("b")(connection)

    with pytest.raises(UnavailableError, match="the database does not answer") as caught:
        database.write(change)
    assert "look, then try again" in caught.value.hint
    assert names(database) == []
    database.write(add("c"))
    assert names(database) == ["c"]


def test_connections_that_ended_meanwhile_are_replaced(database, other):
    names(database)
    other.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert names(database) == []
    database.write(add("a"))


def test_a_server_that_is_not_there_is_said_without_its_address(open_database, tmp_path):
    database = open_database(f"postgresql+psycopg://someone:s3cret@/name?host={tmp_path}")
    with pytest.raises(UnavailableError) as caught:
        names(database)
    text = f"{caught.value} {caught.value.hint}"
    assert text.startswith("the database does not answer: No such file or directory")
    for secret in ("someone", "s3cret", str(tmp_path)):
        assert secret not in text


def test_a_database_or_user_that_is_not_there_is_said(postgres, open_database):
    with pytest.raises(UnavailableError, match='database "gone" does not exist'):
        names(open_database(postgres.url("gone")))
    with pytest.raises(UnavailableError, match='role "nobody_here" does not exist'):
        names(open_database(postgres.url(user="nobody_here")))


def test_a_missing_right_is_said(database, postgres, name, open_database):
    role = f"reader_{name}"
    postgres.run(f"CREATE ROLE {role} LOGIN")
    try:
        with pytest.raises(UnavailableError, match="does not allow this") as caught:
            names(open_database(postgres.url(name, role)))
    finally:
        postgres.run(f"DROP ROLE {role}")
    assert "docs/operations.md" in caught.value.hint


def test_a_missing_table_names_the_command_that_makes_it(database):
    with pytest.raises(UnavailableError, match="lacks a table") as caught:
        database.write(lambda each: each.execute(select(accounts)))
    assert caught.value.hint == "run: livepin upgrade"


def test_a_standby_is_named_as_what_it_is(database, postgres, name, open_database):
    postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(UnavailableError, match="is read-only") as caught:
        open_database(postgres.url(name)).write(add("a"))
    assert "give the URL of the primary" in caught.value.hint


def test_a_full_disk_is_reported_and_nothing_is_lost(database):
    raising = "DO $$ BEGIN RAISE disk_full; END $$"
    with pytest.raises(UnavailableError, match="the disk is full"):
        database.write(lambda each: (add("a")(each), each.execute(text(raising))))
    assert names(database) == []


def test_what_it_cannot_keep_is_refused_as_wrong_input(database):
    with pytest.raises(InvalidError, match=r"cannot keep this: .*NUL"):
        database.write(add("a\0b"))
    assert names(database) == []


def test_a_mistake_in_a_statement_is_ours(database):
    with pytest.raises(ProgrammingError, match="syntax error"):
        database.write(lambda each: each.execute(text("SELEKT")))


# -- the URL -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg_async://u:s3cret@h/n", "postgresql+asyncpg://u:s3cret@h/n"]
)
def test_other_drivers_are_refused(url):
    with pytest.raises(ConfigurationError, match="not the URL of a database that can be used"):
        Database(url)


def test_without_its_driver_the_extra_is_named():
    script = """
import sys
sys.modules["psycopg"] = None  # as where the extra is not installed
from livepin.errors import ConfigurationError
from livepin_server.storage.database import Database
try:
    Database("postgresql://someone:s3cret@host/name")
except ConfigurationError as exc:
    print(exc, exc.hint, sep="|")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().split("|") == [
        "the driver of PostgreSQL is not installed",
        "install livepin-server[postgres]",
    ]


def test_the_url_may_say_how_patient_to_be(postgres, name):
    database = Database(f"{postgres.url(name)}&connect_timeout=2&application_name=other")
    try:
        shared = database.shared
        assert int(shared["connect_timeout"]) == 2
        assert shared["keepalives_idle"] == 10
        with database.reading() as connection:
            assert connection.scalar(text("SHOW application_name")) == "other"
        with psycopg.connect(**shared) as connection:
            assert connection.execute("SHOW application_name").fetchone() == ("other",)
    finally:
        database.close()


def test_what_is_written_beside_waits_for_no_other_writer(postgres, name, open_database):
    database = open_database(postgres.url(name))
    database.write(lambda each: each.execute(text("CREATE TABLE t (n integer)")))

    def while_another_writes(connection):
        connection.execute(text("INSERT INTO t VALUES (1)"))
        database.write_beside(lambda each: each.execute(text("INSERT INTO t VALUES (2)")))
        with database.reading() as reading:
            return reading.scalars(text("SELECT n FROM t")).all()

    assert database.write(while_another_writes) == [2]
    with pytest.raises(ZeroDivisionError):
        database.write_beside(lambda each: each.execute(text("DELETE FROM t")).rowcount / 0)
    with database.reading() as reading:
        assert sorted(reading.scalars(text("SELECT n FROM t"))) == [1, 2]


def test_who_gives_way_beside_others_is_tried_again(postgres, name, open_database):
    database, tries = open_database(postgres.url(name)), []
    gives_way = "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$"

    def change(connection):
        tries.append(connection)
        if len(tries) < 3:
            connection.execute(text(gives_way))
        return len(tries)

    assert database.write_beside(change) == 3
