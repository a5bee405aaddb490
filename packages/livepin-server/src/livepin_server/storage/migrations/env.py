"""Alembic's entry: runs on the connection that `schema_version` hands over."""

from __future__ import annotations

from alembic import context
from livepin_server.storage.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
