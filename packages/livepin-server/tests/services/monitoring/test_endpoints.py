"""Where to look: what published domains and their settings say, and nothing more."""

from __future__ import annotations

import datetime as dt

import pytest
from livepin_server.services.monitoring.endpoints import SOON, Endpoints
from livepin_server.services.monitoring.model import MonitorChange
from livepin_server.services.monitoring.settings import MonitoringSettings
from livepin_server.storage.schema import endpoints as table
from livepin_server.storage.schema import findings, schedule
from sqlalchemy import event, func, insert, select, update


@pytest.fixture
def rows(services):
    """Return the endpoints that there are."""

    def one():
        with services.database.reading() as connection:
            found = connection.execute(select(table).order_by(table.c.host, table.c.port)).all()
        return [(row.host, row.port, row.connect, row.every) for row in found]

    return one


@pytest.fixture
def change(services, endpoints, clock, intent):
    """Change how a domain is monitored."""
    found = MonitoringSettings(services.database, clock=clock, changed=endpoints.sync)
    return lambda pattern, **members: found.change(
        "acme", pattern, MonitorChange(**members), intent
    )


def test_every_exact_host_is_looked_at_whatever_its_mode(endpoints, add_domain, rows):
    add_domain("a.example.com", mode="report", connect="127.0.0.1:8443")
    add_domain("b.example.com")
    add_domain("*.example.net")
    endpoints.sync("acme")
    assert rows() == [
        ("a.example.com", 443, "127.0.0.1:8443", 900),
        ("b.example.com", 443, "", 900),
    ]


def test_a_host_of_several_streams_is_one_endpoint(
    endpoints, add_domain, make_stream, rows, services
):
    add_domain("a.example.com")
    make_stream("canary")
    endpoints.sync()
    assert rows() == [("a.example.com", 443, "", 900)]
    with services.database.reading() as connection:
        row = connection.execute(select(table)).one()
    assert (row.domain, row.stream) == ("a.example.com", "canary")


def test_settings_name_hosts_and_ports_and_the_shortest_interval_wins(
    endpoints, add_domain, change, rows
):
    add_domain("*.example.com")
    add_domain("a.example.com")
    change("*.example.com", hosts=["b.example.com", "A.example.com:443"], every=60)
    assert rows() == [("a.example.com", 443, "", 60), ("b.example.com", 443, "", 60)]
    change("a.example.com", hosts=["a.example.com:8443"], every=3600)
    assert rows() == [
        ("a.example.com", 443, "", 60),
        ("a.example.com", 8443, "", 3600),
        ("b.example.com", 443, "", 60),
    ]


def test_who_is_gone_is_told_of_and_deleted_with_everything(
    endpoints, add_domain, services, intent, incidents, rows
):
    add_domain("a.example.com")
    add_domain("b.example.com")
    endpoints.sync()
    with services.database.reading() as connection:
        (gone,) = connection.scalars(select(table.c.id).where(table.c.host == "a.example.com"))
    services.domains.remove("acme", "a.example.com", "main", intent)
    endpoints.sync("acme")
    assert incidents.gone_ids == [gone]
    assert [row[0] for row in rows()] == ["b.example.com"]
    with services.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(schedule)) == 1


def test_new_ones_are_due_at_once_but_spread(endpoints, add_domain, change, services, clock):
    add_domain("*.example.com")
    change("*.example.com", hosts=[f"h{number}.example.com" for number in range(80)])
    with services.database.reading() as connection:
        found = connection.scalars(select(schedule.c.next_due)).all()
    after = [(each - clock()).total_seconds() for each in found]
    assert len(after) == 80
    assert 0 <= min(after) <= max(after) < SOON
    assert len({int(each) for each in after}) > SOON / 2


def test_every_vantage_looks_at_all(endpoints, add_domain, services, clock, incidents):
    add_domain("a.example.com")
    endpoints.sync()
    far = Endpoints(services.database, clock=clock, gone=incidents.gone)
    far.ensure_vantage("eu-west")
    with services.database.reading() as connection:
        found = connection.scalars(select(schedule.c.vantage).order_by(schedule.c.vantage)).all()
    assert found == ["eu-west", "here"]


def written(services, act):
    """Return the writing statements that are executed meanwhile."""
    found = []

    def listen(*given):
        if given[2].split()[0] in ("UPDATE", "INSERT", "DELETE"):
            found.append(given[2])

    engine = services.database._engine
    event.listen(engine, "before_cursor_execute", listen)
    act()
    event.remove(engine, "before_cursor_execute", listen)
    return found


def test_nothing_is_written_where_nothing_has_changed(
    endpoints, add_domain, services, clock, incidents, make_stream
):
    add_domain("a.example.com")
    assert written(services, endpoints.sync)
    assert written(services, endpoints.sync) == []
    another = Endpoints(services.database, clock=clock, gone=incidents.gone)
    assert written(services, lambda: another.ensure_vantage("here")) == []
    add_domain("*.example.org")
    assert written(services, endpoints.sync) == []


def test_another_interval_counts_at_once_whoever_looks_at_the_moment(
    endpoints, add_domain, change, services, clock, schedule, seeing, all_due
):
    add_domain("api.example.com")
    endpoints.sync()
    all_due()
    (claimed,) = schedule.claim("here", 10, lease=seeing.LEASE)
    change("api.example.com", every=60)
    assert schedule.complete([(claimed, seeing.look(seeing.sight(seeing.observation())))]) == 0
    assert schedule.claim("here", 10, lease=seeing.LEASE) == []  # somebody may be looking
    clock.advance(minutes=3)
    (again,) = schedule.claim("here", 10, lease=seeing.LEASE)
    assert again.every == 60


@pytest.mark.parametrize("kind", ["pin_mismatch", "untrusted", "at_risk"])
def test_what_is_wrong_is_looked_at_again_when_something_was_published(
    endpoints, add_domain, services, clock, new_pin, intent, kind
):
    add_domain("a.example.com")
    endpoints.sync()
    later = clock() + dt.timedelta(minutes=10)

    def fill(connection):
        connection.execute(update(schedule).values(next_due=later))
        (endpoint,) = connection.scalars(select(table.c.id))
        connection.execute(
            insert(findings).values(
                endpoint=endpoint, vantage="here", key="k", account="acme", state="firing",
                since=later, seen=later, times=1, good=0, finding="{}", kind=kind,
            )
        )  # fmt: skip

    services.database.write(fill)
    services.domains.add_pins("acme", "a.example.com", [new_pin(2)], "main", intent)
    endpoints.sync("acme")
    with services.database.reading() as connection:
        due = connection.scalar(select(schedule.c.next_due))
    assert due == (later if kind == "at_risk" else clock())  # that has its turn as any other
