"""The bus over PostgreSQL: news of commits alone, to every process, and a listener that returns."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading

import pytest
from livepin_server.bus.memory import (
    MOST_SPENT,
    Announcement,
    MonitorWanted,
    OverridesChanged,
    Spent,
    TokensChanged,
)
from livepin_server.bus.postgres import PostgresBus

PATIENCE = 30.0  # seconds


def news(version):
    return Announcement(account="acme", stream="main", root_version=1, version=version)


class Listener:
    """A bus whose listening runs in a thread of its own, and what it heard."""

    def __init__(self, connect, **settings):
        self.bus = PostgresBus(connect, **{"pause": 0.01, **settings})
        self.heard, self.steps = [], []
        self._changed = threading.Condition()
        self.bus.subscribe(lambda each: self._note(self.heard, each))
        self.others = []
        for kind in (TokensChanged, OverridesChanged, MonitorWanted, Spent):
            self.bus.subscribe(lambda each: self._note(self.others, each), kind)
        self._loop = asyncio.new_event_loop()
        self._task = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def until(self, condition):
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), PATIENCE), vars(self)

    def in_step(self, times=1):
        self.until(lambda _: self.steps.count(True) >= times and self.steps[-1])

    def tell(self, news):
        asyncio.run_coroutine_threadsafe(self.bus.tell(news), self._loop).result(PATIENCE)

    def stop(self):
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _note(self, where, what):
        with self._changed:
            where.append(what)
            self._changed.notify_all()

    def _run(self):
        self._task = self._loop.create_task(
            self.bus.listen(lambda found: self._note(self.steps, found))
        )
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()


@pytest.fixture
def database(postgres, new_database, open_database):
    return open_database(postgres.url(new_database()))


@pytest.fixture
def listen(database):
    with contextlib.ExitStack() as stack:

        def one(connect=None, **settings):
            found = Listener(connect or database.shared, **settings)
            stack.callback(found.stop)
            return found

        yield one


@pytest.fixture
def end_connections(postgres, database):
    """End the connections of all listeners, as a restart of PostgreSQL does."""

    def one():
        postgres.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{database.url.database}' AND query LIKE '%pg_notify%'"
        )

    return one


def publish(database, bus, *versions):
    database.write(lambda each: [bus.enclose(each, news(version)) for version in versions])


def test_every_other_process_hears_a_commit_in_order(database, listen):
    first, second, third = listen(), listen(), listen()
    for each in (first, second, third):
        each.in_step()
    publish(database, first.bus, 1, 2)
    publish(database, first.bus, 3)
    for each in (second, third):
        each.until(lambda found: len(found.heard) == 3)
        assert each.heard == [news(1), news(2), news(3)]


def test_what_this_process_announced_itself_is_not_heard_twice(database, listen):
    first, second = listen(), listen()
    first.in_step()
    second.in_step()
    publish(database, first.bus, 1)
    first.bus.announce(news(1))
    publish(database, second.bus, 2)
    first.until(lambda found: news(2) in found.heard)
    assert first.heard == [news(1), news(2)]


def test_news_are_heard_by_those_of_their_kind(database, listen):
    first, second = listen(), listen()
    second.in_step()
    kinds = (TokensChanged, OverridesChanged, MonitorWanted)
    changed = [kind(account="acme") for kind in kinds]
    for each in changed:
        database.write(lambda connection, news=each: first.bus.enclose(connection, news))
    publish(database, first.bus, 1)
    second.until(lambda found: found.heard and len(found.others) == 3)
    assert (second.heard, second.others) == ([news(1)], changed)


def test_what_was_spent_is_told_without_a_transaction(database, listen, end_connections):
    first, second = listen(), listen()
    first.in_step()
    second.in_step()
    spent = Spent(challenges=tuple(bytes([each % 256]) * 12 for each in range(MOST_SPENT)))
    first.tell(spent)
    second.until(lambda found: found.others)
    assert (first.others, second.others) == ([], [spent])
    end_connections()
    second.in_step(2)
    with contextlib.suppress(OSError):  # the connection has ended
        first.tell(spent)
    first.tell(spent)
    second.until(lambda found: len(found.others) >= 2)


def test_what_cannot_be_told_is_an_error_in_a_line(listen, database):
    first = listen()
    first.in_step()
    first.bus._connect = {**database.shared, "port": "1", "host": "127.0.0.1"}
    with pytest.raises(OSError) as caught:
        first.tell(Spent(challenges=()))
    assert "\n" not in str(caught.value)


def test_what_is_rolled_back_is_never_heard(database, listen):
    first, second = listen(), listen()
    second.in_step()

    def change(connection):
        first.bus.enclose(connection, news(1))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(change)
    publish(database, first.bus, 2)
    second.until(lambda found: found.heard)
    assert second.heard == [news(2)]


def test_a_connection_that_ends_is_made_anew_and_says_so(database, listen, end_connections, caplog):
    caplog.set_level(logging.INFO)
    first, second = listen(), listen()
    second.in_step()
    for times in (2, 3):
        end_connections()
        second.in_step(times)
    assert second.steps == [True, False, True, False, True]
    publish(database, first.bus, 5)
    second.until(lambda found: found.heard)
    assert second.heard == [news(5)]
    assert "out of step with other processes: consuming input failed" in caplog.text
    assert "in step with other processes again" in caplog.text


def test_a_server_that_is_not_there_is_tried_again_and_complained_of_once(listen, caplog):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    found = listen({"host": "127.0.0.1", "port": port, "connect_timeout": 5})
    found.until(lambda each: len(each.steps) >= 5)
    assert set(found.steps) == {False}
    complaints = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(complaints) == 1
    assert "out of step with other processes" in complaints[0].message


def test_notifications_that_never_come_back_are_no_step(database, listen, caplog):
    # As through a pooler that gives each transaction another connection: LISTEN has no effect.
    class Deaf(PostgresBus):
        def _take(self, payload):
            return False

    deaf = Deaf(database.shared, patience=0.05, pause=0.01)
    steps = []

    async def run():
        task = asyncio.create_task(deaf.listen(steps.append))
        while len(steps) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
    assert set(steps) == {False}
    assert "notifications do not arrive; is a pooler between?" in caplog.text


def test_a_database_that_freezes_is_noticed_by_its_missing_beat(listen, start_postgres, caplog):
    frozen = start_postgres("fsync=off")
    found = listen({"host": str(frozen.folder), "user": "livepin", "dbname": "postgres"},
                   beat=0.05, patience=0.2)  # fmt: skip
    found.in_step()
    with frozen.connect() as asking:
        (pid,) = asking.execute(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_notify%' AND pid <> "
            "pg_backend_pid()"
        ).fetchone()
    os.kill(pid, signal.SIGSTOP)
    try:
        found.until(lambda each: False in each.steps)
    finally:
        os.kill(pid, signal.SIGCONT)
    found.in_step(2)
    assert "out of step with other processes: the database does not answer" in caplog.text


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "nonsense",
        "[]",
        '{"type":"news"}',
        '{"type":"news","sender":"x","account":"A B","stream":"main","root_version":1,"version":1}',
        '{"type":"news","sender":"x","account":"a","stream":"main","root_version":1,"version":0}',
        '{"type":"tokens","sender":"x","account":"A B"}',
        '{"type":"spent","sender":"x","challenges":["AAAA"]}',
        '{"type":"spent","sender":"x","challenges":["AAAAAAAAAAAAAAAAAA=="]}',
    ],
)
def test_what_others_say_on_the_channel_is_not_believed(
    postgres, database, listen, caplog, payload
):
    found = listen()
    found.in_step()
    name = database.url.database
    postgres.run(f"NOTIFY livepin, '{payload}'", name=name)
    publish(database, PostgresBus({}), 3)
    found.until(lambda each: each.heard)
    assert found.heard == [news(3)]
    assert "a notification is not one of Livepin's" in caplog.text


def test_a_mistake_of_ours_does_not_end_the_listening(database, listen, caplog):
    bus = PostgresBus(database.shared, pause=0.01)
    steps = []

    def failing(found):
        steps.append(found)
        if steps == [True]:
            raise RuntimeError("a mistake")

    async def run():
        task = asyncio.create_task(bus.listen(failing))
        while steps != [True, False, True]:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
    assert "a mistake" in caplog.text
