"""Monitoring: where to look and when, what was seen, what is wrong, and who is told"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def text(length: int) -> sa.String:
    # In the order of bytes on PostgreSQL too.
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def moment(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def words(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def of_account(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f(f"fk_{table}_account"))


def of_endpoint(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["endpoint"], ["endpoints.id"], name=op.f(f"fk_{table}_endpoint"), ondelete="CASCADE"
    )


def upgrade() -> None:
    _what_is_looked_at()
    _what_is_wrong()
    _who_is_told()


def _what_is_looked_at() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", number(), nullable=False),
        sa.Column("account", text(63), nullable=False),
        sa.Column("host", text(255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("connect", text(300), server_default="", nullable=False),
        sa.Column("ca_digest", text(22), server_default="", nullable=False),
        words("ca", nullable=True),
        sa.Column("every", sa.Integer(), nullable=False),
        sa.Column("domain", text(255), nullable=False),
        sa.Column("stream", text(63), nullable=False),
        moment("created"),
        of_account("endpoints"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
        sa.UniqueConstraint(
            "account", "host", "port", "connect", "ca_digest", name="uq_endpoints_account_host"
        ),
    )
    op.create_table(
        "schedule",
        sa.Column("endpoint", number(), nullable=False),
        sa.Column("vantage", text(63), nullable=False),
        moment("next_due"),
        moment("lease_until"),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        moment("looked", nullable=True),
        sa.Column("took", sa.Integer(), nullable=True),
        of_endpoint("schedule"),
        sa.PrimaryKeyConstraint("endpoint", "vantage", name=op.f("pk_schedule")),
    )
    op.create_index("ix_schedule_due", "schedule", ["vantage", "next_due"])
    if op.get_bind().dialect.name == "postgresql":
        # Room in each page, so that a lease is written beside the row and no index is touched.
        op.execute(
            "ALTER TABLE schedule SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.2)"
        )
    op.create_table(
        "observations",
        sa.Column("endpoint", number(), nullable=False),
        sa.Column("vantage", text(63), nullable=False),
        words("state"),
        moment("changed"),
        sa.Column("addresses", sa.Integer(), nullable=False),
        moment("expires", nullable=True),
        sa.Column("pins_match", sa.Boolean(), nullable=True),
        of_endpoint("observations"),
        sa.PrimaryKeyConstraint("endpoint", "vantage", name=op.f("pk_observations")),
    )
    op.create_table(
        "certificate_changes",
        sa.Column("id", number(), nullable=False),
        sa.Column("account", text(63), nullable=False),
        sa.Column("host", text(255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("vantage", text(63), nullable=False),
        sa.Column("address", text(63), nullable=False),
        sa.Column("algorithm", text(16), nullable=False),
        moment("moment"),
        words("change"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate_changes")),
    )
    op.create_index(
        "ix_certificate_changes_host", "certificate_changes", ["account", "host", "moment"]
    )
    op.create_table(
        "monitor_settings",
        sa.Column("account", text(63), nullable=False),
        sa.Column("pattern", text(255), nullable=False),
        words("settings"),
        of_account("monitor_settings"),
        sa.PrimaryKeyConstraint("account", "pattern", name=op.f("pk_monitor_settings")),
    )
    op.create_table(
        "beats",
        sa.Column("vantage", text(63), nullable=False),
        sa.Column("worker", text(63), nullable=False),
        moment("started"),
        moment("beat"),
        sa.Column("looks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("vantage", "worker", name=op.f("pk_beats")),
    )


def _what_is_wrong() -> None:
    op.create_table(
        "findings",
        sa.Column("endpoint", number(), nullable=False),
        sa.Column("vantage", text(63), nullable=False),
        sa.Column("key", text(400), nullable=False),
        sa.Column("account", text(63), nullable=False),
        sa.Column("state", text(16), nullable=False),
        moment("since"),
        moment("seen"),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("good", sa.Integer(), nullable=False),
        sa.Column("incident", sa.BigInteger(), nullable=True),
        words("finding"),
        of_endpoint("findings"),
        sa.PrimaryKeyConstraint("endpoint", "vantage", "key", name=op.f("pk_findings")),
    )
    op.create_index("ix_findings_incident", "findings", ["account", "incident"])
    op.create_table(
        "incidents",
        sa.Column("account", text(63), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("cause", text(400), nullable=False),
        sa.Column("kind", text(32), nullable=False),
        sa.Column("severity", text(16), nullable=False),
        moment("opened"),
        moment("seen"),
        moment("resolved", nullable=True),
        moment("acknowledged", nullable=True),
        words("acknowledged_by", nullable=True),
        moment("snoozed_until", nullable=True),
        sa.Column("notices", sa.Integer(), nullable=False),
        moment("next_notice", nullable=True),
        words("said"),
        of_account("incidents"),
        sa.PrimaryKeyConstraint("account", "number", name=op.f("pk_incidents")),
    )
    op.create_index("ix_incidents_next_notice", "incidents", ["next_notice"])
    is_open = sa.text("resolved IS NULL")
    op.create_index(
        "uq_incidents_open",
        "incidents",
        ["account", "cause"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "maintenance",
        sa.Column("account", text(63), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("pattern", text(255), nullable=False),
        moment("starts"),
        moment("ends"),
        words("reason"),
        words("author"),
        moment("created"),
        of_account("maintenance"),
        sa.PrimaryKeyConstraint("account", "number", name=op.f("pk_maintenance")),
    )


def _who_is_told() -> None:
    op.create_table(
        "refusals",
        sa.Column("account", text(63), nullable=False),
        sa.Column("digest", text(22), nullable=False),
        moment("told"),
        sa.Column("more", sa.BigInteger(), nullable=False),
        of_account("refusals"),
        sa.PrimaryKeyConstraint("account", "digest", name=op.f("pk_refusals")),
    )
    op.create_table(
        "channels",
        sa.Column("account", text(63), nullable=False),
        sa.Column("name", text(63), nullable=False),
        sa.Column("kind", text(16), nullable=False),
        words("settings"),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("severity", text(16), nullable=False),
        words("tags"),
        moment("created"),
        words("author"),
        moment("disabled", nullable=True),
        words("trouble", nullable=True),
        of_account("channels"),
        sa.PrimaryKeyConstraint("account", "name", name=op.f("pk_channels")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", number(), nullable=False),
        sa.Column("account", text(63), nullable=False),
        sa.Column("channel", text(63), nullable=False),
        sa.Column("incident", sa.BigInteger(), nullable=True),
        sa.Column("key", text(64), nullable=False),
        words("body"),
        moment("created"),
        moment("due"),
        moment("lease_until"),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        moment("told", nullable=True),
        moment("delivered", nullable=True),
        moment("dead", nullable=True),
        words("trouble", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index("ix_outbox_account", "outbox", ["account", "created"])
    waiting = sa.text("delivered IS NULL AND dead IS NULL")
    op.create_index(
        "ix_outbox_due", "outbox", ["due"], sqlite_where=waiting, postgresql_where=waiting
    )


def downgrade() -> None:
    for each in (
        "refusals",
        "outbox",
        "channels",
        "maintenance",
        "incidents",
        "findings",
        "beats",
        "monitor_settings",
        "certificate_changes",
        "observations",
        "schedule",
        "endpoints",
    ):
        op.drop_table(each)
