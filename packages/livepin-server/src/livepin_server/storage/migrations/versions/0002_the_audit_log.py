"""The audit log"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# An INSERT OR REPLACE deletes without a DELETE trigger; but what it replaces is not the next entry.
_SQLITE = """
CREATE TRIGGER audit_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log only gains entries, one after the other'); END;

CREATE TRIGGER audit_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log only gains entries, one after the other'); END;

CREATE TRIGGER audit_insert BEFORE INSERT ON audit
WHEN NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM audit WHERE account = NEW.account)
BEGIN SELECT RAISE(ABORT, 'the audit log only gains entries, one after the other'); END;
"""

_POSTGRESQL = """
CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log only gains entries, one after the other'; END $$;

CREATE OR REPLACE FUNCTION audit_require_next() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
    IF NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM audit WHERE account = NEW.account)
    THEN RAISE EXCEPTION 'the audit log only gains entries, one after the other'; END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER audit_insert BEFORE INSERT ON audit
FOR EACH ROW EXECUTE FUNCTION audit_require_next();
"""


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    account = sa.String(63, collation="C") if postgresql else sa.String(63)
    op.create_table(
        "audit",
        sa.Column("account", account, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account", "number", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_digest", "audit", ["digest"], unique=False)
    for statement in (_POSTGRESQL if postgresql else _SQLITE).strip().split("\n\n"):
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_refuse, audit_require_next")
