"""The tables, for SQLite and PostgreSQL alike. Migrations are in `migrations/`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
)


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since 1970: exact, and the same everywhere."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return microseconds."""
        return None if value is None else micros(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return an aware datetime in UTC."""
        return None if value is None else moment(value)


def micros(moment: datetime) -> int:
    """Return the microseconds since 1970 that a moment is kept as."""
    delta = moment - _EPOCH
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


def moment(value: int) -> datetime:
    """Return the moment that is kept as these microseconds."""
    seconds, rest = divmod(value, 1_000_000)
    return datetime.fromtimestamp(seconds, tz=timezone.utc).replace(microsecond=rest)


def text(length: int) -> String:
    """Return the type of a short text. Its order is that of bytes on PostgreSQL too."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", text(63), primary_key=True),
    Column("created", Moment, nullable=False),
    # One counter for configs and overrides: changing streams never looks like a rollback.
    Column("last_version", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("delivery", Text, nullable=False),
    Column("guards", Text, nullable=False, server_default="{}"),
    Column("last_stage", BigInteger, nullable=False, server_default="0"),
)

streams = Table(
    "streams",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("name", text(63), primary_key=True),
    Column("created", Moment, nullable=False),
)

roots = Table(
    "roots",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),
    Column("expires", Moment, nullable=False),
    Column("created", Moment, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("kid", text(43), primary_key=True),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("role", text(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", Moment, nullable=False),
    Index("ix_keys_account_role", "account", "role"),
)

pin_sets = Table(
    "pin_sets",
    metadata,
    Column("account", text(63), primary_key=True),
    Column("stream", text(63), primary_key=True),
    Column("name", text(255), primary_key=True),
    ForeignKeyConstraint(["account", "stream"], ["streams.account", "streams.name"]),
)

pins = Table(
    "pins",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("account", text(63), nullable=False),
    Column("stream", text(63), nullable=False),
    Column("pin_set", text(255), nullable=False),
    Column("sha256", text(44), nullable=False),
    Column("label", Text, nullable=False),
    Column("level", String(16)),
    Column("backup", Boolean, nullable=False),
    Column("not_before", Moment),
    Column("not_after", Moment),
    Column("created", Moment, nullable=False),
    Column("author", Text, nullable=False),
    ForeignKeyConstraint(
        ["account", "stream", "pin_set"],
        ["pin_sets.account", "pin_sets.stream", "pin_sets.name"],
        ondelete="CASCADE",
        name="fk_pins_pin_set",
    ),
    UniqueConstraint("account", "stream", "pin_set", "sha256", name="uq_pins_sha256"),
)

domains = Table(
    "domains",
    metadata,
    Column("account", text(63), primary_key=True),
    Column("stream", text(63), primary_key=True),
    Column("pattern", text(255), primary_key=True),
    Column("pin_set", text(255), nullable=False),
    Column("mode", text(16), nullable=False),
    Column("token", Boolean, nullable=False),
    Column("stale", text(16), nullable=False),
    Column("connect", text(300)),
    Column("ca", Text),
    Column("created", Moment, nullable=False),
    ForeignKeyConstraint(
        ["account", "stream", "pin_set"],
        ["pin_sets.account", "pin_sets.stream", "pin_sets.name"],
        name="fk_domains_pin_set",
    ),
)

configs = Table(
    "configs",
    metadata,
    Column("account", text(63), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("stream", text(63), nullable=False),
    Column("root_version", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("issued", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("changed", Text, nullable=False),
    ForeignKeyConstraint(["account", "stream"], ["streams.account", "streams.name"]),
    Index("ix_configs_stream", "account", "stream", "version"),
)

stages = Table(
    "stages",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("created", Moment, nullable=False),
    Column("at", Moment),
    # Who publishes it then, and how, as JSON.
    Column("intent", Text),
    Column("approved_by", Text),
    Column("failure", Text),
)

staged_changes = Table(
    "staged_changes",
    metadata,
    Column("account", text(63), primary_key=True),
    Column("stage", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("change", Text, nullable=False),
    Column("changed", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created", Moment, nullable=False),
    ForeignKeyConstraint(
        ["account", "stage"],
        ["stages.account", "stages.number"],
        ondelete="CASCADE",
        name="fk_staged_changes_stage",
    ),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", text(16), primary_key=True),
    Column("name", text(200), nullable=False),
    Column("role", text(16), nullable=False),
    Column("account", ForeignKey("accounts.name")),  # none: the whole server
    Column("digest", LargeBinary, nullable=False),
    Column("created", Moment, nullable=False),
    Column("revoked", Moment),
    Column("scopes", text(200)),  # areas, with a space between them; none: all
    Column("expires", Moment),
    Column("created_by", text(200)),
    Column("rotated", Moment),
    Column("previous", LargeBinary),  # the digest of before the last rotation
    Column("overlap_until", Moment),  # and until when it is taken
    Column("last_used", Moment),
    Column("last_used_from", text(64)),
)
_valid = api_keys.c.revoked.is_(None)
Index("uq_api_keys_account_name", api_keys.c.account, api_keys.c.name, unique=True,
      sqlite_where=_valid, postgresql_where=_valid)  # fmt: skip
_of_server = api_keys.c.account.is_(None) & _valid
Index("uq_api_keys_server_name", api_keys.c.name, unique=True,
      sqlite_where=_of_server, postgresql_where=_of_server)  # fmt: skip

token_keys = Table(
    "token_keys",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("kid", text(43), primary_key=True),
    Column("name", text(63), nullable=False),
    Column("algorithm", text(16), nullable=False),
    Column("pattern", text(255)),  # the one domain of a secret
    Column("public", Text),  # as JWK; of a secret there is none
    Column("sealed", LargeBinary, nullable=False),
    Column("decoy", LargeBinary, nullable=False),
    Column("created", Moment, nullable=False),
    Column("signs_from", Moment, nullable=False),
    Column("verifies_until", Moment),
)

token_settings = Table(
    "token_settings",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("pattern", text(255), primary_key=True),  # empty for the whole account
    Column("settings", Text, nullable=False),
)

# What requests said of themselves, written in batches: nothing here decides anything.
installations = Table(
    "installations",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("id", text(22), primary_key=True),
    Column("thumbprint", text(43), nullable=False),
    Column("app", text(128), nullable=False),
    Column("stream", text(63), nullable=False),
    Column("config_version", BigInteger, nullable=False),
    Column("first_seen", Moment, nullable=False),
    Column("last_seen", Moment, nullable=False),
    Column("verdict", text(16), nullable=False, server_default="pass"),
    Column("claims", text(22)),  # the digest of the last ones
    Index("ix_installations_account_last_seen", "account", "last_seen"),
)
Index("ix_installations_not_passing", installations.c.account, installations.c.last_seen,
      sqlite_where=installations.c.verdict != "pass",
      postgresql_where=installations.c.verdict != "pass")  # fmt: skip

# Of which refusals channels were told last, and how many followed: by app, rule and verdict.
refusals = Table(
    "refusals",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("digest", text(22), primary_key=True),
    Column("told", Moment, nullable=False),
    Column("more", BigInteger, nullable=False),
)

# What evidence claimed, once for all installations that claim the same.
claims = Table(
    "claims",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("digest", text(22), primary_key=True),
    Column("claims", Text, nullable=False),
    Column("last_seen", Moment, nullable=False),
)

# What the platform or the hardware of an installation proved, and the key that proves it again.
proofs = Table(
    "proofs",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("id", text(22), primary_key=True),
    Column("format", text(63), primary_key=True),
    Column("level", text(16), primary_key=True),
    Column("app", text(128), nullable=False),
    Column("bound", Boolean, nullable=False),
    Column("said", Text, nullable=False),
    Column("moment", Moment, nullable=False),
    Column("key_id", text(64)),
    Column("public", LargeBinary),
    Column("counter", BigInteger),
)

# Versions of the appraisal policy; the newest is in force.
policies = Table(
    "policies",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("policy", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

# Apps, by the name that they give themselves. What may be shown of their identities is not sealed.
apps = Table(
    "apps",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("name", text(128), primary_key=True),
    Column("identities", Text, nullable=False),
    Column("sealed", LargeBinary),  # the keys that open its evidence; none: it needs none
    Column("created", Moment, nullable=False),
)

# Of what ended, the manifest is kept no longer.
releases = Table(
    "releases",
    metadata,
    Column("account", text(63), primary_key=True),
    Column("app", text(128), primary_key=True),
    Column("version", text(63), primary_key=True),
    Column("digest", text(43), nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("manifest", LargeBinary),
    Column("created", Moment, nullable=False),
    Column("author", Text, nullable=False),
    Column("ended", Moment),
    ForeignKeyConstraint(["account", "app"], ["apps.account", "apps.name"]),
)

# What operators decided of them.
installation_rules = Table(
    "installation_rules",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("id", text(22), primary_key=True),
    Column("verdict", text(16)),  # block, pass, fail; none: only tagged
    Column("expires", Moment),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("tags", Text, nullable=False),
)

# What was signed for one installation. Without hosts it is the end of the one before.
overrides = Table(
    "overrides",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("installation", text(22), nullable=False),
    Column("thumbprint", text(43), nullable=False),
    Column("stream", text(63), nullable=False),
    Column("root_version", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("hosts", Text, nullable=False),  # as asked for, with a space between them
    Column("mode", text(16), nullable=False),
    Column("pins", Text, nullable=False),  # of its own, with a space between them
    Column("issued", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Column("until", Moment, nullable=False),  # delivered; nobody has one of before in force then
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ended", Moment),
    Column("ended_by", Text),
)

# -- monitoring ----------------------------------------------------------------------------------

# Where to look, as published domains and their settings say. `connect` and `ca_digest` are empty
# where there is none: they are part of what must be unique. `domain` and `stream` are the first
# that lead there.
endpoints = Table(
    "endpoints",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("host", text(255), nullable=False),
    Column("port", Integer, nullable=False),
    Column("connect", text(300), nullable=False, server_default=""),
    Column("ca_digest", text(22), nullable=False, server_default=""),
    Column("ca", Text),
    Column("every", Integer, nullable=False),  # seconds
    Column("domain", text(255), nullable=False),
    Column("stream", text(63), nullable=False),
    Column("created", Moment, nullable=False),
    UniqueConstraint(
        "account", "host", "port", "connect", "ca_digest", name="uq_endpoints_account_host"
    ),
)

# When each is looked at next, from each vantage. It is written for each look, so it is narrow, and
# what is held of an endpoint is elsewhere. A lease is no change of what the index holds.
schedule = Table(
    "schedule",
    metadata,
    Column("endpoint", ForeignKey("endpoints.id", ondelete="CASCADE"), primary_key=True),
    Column("vantage", text(63), primary_key=True),
    Column("next_due", Moment, nullable=False),
    Column("lease_until", Moment, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("looked", Moment),
    Column("took", Integer),  # milliseconds
    Index("ix_schedule_due", "vantage", "next_due"),
)

# What was seen of an endpoint last, as JSON, and what metrics say of it. It is written where that
# has changed.
observations = Table(
    "observations",
    metadata,
    Column("endpoint", ForeignKey("endpoints.id", ondelete="CASCADE"), primary_key=True),
    Column("vantage", text(63), primary_key=True),
    Column("state", Text, nullable=False),
    Column("changed", Moment, nullable=False),
    Column("addresses", Integer, nullable=False),
    Column("expires", Moment),  # the first certificate of it that does
    Column("pins_match", Boolean),
)

# What is wrong with an endpoint as a vantage sees it: suspect, firing, or good again for a while.
findings = Table(
    "findings",
    metadata,
    Column("endpoint", ForeignKey("endpoints.id", ondelete="CASCADE"), primary_key=True),
    Column("vantage", text(63), primary_key=True),
    Column("key", text(400), primary_key=True),
    Column("account", text(63), nullable=False),
    Column("state", text(16), nullable=False),
    Column("since", Moment, nullable=False),
    Column("seen", Moment, nullable=False),
    Column("times", Integer, nullable=False),  # that it was seen in a row
    Column("good", Integer, nullable=False),  # that it was not, in a row
    Column("incident", BigInteger),
    Column("finding", Text, nullable=False),
    Index("ix_findings_incident", "account", "incident"),
)

# One for each cause, however many endpoints share it.
incidents = Table(
    "incidents",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("cause", text(400), nullable=False),
    Column("kind", text(32), nullable=False),
    Column("severity", text(16), nullable=False),
    Column("opened", Moment, nullable=False),
    Column("seen", Moment, nullable=False),
    Column("resolved", Moment),
    Column("acknowledged", Moment),
    Column("acknowledged_by", Text),
    Column("snoozed_until", Moment),
    Column("notices", Integer, nullable=False),
    Column("next_notice", Moment),
    Column("said", Text, nullable=False),  # what was told last, as JSON
    Index("ix_incidents_next_notice", "next_notice"),
)
_open = incidents.c.resolved.is_(None)
Index("uq_incidents_open", incidents.c.account, incidents.c.cause, unique=True,
      sqlite_where=_open, postgresql_where=_open)  # fmt: skip

maintenance = Table(
    "maintenance",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("pattern", text(255), nullable=False),  # empty for all domains
    Column("starts", Moment, nullable=False),
    Column("ends", Moment, nullable=False),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created", Moment, nullable=False),
)

channels = Table(
    "channels",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("name", text(63), primary_key=True),
    Column("kind", text(16), nullable=False),
    Column("settings", Text, nullable=False),
    Column("sealed", LargeBinary),  # what of them is secret
    Column("severity", text(16), nullable=False),  # the least that it is told
    Column("tags", Text, nullable=False),  # with a space between them; none: all
    Column("created", Moment, nullable=False),
    Column("author", Text, nullable=False),
    Column("disabled", Moment),
    Column("trouble", Text),
)

# Notices for channels, written in the transaction that changes an incident.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("account", text(63), nullable=False),
    Column("channel", text(63), nullable=False),
    Column("incident", BigInteger),
    Column("key", text(64), nullable=False),  # the same, however often it is sent
    Column("body", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("due", Moment, nullable=False),
    Column("lease_until", Moment, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("told", Moment),  # what has to be told over and over again: when it was last
    Column("delivered", Moment),
    Column("dead", Moment),
    Column("trouble", Text),
    Index("ix_outbox_account", "account", "created"),
)
_waiting = outbox.c.delivered.is_(None) & outbox.c.dead.is_(None)
Index("ix_outbox_due", outbox.c.due, sqlite_where=_waiting, postgresql_where=_waiting)

# Each change of what an address presents, and what was pinned then. No foreign key: it outlives
# the endpoint.
certificate_changes = Table(
    "certificate_changes",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("account", text(63), nullable=False),
    Column("host", text(255), nullable=False),
    Column("port", Integer, nullable=False),
    Column("vantage", text(63), nullable=False),
    Column("address", text(63), nullable=False),
    Column("algorithm", text(16), nullable=False),
    Column("moment", Moment, nullable=False),
    Column("change", Text, nullable=False),
    Index("ix_certificate_changes_host", "account", "host", "moment"),
)

# How a domain is monitored, where that is not as any other is.
monitor_settings = Table(
    "monitor_settings",
    metadata,
    Column("account", ForeignKey("accounts.name"), primary_key=True),
    Column("pattern", text(255), primary_key=True),
    Column("settings", Text, nullable=False),
)

# That somebody looks, from where, and since when nobody does.
beats = Table(
    "beats",
    metadata,
    Column("vantage", text(63), primary_key=True),
    Column("worker", text(63), primary_key=True),
    Column("started", Moment, nullable=False),
    Column("beat", Moment, nullable=False),
    Column("looks", BigInteger, nullable=False),
)

# Entries are never changed: triggers that the migrations made refuse it. No foreign key: what was
# done to an account that never came to be is in the log, too.
audit = Table(
    "audit",
    metadata,
    Column("account", text(63), primary_key=True),  # empty for the server itself
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Index("ix_audit_digest", "digest"),
)


@event.listens_for(audit, "after_drop")
def _drop_functions(_: Table, connection: Connection, **__: Any) -> None:
    """Drop what the triggers called: on PostgreSQL it does not go with the table."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS audit_refuse, audit_require_next")
