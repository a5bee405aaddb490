"""Whatever looks find, in any order: one open incident for what is certain, told within bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from livepin.testing import FakeClock
from livepin_server.services.model import Intent
from livepin_server.services.monitoring.incidents import rows
from livepin_server.services.monitoring.incidents.incidents import Incidents
from livepin_server.services.monitoring.incidents.maintenance import Maintenances
from livepin_server.services.monitoring.incidents.taking import take
from livepin_server.services.monitoring.model import (
    Finding,
    Judged,
    MaintenanceView,
    NewMaintenance,
    Notice,
)
from livepin_server.storage import schema
from sqlalchemy import Connection, create_engine, event, insert, select
from sqlalchemy.pool import StaticPool

HOSTS = [f"h{number}.example.com" for number in range(4)]
KINDS = ["pin_mismatch", "partial", "at_risk", "unreachable"]
INTENT = Intent(author="bob")
HOUR = timedelta(hours=1)
TABLES = [
    schema.metadata.tables[name]
    for name in (
        "accounts", "audit", "endpoints", "findings", "incidents", "maintenance", "schedule",
        "streams",
    )
]  # fmt: skip


class InMemory:
    """An SQLite database in memory, with the schema and an account: a commit costs nothing."""

    def __init__(self, clock: Callable[[], Any]) -> None:
        self.engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        event.listen(self.engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
        event.listen(self.engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        schema.metadata.create_all(self.engine, tables=TABLES)
        due = {"next_due": clock(), "lease_until": clock(), "vantage": "here"}
        with self.engine.begin() as connection:
            connection.execute(
                insert(schema.accounts).values(
                    name="acme", created=clock(), last_version=1, active=True, delivery="{}"
                )
            )
            for number, host in enumerate(HOSTS, start=1):
                place = {"account": "acme", "host": host, "port": 443, "every": 900}
                row = {"id": number, **place, "domain": host, "stream": "main", "created": clock()}
                connection.execute(insert(schema.endpoints).values(**row))
                connection.execute(insert(schema.schedule).values(endpoint=number, **due))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection."""
        with self.engine.begin() as connection:
            yield connection

    def write(self, change: Callable[[Connection], Any]) -> Any:
        """Make a change."""
        with self.engine.begin() as connection:
            return change(connection)


class Machine(RuleBasedStateMachine):
    """Looks, people and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.began = self.clock()
        self.database = InMemory(self.clock)
        self.told: list[Notice] = []
        self.asked = 0  # what people did that has something told
        self.incidents = Incidents(self.database, clock=self.clock, put=self.put)  # type: ignore[arg-type]
        self.maintenances = Maintenances(self.database, clock=self.clock)  # type: ignore[arg-type]

    def teardown(self) -> None:
        self.database.engine.dispose()

    def put(
        self, connection: Connection, notice: Notice, now: Any, *, key: str | None = None
    ) -> int:
        self.told.append(notice)
        return 1

    @rule(
        seen=st.dictionaries(
            st.integers(1, len(HOSTS)),
            st.lists(
                st.tuples(
                    st.sampled_from(KINDS), st.sampled_from("ab"),
                    st.sampled_from(["info", "warning", "critical"]),
                ),
                max_size=2,
            ),
            min_size=1,
        ),
        times=st.integers(1, 3),
    )  # fmt: skip
    def look(self, seen: Any, times: int) -> None:
        judged = [
            Judged(
                account="acme", endpoint=number, vantage="here", host=HOSTS[number - 1], port=443,
                findings=[
                    Finding(
                        kind=kind, code="code", severity=severity, key=kind, cause=cause,
                        host=HOSTS[number - 1], port=443, sentence="wrong", addresses=["192.0.2.1"],
                    )
                    for kind, cause, severity in found
                ],
            )
            for number, found in seen.items()
        ]  # fmt: skip
        for _ in range(times):
            self.database.write(lambda c: take(c, judged, self.clock(), put=self.put))

    @rule(minutes=st.sampled_from([1, 10, 29, 60, 300, 1500]))
    def wait(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)
        self.incidents.remind()

    @rule(number=st.integers(1, len(HOSTS)))
    def go(self, number: int) -> None:
        self.database.write(lambda c: self.incidents.gone(c, [number], self.clock()))

    @precondition(lambda self: self.open())
    @rule(data=st.data())
    def acknowledge(self, data: Any) -> None:
        row = data.draw(st.sampled_from(self.open()))
        self.incidents.acknowledge("acme", row.number, INTENT)

    @precondition(lambda self: self.open())
    @rule(data=st.data(), hours=st.integers(1, 30))
    def snooze(self, data: Any, hours: int) -> None:
        row = data.draw(st.sampled_from(self.open()))
        self.incidents.snooze("acme", row.number, hours * 3600, INTENT)
        self.asked += 1

    @rule(hours=st.integers(1, 30))
    def maintain(self, hours: int) -> None:
        self.maintenances.add("acme", NewMaintenance(lasts=hours * 3600), INTENT)

    @precondition(lambda self: self.active())
    @rule()
    def end_maintenance(self) -> None:
        self.maintenances.end("acme", self.active()[0].number, INTENT)
        self.incidents.remind()

    def open(self) -> list[Any]:
        with self.database.reading() as connection:
            is_open = schema.incidents.c.resolved.is_(None)
            return list(connection.execute(select(schema.incidents).where(is_open)).all())

    def active(self) -> list[MaintenanceView]:
        return [each for each in self.maintenances.all("acme") if each.active]

    @invariant()
    def what_is_certain_is_in_one_open_incident(self) -> None:
        with self.database.reading() as connection:
            found = connection.execute(select(schema.findings)).all()
        firing = [each for each in found if each.state == "firing"]
        numbers = {each.number for each in self.open()}
        assert {each.incident for each in firing} == numbers
        assert all(each.incident is None for each in found if each.state != "firing")

    @invariant()
    def what_is_open_was_told_unless_people_said_otherwise(self) -> None:
        if self.active():
            return
        for row in self.open():
            snoozed = row.snoozed_until is not None and row.snoozed_until > self.clock()
            waits = row.next_notice is not None and row.next_notice <= self.clock()
            assert rows.said(row).told is not None or snoozed or waits

    @invariant()
    def what_is_told_is_bounded_by_time_whatever_comes(self) -> None:
        hours = (self.clock() - self.began) / HOUR
        with self.database.reading() as connection:
            found = connection.execute(select(schema.incidents)).all()
        for row in found:
            events = [each.event for each in self.told if each.incident == row.number]
            lasted = ((row.resolved or self.clock()) - row.opened) / HOUR
            again = events.count("again")
            assert events.count("opened") <= 1
            assert again <= 1 + lasted + self.asked
            assert events.count("grew") <= 1 + len(HOSTS)
            assert events.count("worse") <= 2 + again + events.count("grew")
            assert events.count("resolved") <= len(events) - events.count("resolved")
        # Two causes, those of doubts about them, and each at most every half hour a new incident.
        assert len(found) <= 4 * (1 + hours * 2)

    @invariant()
    def an_end_is_told_to_who_was_told_of_a_beginning(self) -> None:
        began: set[int | None] = set()
        for each in self.told:
            assert each.event != "resolved" or each.incident in began
            began.add(each.incident)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
TestMachine.pytestmark = [pytest.mark.no_cover]
