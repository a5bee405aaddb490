"""Appraisal: policies, and what evidence of installations claimed and proved"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def text(length: int) -> sa.String:
    # In the order of bytes on PostgreSQL too.
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def of_account(table: str, *columns: sa.Column[Any], keyed_by: tuple[str, ...]) -> None:
    op.create_table(
        table,
        sa.Column("account", text(63), nullable=False),
        *columns,
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f(f"fk_{table}_account")),
        sa.PrimaryKeyConstraint("account", *keyed_by, name=op.f(f"pk_{table}")),
    )


def upgrade() -> None:
    op.add_column(
        "installations",
        sa.Column("verdict", text(16), nullable=False, server_default="pass"),
    )
    op.add_column("installations", sa.Column("claims", text(22), nullable=True))
    op.create_index(
        "ix_installations_not_passing",
        "installations",
        ["account", "last_seen"],
        sqlite_where=sa.text("verdict != 'pass'"),
        postgresql_where=sa.text("verdict != 'pass'"),
    )
    of_account(
        "claims",
        sa.Column("digest", text(22), nullable=False),
        sa.Column("claims", sa.Text(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        keyed_by=("digest",),
    )
    of_account(
        "proofs",
        sa.Column("id", text(22), nullable=False),
        sa.Column("format", text(63), nullable=False),
        sa.Column("level", text(16), nullable=False),
        sa.Column("app", text(128), nullable=False),
        sa.Column("bound", sa.Boolean(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("moment", sa.BigInteger(), nullable=False),
        sa.Column("key_id", text(64), nullable=True),
        sa.Column("public", sa.LargeBinary(), nullable=True),
        sa.Column("counter", sa.BigInteger(), nullable=True),
        keyed_by=("id", "format", "level"),
    )
    of_account(
        "policies",
        sa.Column("version", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        keyed_by=("version",),
    )


def downgrade() -> None:
    for table in ("policies", "proofs", "claims"):
        op.drop_table(table)
    op.drop_index("ix_installations_not_passing", "installations")
    with op.batch_alter_table("installations") as batch:
        batch.drop_column("claims")
        batch.drop_column("verdict")
