"""The database: one writer, consistent readers, commits that are on disk, troubles in words."""

import contextlib
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from livepin.errors import ConfigurationError
from livepin_server.errors import UnavailableError
from livepin_server.storage import database as database_module
from livepin_server.storage.database import MOST_WAITING, Database, sqlite_url
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError


def make_table(connection):
    connection.exec_driver_sql("CREATE TABLE things (name TEXT PRIMARY KEY)")


def add(name):
    return lambda each: each.execute(text("INSERT INTO things VALUES (:name)"), {"name": name})


def names(database):
    with database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT name FROM things ORDER BY name").all()
    return [row.name for row in rows]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "livepin.db"


@pytest.fixture
def database(path, open_database):
    found = open_database(sqlite_url(path))
    found.write(make_table)
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, open_database):
    """A database of each kind in turn, with a table."""
    if request.param == "sqlite":
        return request.getfixturevalue("database")
    name = request.getfixturevalue("new_database")()
    found = open_database(request.getfixturevalue("postgres").url(name))
    found.write(make_table)
    return found


# -- how SQLite is set up ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000)],
)
def test_every_connection_is_durable_and_strict(database, name, value):
    def asked(connection):
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

    with database.reading() as first, database.reading() as second:
        assert asked(first) == asked(second) == value
    assert database.write(asked) == value


def test_the_path_is_known_for_sqlite(database, path):
    assert database.path == path


# -- reading and writing -------------------------------------------------------------------------


def test_a_write_returns_its_result_and_is_seen_by_other_processes(database, path):
    assert database.write(lambda each: add("a")(each).rowcount) == 1
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM things").fetchall() == [("a",)]


def test_a_change_that_raises_keeps_nothing(either):
    def change(connection):
        add("a")(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        either.write(change)
    assert names(either) == []
    either.write(add("b"))
    assert names(either) == ["b"]


def test_tables_are_rolled_back_too(either):
    def change(connection):
        connection.exec_driver_sql("CREATE TABLE more (a TEXT)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        either.write(change)
    with either.reading() as connection:
        assert inspect(connection).get_table_names() == ["things"]


def test_no_error_shows_the_values_that_were_to_be_kept(either):
    def change(connection):
        values = {"name": "the digest of a key", "more": b"a sealed key"}
        connection.execute(text("INSERT INTO things (name, nothing) VALUES (:name, :more)"), values)

    with pytest.raises((DBAPIError, UnavailableError)) as caught:
        either.write(change)
    shown = f"{caught.value} {caught.value.__cause__}"
    assert "INSERT INTO things" in shown
    assert "the digest" not in shown
    assert "a sealed key" not in shown


def test_a_mistake_of_ours_is_no_trouble_of_the_database(either):
    either.write(add("a"))
    with pytest.raises(IntegrityError):
        either.write(add("a"))


def test_a_reader_sees_one_state_while_others_write(either):
    either.write(add("a"))
    count = "SELECT count(*) FROM things"
    with either.reading() as connection:
        before = connection.exec_driver_sql(count).scalar()
        either.write(add("b"))
        assert connection.exec_driver_sql(count).scalar() == before == 1
    assert names(either) == ["a", "b"]


def test_writes_of_many_threads_come_one_after_another_in_one_thread(either):
    inside, seen = [], set()

    def change(number):
        def run(connection):
            inside.append(number)
            seen.add(threading.current_thread().name)
            add(f"{number:03}")(connection)
            assert inside == [number]
            inside.remove(number)

        return run

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: either.write(change(number)), range(60)))
    assert names(either) == [f"{number:03}" for number in range(60)]
    assert len(seen) == 1


def test_a_write_transaction_takes_the_lock_at_once(database, path):
    def change(_):
        # Nothing was written yet, and no other process may begin to write.
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")

    database.write(change)


def test_a_closed_database_says_that_the_server_stops(either):
    either.close()
    with pytest.raises(UnavailableError, match="the server is stopping") as caught:
        either.write(add("a"))
    assert caught.value.hint == "try again in a moment"


def test_closing_waits_for_the_write_under_way(path):
    database = Database(sqlite_url(path))
    database.write(make_table)
    begun, go_on = threading.Event(), threading.Event()

    def change(connection):
        begun.set()
        assert go_on.wait(30)
        add("a")(connection)

    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(database.write, change)
        assert begun.wait(30)
        closing = pool.submit(database.close)
        assert not writing.done()
        go_on.set()
        writing.result(30)
        closing.result(30)
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM things").fetchall() == [("a",)]


# -- waiting for a turn --------------------------------------------------------------------------


@pytest.fixture
def held_up(either):
    """Hold the writer up, until the event that is given is set."""
    begun, go_on = threading.Event(), threading.Event()

    def change(_):
        begun.set()
        assert go_on.wait(30)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(either.write, change)
        assert begun.wait(30)
        yield go_on
        go_on.set()
        holding.result(30)


def test_only_so_many_wait_and_the_next_is_refused_at_once(either, held_up):
    with ThreadPoolExecutor(MOST_WAITING) as pool:
        waiting = [pool.submit(either.write, add(f"{n:02}")) for n in range(MOST_WAITING - 1)]
        while either._writer._work_queue.qsize() < len(waiting):
            pass
        with pytest.raises(UnavailableError, match="busy: 64 changes are waiting") as caught:
            either.write(add("one too many"))
        assert caught.value.hint == "nothing was changed; try again in a moment"
        held_up.set()
        for each in waiting:
            each.result(30)
    assert names(either) == [f"{n:02}" for n in range(MOST_WAITING - 1)]
    either.write(add("the next one"))


def test_what_has_not_begun_in_time_is_given_up_and_never_happens(either, held_up, monkeypatch):
    monkeypatch.setattr(database_module, "_TURN", 0.05)
    with pytest.raises(UnavailableError, match="the server is busy: the changes before took"):
        either.write(add("too late"))
    held_up.set()
    monkeypatch.undo()
    either.write(add("in time"))
    assert names(either) == ["in time"]


# -- troubles ------------------------------------------------------------------------------------


def test_what_the_disk_does_not_take_is_remembered_until_it_takes_something(either):
    statement = "PRAGMA query_only=1" if either.shared is None else "SET TRANSACTION READ ONLY"

    def refused(connection):
        connection.exec_driver_sql(statement)
        try:
            add("a")(connection)
        finally:
            if either.shared is None:
                connection.exec_driver_sql("PRAGMA query_only=0")

    either.require_writable()  # nothing is known to be wrong
    with pytest.raises(UnavailableError, match="the database is read-only"):
        either.write(refused)
    assert either.problem == "the database is read-only"
    with pytest.raises(ZeroDivisionError):
        either.write(lambda _: 1 / 0)  # a mistake of ours says nothing of the disk
    assert either.problem == "the database is read-only"
    either.require_writable()
    assert either.problem is None
    assert names(either) == []


def test_a_transaction_that_writes_nothing_says_nothing_of_the_disk(database, path, pragma):
    log = path.with_name(f"{path.name}-wal")
    database.write(add("before"))
    pragma("max_page_count=1")
    with pytest.raises(UnavailableError, match="the disk is full"):
        database.write(add("x" * 100_000))
    before = log.read_bytes()
    database.write(lambda connection: connection.exec_driver_sql("SELECT 1"))
    assert database.problem is None
    assert log.read_bytes() != before  # the disk was asked


def test_a_lock_of_another_process_is_reported_and_nothing_is_lost(database, path, pragma):
    pragma("busy_timeout=20")
    database.write(add("before"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="is locked by another process") as caught:
            database.write(add("during"))
        assert names(database) == ["before"]  # reading goes on
        other.execute("ROLLBACK")
    assert caught.value.hint == "stop the other process, then try again"
    database.write(add("after"))
    assert names(database) == ["after", "before"]


def test_a_lock_that_is_soon_released_is_waited_for(database, path):
    locked = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with contextlib.closing(locked) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN IMMEDIATE")
        writing = pool.submit(database.write, add("a"))
        other.execute("ROLLBACK")
        writing.result(30)
    assert names(database) == ["a"]


def test_a_full_disk_is_reported_and_nothing_is_lost(database, pragma):
    # SQLite itself says SQLITE_FULL here: the file may have no more pages than it has.
    database.write(add("before"))
    pragma("max_page_count=1")
    with pytest.raises(UnavailableError, match="cannot grow: the disk is full") as caught:
        database.write(add("x" * 100_000))
    assert caught.value.hint == "make room, then try again; nothing was lost"
    assert names(database) == ["before"]
    pragma("max_page_count=1000")
    database.write(add("after"))
    assert names(database) == ["after", "before"]


FILLING = """
import sys
from livepin_server.errors import UnavailableError
from livepin_server.storage.database import Database
database = Database(sys.argv[1])
number = 0
try:
    while True:
        database.write(lambda each: each.exec_driver_sql(
            "INSERT INTO things VALUES (?)", (f"{number:04}" + "x" * 2000,)))
        print(number, flush=True)
        number += 1
except UnavailableError as exc:
    print(f"{exc}|{exc.hint}", flush=True)
with database.reading() as connection:
    print(connection.exec_driver_sql("SELECT 'still answers'").scalar())
database.close()
"""


def test_a_disk_that_fills_up_loses_nothing_that_was_acknowledged(database, path):
    # The limit on file sizes makes write(2) itself fail in the child, as a full disk does.
    database.close()
    limit = 150_000
    done = subprocess.run(
        [sys.executable, "-B", "-c", FILLING, sqlite_url(path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        env={"PATH": "/usr/bin:/bin"},  # no coverage: its file has the same limit
        capture_output=True,
        text=True,
        check=True,
    )
    *acknowledged, trouble, after = done.stdout.splitlines()
    assert len(acknowledged) > 5
    assert trouble.split("|") == [
        "the database cannot be written: input/output error",
        "check the disk; nothing was lost",
    ]
    assert after == "still answers"
    with contextlib.closing(Database(sqlite_url(path))) as again:
        assert [name[:4] for name in names(again)] == [f"{int(n):04}" for n in acknowledged]
        with again.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


OPENING = """
import sys
from livepin_server.errors import UnavailableError
from livepin_server.storage.database import Database
try:
    Database(sys.argv[1]).write(lambda each: each.exec_driver_sql("CREATE TABLE things (name)"))
except UnavailableError as exc:
    print(exc)
"""


def test_a_file_may_be_a_link_to_one_on_another_disk(database, path, open_database, tmp_path):
    (other := tmp_path / "other").mkdir()
    (other / "livepin.db").symlink_to(path)
    linked = open_database(sqlite_url(other / "livepin.db"))
    linked.settle()
    linked.write(add("a"))
    assert names(database) == ["a"]


def test_what_can_have_no_log_is_not_used(open_database):
    with pytest.raises(UnavailableError, match="the database cannot be opened"):
        open_database("sqlite:///:memory:").settle()


def test_a_new_file_whose_disk_fails_is_not_used_without_its_log(path, counterpart):
    """SQLite goes on in another mode then, in which readers and the writer hold each other up."""
    command = [counterpart("strace"), "-f", "-qq", "-o", "/dev/null", "-P", str(path)]
    command += ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1"]
    command += [sys.executable, "-c", OPENING, sqlite_url(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "the database cannot be written: input/output error\n"


READING_ONLY = """
import os, pathlib, sys
import sqlalchemy.dialects.sqlite
from livepin_server.errors import UnavailableError
from livepin_server.storage.database import Database, sqlite_url
path = pathlib.Path(sys.argv[1])
database = Database(sqlite_url(path))  # connects when it is used
path.chmod(0o444), path.parent.chmod(0o555)
if os.geteuid() == 0:  # modes do not bind root
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    database.write(lambda each: each.exec_driver_sql("INSERT INTO things VALUES ('x')"))
except UnavailableError as exc:
    print(f"{exc}|{exc.hint}")
database.close()
"""


def test_a_folder_that_cannot_be_written_is_reported():
    # Not in tmp_path, whose parents only the user of the test may enter.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "livepin.db")
        path.parent.chmod(0o755)
        with contextlib.closing(Database(sqlite_url(path))) as database:
            database.write(make_table)
            database.write(add("before"))
        done = subprocess.run(
            [sys.executable, "-B", "-c", READING_ONLY, str(path)],
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        path.parent.chmod(0o700)
        with contextlib.closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT name FROM things").fetchall() == [("before",)]
    assert done.stderr == ""
    message, hint = done.stdout.strip().split("|")
    assert message in {"the database is read-only", "the database cannot be opened"}
    assert hint


def test_a_database_that_turns_read_only_is_reported(database, pragma):
    # SQLite's own SQLITE_READONLY, whichever user runs the test.
    pragma("query_only=1")
    with pytest.raises(UnavailableError, match="the database is read-only") as caught:
        database.write(add("a"))
    assert caught.value.hint == "make the data folder writable for the server's user"
    assert names(database) == []


def test_a_folder_in_place_of_the_file_is_reported(tmp_path, open_database):
    database = open_database(sqlite_url(tmp_path))
    with pytest.raises(UnavailableError, match="the database cannot be opened") as caught:
        database.write(make_table)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("place", "message"),
    [(0, "the database is not one of SQLite's"), (4096, "the database is damaged")],
)
def test_a_damaged_file_is_reported(path, open_database, place, message):
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE things (name TEXT PRIMARY KEY)")
        other.executemany("INSERT INTO things VALUES (?)", [(f"{n:0500}",) for n in range(99)])
        other.commit()
    content = bytearray(path.read_bytes())
    content[place:] = b"\xff" * (len(content) - place)
    path.write_bytes(content)
    with pytest.raises(UnavailableError, match=message) as caught:
        names(open_database(sqlite_url(path)))
    assert caught.value.hint == "put the backup of the data folder back"


def test_any_other_trouble_keeps_its_words(database):
    with pytest.raises(UnavailableError, match="does not answer: no such table: gone") as caught:
        database.write(lambda each: each.exec_driver_sql("SELECT * FROM gone"))
    assert "nothing was changed" in caught.value.hint


@pytest.mark.parametrize(
    "url", ["nonsense", "", "oracle9://host/name", "postgresql+gone://user:s3cret@host/name"]
)
def test_a_url_that_cannot_be_used_is_one_line_without_its_password(url):
    with pytest.raises(ConfigurationError, match="the setting database is not the URL") as caught:
        Database(url)
    assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__}"
    assert caught.value.hint
