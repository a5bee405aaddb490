"""Token keys, what tokens say of each domain, and installations"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def text(length: int) -> sa.String:
    # In the order of bytes on PostgreSQL too.
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def of_account(table: str, *columns: sa.Column[Any], keyed_by: str) -> None:
    op.create_table(
        table,
        sa.Column("account", text(63), nullable=False),
        *columns,
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f(f"fk_{table}_account")),
        sa.PrimaryKeyConstraint("account", keyed_by, name=op.f(f"pk_{table}")),
    )


def upgrade() -> None:
    of_account(
        "token_keys",
        sa.Column("kid", text(43), nullable=False),
        sa.Column("name", text(63), nullable=False),
        sa.Column("algorithm", text(16), nullable=False),
        sa.Column("pattern", text(255), nullable=True),
        sa.Column("public", sa.Text(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("decoy", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("signs_from", sa.BigInteger(), nullable=False),
        sa.Column("verifies_until", sa.BigInteger(), nullable=True),
        keyed_by="kid",
    )
    of_account(
        "token_settings",
        sa.Column("pattern", text(255), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        keyed_by="pattern",
    )
    of_account(
        "installations",
        sa.Column("id", text(22), nullable=False),
        sa.Column("thumbprint", text(43), nullable=False),
        sa.Column("app", text(128), nullable=False),
        sa.Column("stream", text(63), nullable=False),
        sa.Column("config_version", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        keyed_by="id",
    )
    op.create_index("ix_installations_account_last_seen", "installations", ["account", "last_seen"])
    of_account(
        "installation_rules",
        sa.Column("id", text(22), nullable=False),
        sa.Column("verdict", text(16), nullable=True),
        sa.Column("expires", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        keyed_by="id",
    )


def downgrade() -> None:
    for table in ("installation_rules", "installations", "token_settings", "token_keys"):
        op.drop_table(table)
