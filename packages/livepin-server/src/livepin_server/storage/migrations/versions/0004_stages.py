"""Stages, and what guards an account"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def account() -> sa.Column[str]:
    kind = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")
    return sa.Column("account", kind, nullable=False)


def upgrade() -> None:
    op.add_column("accounts", sa.Column("guards", sa.Text(), nullable=False, server_default="{}"))
    op.add_column(
        "accounts", sa.Column("last_stage", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_table(
        "stages",
        account(),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=True),
        sa.Column("intent", sa.Text(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_stages_account")),
        sa.PrimaryKeyConstraint("account", "number", name=op.f("pk_stages")),
    )
    op.create_table(
        "staged_changes",
        account(),
        sa.Column("stage", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("changed", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account", "stage"],
            ["stages.account", "stages.number"],
            name="fk_staged_changes_stage",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account", "stage", "position", name=op.f("pk_staged_changes")),
    )


def downgrade() -> None:
    op.drop_table("staged_changes")
    op.drop_table("stages")
    op.drop_column("accounts", "last_stage")
    op.drop_column("accounts", "guards")
