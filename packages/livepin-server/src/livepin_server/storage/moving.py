"""Moving: every row of one database into another, empty one, in one transaction."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from livepin_server.errors import SchemaError

from . import schema_version
from .database import Database
from .schema import metadata

_MANY = 500  # rows in one statement


def move(source: Database, target: Database) -> int:
    """Copy everything, and return the number of rows; the source is not changed.

    Raises:
        SchemaError: the target is not empty; it was left alone. UnavailableError: one of them
            does not answer; the target was left empty.
    """
    if schema_version.current(target) is not None:
        raise SchemaError("the database to move to is not empty", hint="name an empty database")
    schema_version.create(target)
    try:
        with source.reading() as reading:
            return target.write(lambda writing: _copy(reading, writing))
    except BaseException:
        schema_version.remove(target)
        raise


def _copy(reading: Connection, writing: Connection) -> int:
    count = 0
    for table in metadata.sorted_tables:  # what others refer to comes first
        numbered = table.autoincrement_column
        name = None if numbered is None else numbered.name
        rows = reading.execute(select(table).order_by(*table.primary_key))
        for found in rows.mappings().partitions(_MANY):
            # Numbers are given anew, in the same order, so that the next one is free.
            new = [{n: v for n, v in row.items() if n != name} for row in found]
            writing.execute(insert(table), new)
            count += len(new)
    return count
