"""What is read for metrics: as the database has it, bounded, and each series once."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from livepin_server.services.monitoring.readings import Metering
from livepin_server.storage.schema import (
    beats,
    endpoints,
    incidents,
    observations,
    outbox,
    schedule,
)
from sqlalchemy import insert

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
LATER = NOW + timedelta(days=30)


@pytest.fixture
def metering(services):
    return Metering(services.database)


@pytest.fixture
def put(services):
    """Put rows into a table."""

    def one(table, **row):
        services.database.write(lambda connection: connection.execute(insert(table).values(**row)))

    return one


@pytest.fixture
def endpoint(put):
    """Put an endpoint there that one vantage looks at, and what was seen of it."""

    def one(number, *, host="a.example.com", connect="", seen=True, match=True, **times):
        put(
            endpoints, id=number, account="acme", host=host, port=443, connect=connect,
            every=900, domain="*.example.com", stream="main", created=NOW,
        )  # fmt: skip
        looked = times.get("looked", NOW if seen else None)
        put(
            schedule, endpoint=number, vantage="here", next_due=NOW, lease_until=NOW,
            looked=looked, took=times.get("took", 40) if looked else None,
        )  # fmt: skip
        if seen:
            put(
                observations, endpoint=number, vantage="here", state="{}", changed=NOW,
                addresses=1, expires=times.get("expires", LATER), pins_match=match,
            )  # fmt: skip

    return one


def test_an_endpoint_is_as_it_was_seen_last(metering, endpoint):
    endpoint(1, match=False)
    (found,) = metering.read().endpoints
    assert found.labels == ("acme", "*.example.com", "a.example.com", 443, "here")
    assert (found.pins_match, found.expires, found.looked, found.took) == (False, LATER, NOW, 40)


def test_one_that_was_not_seen_yet_has_nothing_but_its_name(metering, endpoint):
    endpoint(1, seen=False)
    (found,) = metering.read().endpoints
    assert (found.pins_match, found.expires, found.looked, found.took) == (None, None, None, None)


def test_no_more_are_read_one_by_one_than_are_asked_for_and_all_are_counted(metering, endpoint):
    for number in (1, 2, 3):
        endpoint(number, host=f"host-{number}.example.com")
    found = metering.read(most=2)
    assert [each.labels[2] for each in found.endpoints] == [
        "host-1.example.com",
        "host-2.example.com",
    ]
    assert found.monitored == {("acme", "here"): 3}


def test_a_host_that_is_looked_at_in_two_places_is_one_series_of_the_worst(metering, endpoint):
    early, soon = NOW - timedelta(hours=1), NOW + timedelta(days=3)
    endpoint(1, looked=early, took=10)
    endpoint(2, connect="127.0.0.1:8443", match=False, expires=soon, took=90)
    endpoint(3, connect="127.0.0.1:8444", seen=False)
    (found,) = metering.read().endpoints
    assert (found.pins_match, found.expires, found.looked, found.took) == (False, soon, early, 90)


def test_incidents_that_are_not_resolved_are_counted_by_kind_and_severity(metering, put):
    for number, resolved in ((1, None), (2, None), (3, NOW)):
        put(
            incidents, account="acme", number=number, cause=str(number), kind="partial",
            severity="critical", opened=NOW, seen=NOW, resolved=resolved, notices=0, said="{}",
        )  # fmt: skip
    assert metering.read().incidents == {("acme", "partial", "critical"): 2}


def test_notices_are_counted_by_what_became_of_them_and_an_account_without_any_has_none(
    metering, put
):
    found = metering.read()
    assert (found.waiting, found.dead) == ({"acme": 0}, {"acme": 0})
    row = {"account": "acme", "channel": "ops", "body": "{}", "created": NOW, "due": NOW}
    ways = ({}, {"told": NOW}, {"delivered": NOW}, {"dead": NOW}, {"dead": NOW})
    for number, way in enumerate(ways):
        put(outbox, key=str(number), lease_until=NOW, **row, **way)
    found = metering.read()
    assert (found.waiting, found.dead) == ({"acme": 1}, {"acme": 2})


def test_each_vantage_has_its_last_look_and_its_last_sign_of_life(metering, endpoint, put):
    endpoint(1, looked=NOW - timedelta(minutes=1))
    endpoint(2, host="b.example.com")
    for worker, beat in (("a", NOW), ("b", NOW - timedelta(hours=1))):
        put(beats, vantage="eu-west", worker=worker, started=NOW, beat=beat, looks=1)
    found = metering.read()
    assert found.looks == {"here": NOW}
    assert found.beats == {"eu-west": NOW}
