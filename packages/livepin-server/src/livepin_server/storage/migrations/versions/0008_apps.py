"""Apps: by what their evidence is known, and the releases of them"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def text(length: int) -> sa.String:
    # In the order of bytes on PostgreSQL too.
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "apps",
        sa.Column("account", text(63), nullable=False),
        sa.Column("name", text(128), nullable=False),
        sa.Column("identities", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_apps_account")),
        sa.PrimaryKeyConstraint("account", "name", name=op.f("pk_apps")),
    )
    op.create_table(
        "releases",
        sa.Column("account", text(63), nullable=False),
        sa.Column("app", text(128), nullable=False),
        sa.Column("version", text(63), nullable=False),
        sa.Column("digest", text(43), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account", "app"], ["apps.account", "apps.name"], name=op.f("fk_releases_account")
        ),
        sa.PrimaryKeyConstraint("account", "app", "version", name=op.f("pk_releases")),
    )


def downgrade() -> None:
    op.drop_table("releases")
    op.drop_table("apps")
