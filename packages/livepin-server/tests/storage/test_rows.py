"""Rows as plain values: out of any database and into any other, and nothing that does not fit."""

from __future__ import annotations

import pytest
from livepin_server.errors import InvalidError, SchemaError
from livepin_server.storage import rows, schema_version
from livepin_server.storage.database import sqlite_url
from livepin_server.storage.rows import Rows
from livepin_server.storage.schema import accounts, metadata
from sqlalchemy import select, text

MICROSECONDS = 1_795_435_200_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request, tmp_path, open_database):
    """A database of each kind in turn, with its tables and nothing in them."""
    if request.param == "sqlite":
        found = open_database(sqlite_url(tmp_path / "empty.db"))
    else:
        name = request.getfixturevalue("new_database")()
        found = open_database(request.getfixturevalue("postgres").url(name))
    schema_version.create(found)
    return found


def account(name="acme", **members):
    """Return a row of `accounts` as a backup holds it."""
    return first_account(name, **({"guards": "{}", "last_stage": 0} | members))


def first_account(name="acme", **members):
    """Return a row of `accounts` as the first schema has it."""
    row = {
        "name": name, "created": MICROSECONDS, "last_version": 7, "active": True, "delivery": "{}",
    } | members  # fmt: skip
    return Rows(table="accounts", columns=tuple(row), values=[tuple(row.values())])


def fill(database, *found):
    return database.write(lambda each: rows.fill(each, metadata.tables, found))


def held(database):
    with database.reading() as connection:
        return {
            (each.table, each.columns): each.values
            for each in rows.every(connection)
            if each.values
        }


def test_a_row_comes_out_as_it_went_in(empty):
    assert fill(empty, account(), account("beta", active=False)) == 2
    ((_, found),) = held(empty).items()
    assert found == [
        ("acme", MICROSECONDS, 7, True, "{}", "{}", 0),
        ("beta", MICROSECONDS, 7, False, "{}", "{}", 0),
    ]  # fmt: skip
    with empty.reading() as connection:
        created = connection.scalar(select(accounts.c.created))
    assert created.isoformat() == "2026-11-23T12:00:00+00:00"


def test_what_others_refer_to_comes_first_and_documents_a_few_at_a_time(opened, add_domain):
    for number in range(6):
        add_domain(f"{number}.example.com", *range(60 * number, 60 * number + 60))
    with opened.services.database.reading() as connection:
        found = list(rows.every(connection))
    order = [each.table for each in found]
    assert order.index("accounts") < order.index("streams") < order.index("pins")
    assert [len(each.values) for each in found if each.table == "configs"] == [4, 3]
    assert [len(each.values) for each in found if each.table == "pins"] == [360]


def test_numbers_that_the_database_gives_go_on_after_those_that_were_there(empty):
    pin = {
        "id": 41, "account": "acme", "stream": "main", "pin_set": "p", "sha256": "A", "label": "",
        "level": None, "backup": False, "not_before": None, "not_after": None,
        "created": MICROSECONDS, "author": "",
    }  # fmt: skip
    stream = {"account": "acme", "name": "main", "created": MICROSECONDS}
    pin_set = {"account": "acme", "stream": "main", "name": "p"}
    tables = {"streams": stream, "pin_sets": pin_set, "pins": pin}
    found = [
        Rows(table=name, columns=tuple(row), values=[tuple(row.values())])
        for name, row in tables.items()
    ]
    fill(empty, account(), *found)
    names = ", ".join(name for name in pin if name != "id")
    changed = names.replace("sha256", "'B'")
    empty.write(
        lambda each: each.execute(text(f"INSERT INTO pins ({names}) SELECT {changed} FROM pins"))
    )
    with empty.reading() as connection:
        assert list(connection.scalars(text("SELECT id FROM pins ORDER BY id"))) == [41, 42]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Rows(table="alembic_version", columns=("version_num",), values=[("9",)]), "no table"),
        (Rows(table="pg_authid", columns=("rolname",), values=[("x",)]), "no table 'pg_authid'"),
        (Rows(table="accounts", columns=("name",), values=[("acme",)]), "columns of accounts"),
        (account(more=1), "columns of accounts"),
        (account(name=7), "a row of accounts"),
        (account(created="now"), "a row of accounts"),
        (account(active=1), "a row of accounts"),
        (account(delivery=b"{}"), "a row of accounts"),
        (account(last_version=2**63), "a row of accounts"),
        (account(last_version=7.0), "a row of accounts"),
        (account(delivery=["nested"]), "a row of accounts"),
        (account(delivery=None), "the rows of accounts do not fit together"),
        (
            Rows(table="streams", columns=("account", "name", "created"), values=[("no", "x", 1)]),
            "do not fit together",
        ),
        (
            Rows(table="accounts", columns=account().columns, values=[("acme",)]),
            "a row of accounts",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_of_them_is_kept(empty, found, reason):
    with pytest.raises((SchemaError, InvalidError), match=reason):
        fill(empty, account("first"), found)
    assert held(empty) == {}


def test_a_row_that_is_there_twice_is_refused(empty):
    with pytest.raises(SchemaError, match="do not fit together"):
        fill(empty, account(), account())


def test_no_rows_are_none(empty):
    assert fill(empty, Rows(table="accounts", columns=account().columns, values=[])) == 0


# -- rows of an older schema ---------------------------------------------------------------------


def test_rows_of_the_first_schema_are_brought_to_this_version(tmp_path, open_database):
    database = open_database(sqlite_url(tmp_path / "new.db"))

    def fill_first(connection, tables):
        assert {"accounts", "streams", "configs"} <= tables
        assert "alembic_version" not in tables
        return rows.fill(connection, tables, [first_account()])

    assert schema_version.restore(database, "0001", fill_first) == 1
    schema_version.require_current(database)
    with database.reading() as connection:
        assert connection.scalars(select(accounts.c.name)).all() == ["acme"]


def test_a_schema_of_a_newer_version_is_refused_before_anything_is_made(tmp_path, open_database):
    database = open_database(sqlite_url(tmp_path / "new.db"))
    with pytest.raises(SchemaError, match="9999, which this version does not know"):
        schema_version.restore(database, "9999", lambda *_: None)
    with database.reading() as connection:
        assert rows.names(connection) == set()


def test_a_database_with_anything_in_it_is_left_alone(empty):
    before = held(empty)
    with pytest.raises(SchemaError, match="not empty"):
        schema_version.restore(empty, "0001", lambda *_: None)
    assert held(empty) == before


def test_what_fails_half_way_leaves_an_empty_database(empty, tmp_path, open_database):
    schema_version.remove(empty)

    def fail(connection, tables):
        rows.fill(connection, tables, [first_account()])
        raise KeyError("half way")

    with pytest.raises(KeyError):
        schema_version.restore(empty, "0001", fail)
    with empty.reading() as connection:
        assert rows.names(connection) == set()
