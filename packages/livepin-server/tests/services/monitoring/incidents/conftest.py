"""An account whose endpoints are looked at, as other rooms hand that over, and who is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from livepin.testing import FakeClock
from livepin_server.services.monitoring.incidents.incidents import Incidents
from livepin_server.services.monitoring.incidents.maintenance import Maintenances
from livepin_server.services.monitoring.incidents.taking import take
from livepin_server.services.monitoring.model import Finding, Judged, Notice
from livepin_server.storage import schema
from livepin_server.storage.database import Database
from msgspec import structs
from sqlalchemy import Connection, insert, select

ACCOUNT = "acme"
HERE = "here"


@pytest.fixture
def data_folder(request: pytest.FixtureRequest, data_template: Path, tmp_path: Path) -> Path:
    """A data folder of this test's own, on SQLite, or on what the test names."""
    if getattr(request, "param", "sqlite") == "postgresql":
        found: Path = request.getfixturevalue("postgres_folder")
        return found
    data = tmp_path / "data"
    shutil.copytree(data_template, data)
    return data


def finding(host: str = "api.example.com", **members: Any) -> Finding:
    """Return a finding: a wrong key, of one cause with all others, unless said otherwise."""
    kind = members.pop("kind", "pin_mismatch")
    whole = {
        "kind": kind, "code": "code", "severity": "critical", "key": f"{kind}:main:{host}",
        "cause": "issuer:new", "host": host, "port": 443, "pattern": host, "stream": "main",
        "sentence": f"{host}:443 serves a key that is not pinned", "apps": "apps that follow main",
        "command": f"livepin pin add {host} sha256/AAA", "addresses": ["192.0.2.1"],
        "fingerprints": ["sha256/AAA"], "pinned": ["sha256/BBB"],
    }  # fmt: skip
    return Finding(**(whole | members))


@dataclass
class Watch:
    """The looks at the endpoints of an account, and the notices that come of them."""

    database: Database
    clock: Callable[[], datetime]
    notices: list[Notice] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    fault: Exception | None = None
    ids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.incidents = Incidents(self.database, clock=self.clock, put=self.put)
        self.maintenances = Maintenances(self.database, clock=self.clock)

    def put(
        self, connection: Connection, notice: Notice, now: datetime, *, key: str | None = None
    ) -> int:
        """Stand in for the outbox."""
        if self.fault is not None:
            raise self.fault
        self.notices.append(notice)
        self.keys.append(key or "")
        return 1

    @property
    def events(self) -> list[str]:
        """What was told of, in order."""
        return [each.event for each in self.notices]

    def watch(self, *hosts: str, every: int = 900, vantage: str = HERE) -> None:
        """Have endpoints looked at from a vantage."""

        def change(connection: Connection) -> None:
            for host in hosts:
                if host not in self.ids:
                    row = {"account": ACCOUNT, "host": host, "port": 443, "domain": host,
                           "stream": "main", "every": every, "created": self.clock()}  # fmt: skip
                    made = insert(schema.endpoints).values(**row).returning(schema.endpoints.c.id)
                    self.ids[host] = connection.scalars(made).one()
                row = {"endpoint": self.ids[host], "vantage": vantage, "next_due": self.clock(),
                       "lease_until": self.clock()}  # fmt: skip
                connection.execute(insert(schema.schedule).values(**row))

        self.database.write(change)

    def judged(self, host: str, found: Iterable[Finding], vantage: str = HERE) -> Judged:
        """Return what another room hands over of one endpoint."""
        return Judged(
            account=ACCOUNT, endpoint=self.ids[host], vantage=vantage, host=host, port=443,
            findings=list(found),
        )  # fmt: skip

    def look(self, seen: dict[str, list[Finding]], vantage: str = HERE) -> dict[str, timedelta]:
        """Take in one look at each of these hosts; return which are looked at again, and when."""
        missing = [host for host in seen if host not in self.ids]
        if missing:
            self.watch(*missing, vantage=vantage)
        judged = [self.judged(host, found, vantage) for host, found in seen.items()]
        again = self.database.write(
            lambda connection: take(connection, judged, self.clock(), put=self.put)
        )
        names = {number: host for host, number in self.ids.items()}
        return {names[endpoint]: wait for (endpoint, _), wait in again.items()}

    def twice(self, seen: dict[str, list[Finding]], vantage: str = HERE) -> None:
        """Look, and look again."""
        self.look(seen, vantage)
        self.look(seen, vantage)

    def rows(self, table: str = "findings") -> list[Any]:
        """Return the rows of a table."""
        with self.database.reading() as connection:
            return list(connection.execute(select(getattr(schema, table))).all())

    def beat(self, vantage: str = HERE) -> None:
        """Have a worker give a sign of life, and look at all of its endpoints."""
        beats, schedule = schema.beats, schema.schedule

        def change(connection: Connection) -> None:
            connection.execute(beats.delete().where(beats.c.vantage == vantage))
            row = {"vantage": vantage, "worker": "one", "started": self.clock(),
                   "beat": self.clock(), "looks": 1}  # fmt: skip
            connection.execute(insert(beats).values(**row))
            due = self.clock() + timedelta(minutes=15)
            of_it = schedule.c.vantage == vantage
            connection.execute(schedule.update().where(of_it).values(next_due=due))

        self.database.write(change)


@pytest.fixture
def watch(services: Any, clock: FakeClock) -> Iterator[Watch]:
    """The endpoints of `acme` and what is told of them."""
    return Watch(services.database, clock)


@pytest.fixture
def wrong() -> Callable[..., Finding]:
    """Make findings."""
    return finding


@pytest.fixture
def changed() -> Callable[..., Finding]:
    """Change a finding."""
    return structs.replace
