"""Moving: every row of one database into another, empty one, in one transaction."""

from __future__ import annotations

from livepin_server.errors import SchemaError

from . import rows, schema_version
from .database import Database
from .schema import metadata


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
            return target.write(
                lambda writing: rows.fill(writing, metadata.tables, rows.every(reading))
            )
    except BaseException:
        schema_version.remove(target)
        raise
