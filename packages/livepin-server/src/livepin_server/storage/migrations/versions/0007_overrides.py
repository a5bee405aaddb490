"""Overrides: what was signed for one installation"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def text(length: int) -> sa.String:
    # In the order of bytes on PostgreSQL too.
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "overrides",
        sa.Column("account", text(63), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("installation", text(22), nullable=False),
        sa.Column("thumbprint", text(43), nullable=False),
        sa.Column("stream", text(63), nullable=False),
        sa.Column("root_version", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("hosts", sa.Text(), nullable=False),
        sa.Column("mode", text(16), nullable=False),
        sa.Column("pins", sa.Text(), nullable=False),
        sa.Column("issued", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_overrides_account")),
        sa.PrimaryKeyConstraint("account", "version", name=op.f("pk_overrides")),
    )
    # From now on the tag `test` says what an admin has decided. Of those that are there nobody
    # knows who gave them: an admin gives them anew.
    op.execute(
        "UPDATE installation_rules SET tags = trim(replace(' ' || tags || ' ', ' test ', ' '))"
    )


def downgrade() -> None:
    op.drop_table("overrides")
