"""Scopes, expiry, rotation and last use of API keys; a name is free again after a revocation"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

VALID = sa.text("revoked IS NULL")
OF_SERVER = sa.text("account IS NULL AND revoked IS NULL")


def text(length: int) -> sa.String:
    # In the order of bytes on PostgreSQL too.
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("uq_api_keys_name"), type_="unique")
        batch_op.add_column(sa.Column("scopes", text(200), nullable=True))
        batch_op.add_column(sa.Column("expires", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("created_by", text(200), nullable=True))
        batch_op.add_column(sa.Column("rotated", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("previous", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("overlap_until", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("last_used", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("last_used_from", text(64), nullable=True))
    op.create_index(
        "uq_api_keys_account_name",
        "api_keys",
        ["account", "name"],
        unique=True,
        sqlite_where=VALID,
        postgresql_where=VALID,
    )
    op.create_index(
        "uq_api_keys_server_name",
        "api_keys",
        ["name"],
        unique=True,
        sqlite_where=OF_SERVER,
        postgresql_where=OF_SERVER,
    )


def downgrade() -> None:
    op.drop_index("uq_api_keys_server_name", "api_keys")
    op.drop_index("uq_api_keys_account_name", "api_keys")
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        for name in (
            "last_used_from",
            "last_used",
            "overlap_until",
            "previous",
            "rotated",
            "created_by",
            "expires",
            "scopes",
        ):
            batch_op.drop_column(name)
        batch_op.create_unique_constraint(op.f("uq_api_keys_name"), ["name"])
