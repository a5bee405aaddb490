"""Moving between databases: every row arrives, the next one fits, and a failure leaves nothing."""

from __future__ import annotations

import pytest
from livepin_server import main
from livepin_server.errors import SchemaError
from livepin_server.services.model import How, Intent, NewDomain, NewPin
from livepin_server.services.monitoring.beats import Beats
from livepin_server.services.monitoring.endpoints import Endpoints
from livepin_server.storage import moving, schema_version
from livepin_server.storage.database import sqlite_url
from livepin_server.storage.schema import endpoints, metadata, observations
from sqlalchemy import insert, select, text

PIN = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
INTENT = Intent(author="bob", how=How(confirmed=True))


def content(database):
    """Return all rows but for the numbers that a database gives."""
    found = {}
    with database.reading() as connection:
        for table in metadata.sorted_tables:
            columns = [each for each in table.columns if each is not table.autoincrement_column]
            query = select(*columns).order_by(*table.primary_key)
            found[table.name] = [tuple(row) for row in connection.execute(query)]
    return found


def test_a_server_moves_to_postgresql_and_goes_on_there(
    opened, add_domain, new_pin, intent, postgres, new_database, open_folder, open_database
):
    add_domain("a.example.com", *range(400))
    add_domain("b.example.com", 1, 2)
    add_domain("c.example.com", *range(400))
    before, url = content(opened.services.database), postgres.url(new_database())
    rows = main.move(opened.data, url)
    assert rows == sum(len(each) for each in before.values()) > 800
    assert content(opened.services.database) == before
    with open_folder(opened.data, LIVEPIN_DATABASE=url) as moved:
        assert content(moved.services.database) == before
        # The sealed keys still open, the numbers go on, and new pins find a free number.
        added = moved.services.domains.add_pins(
            "acme", "b.example.com", [new_pin(3)], "main", intent
        )
        assert added.version == 5
    back = open_database(sqlite_url(opened.data / "back.db"))
    moving.move(open_database(url), back)
    assert content(back) == content(open_database(url))


def test_what_is_monitored_moves_and_goes_on_there(
    opened, add_domain, clock, postgres, new_database, open_folder
):
    add_domain("a.example.com")
    database = opened.services.database
    Beats(database, clock=clock).beat("here", "one", 1)
    found = Endpoints(database, gone=lambda *_: None, clock=clock)
    found.ensure_vantage("here")
    row = {"endpoint": 1, "vantage": "here", "state": "{}", "changed": clock(), "addresses": 1}
    database.write(lambda each: each.execute(insert(observations), [{**row, "pins_match": True}]))
    url = postgres.url(new_database())
    before = content(database)
    main.move(opened.data, url)
    with open_folder(opened.data, LIVEPIN_DATABASE=url) as moved:
        assert content(moved.services.database) == before
        add = moved.services.domains.add
        add("acme", NewDomain(pattern="b.example.com", pins=[NewPin(sha256=PIN)]), INTENT)
        there = Endpoints(moved.services.database, gone=lambda *_: None, clock=clock)
        there.sync()
        with moved.services.database.reading() as connection:
            ids = connection.scalars(select(endpoints.c.id).order_by(endpoints.c.id)).all()
    assert ids == [1, 2]


def test_a_database_that_holds_something_is_left_alone(opened, postgres_folder, open_folder):
    with open_folder(postgres_folder) as other:
        database = other.services.database
        before = content(database)
        with pytest.raises(SchemaError, match="is not empty"):
            moving.move(opened.services.database, database)
        assert content(database) == before


def test_a_move_that_fails_leaves_the_target_empty(opened, postgres, new_database, open_database):
    target = open_database(postgres.url(new_database()))
    opened.services.database.write(lambda each: each.execute(text("DROP TABLE configs")))
    with pytest.raises(SchemaError, match="lacks the table configs"):
        moving.move(opened.services.database, target)
    assert schema_version.current(target) is None
    with target.reading() as connection:
        query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.scalar(text(query)) == 0
