"""Batches and their items; operations name the batch that released them.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
BATCH_STATES = (
    "planned",
    "running",
    "paused",
    "awaiting_approval",
    "stopping",
    "succeeded",
    "partly_failed",
    "stopped",
    "aborted",
)
ITEM_STATES = (
    "pending",
    "released",
    "succeeded",
    "unchanged",
    "failed",
    "refused",
    "cancelled",
    "not_started",
)


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Enum(*BATCH_STATES, name="batchstate", native_enum=False, length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ends_as", sa.Enum(*BATCH_STATES, name="batchstate", native_enum=False, length=20), nullable=True),
        sa.Column("change", DOCUMENT, nullable=False),
        sa.Column("selection", DOCUMENT, nullable=True),
        sa.Column("strategy", DOCUMENT, nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("wave_settled_at", sa.Double(), nullable=True),
        sa.Column("approved_wave", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("relation", sa.Text(), nullable=True),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index(
        "ix_batches_due",
        "batches",
        ["due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_batches_created_at_id", "batches", ["created_at", "id"])
    op.create_table(
        "batch_items",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=True),
        sa.Column("change", DOCUMENT, nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("state", sa.Enum(*ITEM_STATES, name="itemstate", native_enum=False, length=20), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=True),
        sa.Column("from_revision", sa.Integer(), nullable=True),
        sa.Column("error", DOCUMENT, nullable=True),
        sa.Column("released_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_batch_items_batch_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["target_id"], ["targets.id"], name=op.f("fk_batch_items_target_id")),
        sa.PrimaryKeyConstraint("batch_id", "number", name=op.f("pk_batch_items")),
    )
    op.create_index("ix_batch_items_state", "batch_items", ["batch_id", "state", "wave", "number"])
    op.create_index(
        "ix_batch_items_open",
        "batch_items",
        ["target_id", "name"],
        sqlite_where=sa.text("state IN ('pending', 'released')"),
        postgresql_where=sa.text("state IN ('pending', 'released')"),
    )
    with op.batch_alter_table("operations") as table:
        table.add_column(sa.Column("batch_id", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("operations") as table:
        table.drop_column("batch_id")
    op.drop_table("batch_items")
    op.drop_table("batches")
