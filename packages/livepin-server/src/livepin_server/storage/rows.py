"""Every row of a database as plain values: out of one database, into another one of any kind.

Tables are taken as they stand in the database, not as this version would make them, so that rows
of an older schema travel too. Rows are streamed: a history of documents may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, LargeBinary, MetaData, Table, func, insert, inspect, select
from sqlalchemy.exc import DataError, IntegrityError

from livepin_server.errors import SchemaError

from .schema import metadata

_MANY = 500  # rows at a time
_FEW = 4  # of a table with documents, which may be megabytes
_INTEGERS = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of a table, in the order of its primary key."""

    table: str
    columns: tuple[str, ...]
    values: list[tuple[Any, ...]]


def names(connection: Connection) -> set[str]:
    """Return the names of the tables that a database has."""
    return set(inspect(connection).get_table_names())


def every(connection: Connection) -> Iterator[Rows]:
    """Give all rows; what others refer to comes first."""
    for table in _tables(connection, metadata.tables).sorted_tables:
        columns = tuple(map(str, table.columns.keys()))
        count = _FEW if _has_documents(table) else _MANY
        query = select(table).order_by(*table.primary_key).execution_options(yield_per=count)
        for found in connection.execute(query).partitions():
            yield Rows(table=str(table.name), columns=columns, values=[tuple(row) for row in found])


def fill(connection: Connection, tables: Collection[str], found: Iterable[Rows]) -> int:
    """Put rows into these tables, which are empty, and return their number.

    Raises:
        SchemaError: they do not fit these tables.
    """
    known = _tables(connection, tables)
    count = 0
    for rows in found:
        table = known.tables.get(rows.table)
        if table is None:
            raise SchemaError(f"there is no table {rows.table[:63]!r} in its schema")
        _put(connection, table, rows)
        count += len(rows.values)
    for table in known.sorted_tables:
        _go_on(connection, table)
    return count


def _put(connection: Connection, table: Table, rows: Rows) -> None:
    if set(rows.columns) != set(table.columns.keys()):
        raise SchemaError(f"the columns of {table.name} are not those of its schema")
    kinds = [table.columns[name].type.python_type for name in rows.columns]
    for row in rows.values:
        # SQLite takes any value in any column, and whoever reads it later is surprised.
        if len(row) != len(kinds) or not all(map(_is_of, row, kinds)):
            raise SchemaError(f"a row of {table.name} holds what its columns do not take")
    if not rows.values:
        return
    try:
        connection.execute(
            insert(table), [dict(zip(rows.columns, row, strict=True)) for row in rows.values]
        )
    except (IntegrityError, DataError) as exc:
        raise SchemaError(f"the rows of {table.name} do not fit together") from exc


def _is_of(value: object, kind: type) -> bool:
    if value is None:
        return True  # the table says whether it may be
    return type(value) is kind and (kind is not int or value in _INTEGERS)


def _go_on(connection: Connection, table: Table) -> None:
    """Have the next number that the database gives be a free one."""
    numbered = table.autoincrement_column
    if numbered is not None and connection.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(table.name, numbered.name)
        last = select(func.max(numbered)).scalar_subquery()
        connection.execute(select(func.setval(sequence, last)))


def _tables(connection: Connection, only: Collection[str]) -> MetaData:
    missing = set(only) - names(connection)
    if missing:
        raise SchemaError(f"the database lacks the table {min(missing)}", hint="put a backup back")
    found = MetaData()
    found.reflect(connection, only=sorted(only))
    return found


def _has_documents(table: Table) -> bool:
    return any(isinstance(each.type, LargeBinary) for each in table.columns)
