"""The first tables"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def text(length: int) -> sa.String:
    # In the order of bytes on PostgreSQL too.
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("name", text(63), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("delivery", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_accounts")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", text(16), nullable=False),
        sa.Column("name", text(200), nullable=False),
        sa.Column("role", text(16), nullable=False),
        sa.Column("account", text(63), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_api_keys_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("name", name=op.f("uq_api_keys_name")),
    )
    op.create_table(
        "keys",
        sa.Column("kid", text(43), nullable=False),
        sa.Column("account", text(63), nullable=False),
        sa.Column("role", text(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_keys_account")),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_keys")),
    )
    with op.batch_alter_table("keys", schema=None) as batch_op:
        batch_op.create_index("ix_keys_account_role", ["account", "role"], unique=False)

    op.create_table(
        "roots",
        sa.Column("account", text(63), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_roots_account")),
        sa.PrimaryKeyConstraint("account", "version", name=op.f("pk_roots")),
    )
    op.create_table(
        "streams",
        sa.Column("account", text(63), nullable=False),
        sa.Column("name", text(63), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_streams_account")),
        sa.PrimaryKeyConstraint("account", "name", name=op.f("pk_streams")),
    )
    op.create_table(
        "configs",
        sa.Column("account", text(63), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stream", text(63), nullable=False),
        sa.Column("root_version", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("issued", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account", "stream"],
            ["streams.account", "streams.name"],
            name=op.f("fk_configs_account"),
        ),
        sa.PrimaryKeyConstraint("account", "version", name=op.f("pk_configs")),
    )
    with op.batch_alter_table("configs", schema=None) as batch_op:
        batch_op.create_index("ix_configs_stream", ["account", "stream", "version"], unique=False)

    op.create_table(
        "pin_sets",
        sa.Column("account", text(63), nullable=False),
        sa.Column("stream", text(63), nullable=False),
        sa.Column("name", text(255), nullable=False),
        sa.ForeignKeyConstraint(
            ["account", "stream"],
            ["streams.account", "streams.name"],
            name=op.f("fk_pin_sets_account"),
        ),
        sa.PrimaryKeyConstraint("account", "stream", "name", name=op.f("pk_pin_sets")),
    )
    op.create_table(
        "domains",
        sa.Column("account", text(63), nullable=False),
        sa.Column("stream", text(63), nullable=False),
        sa.Column("pattern", text(255), nullable=False),
        sa.Column("pin_set", text(255), nullable=False),
        sa.Column("mode", text(16), nullable=False),
        sa.Column("token", sa.Boolean(), nullable=False),
        sa.Column("stale", text(16), nullable=False),
        sa.Column("connect", text(300), nullable=True),
        sa.Column("ca", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account", "stream", "pin_set"],
            ["pin_sets.account", "pin_sets.stream", "pin_sets.name"],
            name="fk_domains_pin_set",
        ),
        sa.PrimaryKeyConstraint("account", "stream", "pattern", name=op.f("pk_domains")),
    )
    op.create_table(
        "pins",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account", text(63), nullable=False),
        sa.Column("stream", text(63), nullable=False),
        sa.Column("pin_set", text(255), nullable=False),
        sa.Column("sha256", text(44), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=True),
        sa.Column("backup", sa.Boolean(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=True),
        sa.Column("not_after", sa.BigInteger(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account", "stream", "pin_set"],
            ["pin_sets.account", "pin_sets.stream", "pin_sets.name"],
            name="fk_pins_pin_set",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pins")),
        sa.UniqueConstraint("account", "stream", "pin_set", "sha256", name="uq_pins_sha256"),
    )


def downgrade() -> None:
    op.drop_table("pins")
    op.drop_table("domains")
    op.drop_table("pin_sets")
    with op.batch_alter_table("configs", schema=None) as batch_op:
        batch_op.drop_index("ix_configs_stream")

    op.drop_table("configs")
    op.drop_table("streams")
    op.drop_table("roots")
    with op.batch_alter_table("keys", schema=None) as batch_op:
        batch_op.drop_index("ix_keys_account_role")

    op.drop_table("keys")
    op.drop_table("api_keys")
    op.drop_table("accounts")
