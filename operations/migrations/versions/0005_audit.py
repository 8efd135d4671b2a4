"""The audit: entries that are written once, chained, and the chain's head.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from operations import audit

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# a number and a hash once, and nothing else ever
SEALED_ONLY = """
    OLD.number IS NOT NULL OR NEW.id <> OLD.id OR NEW.at <> OLD.at OR NEW.content <> OLD.content
    OR NEW.digest <> OLD.digest OR NEW.principal <> OLD.principal OR NEW.action <> OLD.action
    OR NEW.outcome <> OLD.outcome
"""


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("deployment", sa.Text(), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sa.UniqueConstraint("number", name=op.f("uq_audit_number")),
    )
    unsealed = sa.text("number IS NULL")
    op.create_index("ix_audit_unsealed", "audit", ["at", "id"], sqlite_where=unsealed, postgresql_where=unsealed)
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.bulk_insert(head, [{"id": 1, "number": 0, "hash": audit.ORIGIN, "mac": audit.mac(0, audit.ORIGIN)}])
    if op.get_bind().dialect.name == "sqlite":
        for name, when, condition in (
            ("audit_kept", "UPDATE", f"WHEN {SEALED_ONLY}"),
            ("audit_there", "DELETE", ""),
            ("audit_head_there", "DELETE", ""),
        ):
            table = "audit_head" if name.startswith("audit_head") else "audit"
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {when} ON {table} {condition} "
                "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_refused() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER audit_kept BEFORE UPDATE ON audit FOR EACH ROW WHEN ({SEALED_ONLY}) "
        "EXECUTE FUNCTION audit_refused()"
    )
    for table in ("audit", "audit_head"):
        for when, each in (("DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
            op.execute(
                f"CREATE TRIGGER {table}_{when.lower()} BEFORE {when} ON {table} FOR EACH {each} "
                "EXECUTE FUNCTION audit_refused()"
            )


def downgrade() -> None:
    op.drop_table("audit_head")
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_refused")
