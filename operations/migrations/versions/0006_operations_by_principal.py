"""Unfinished operations are found by who asked for them.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    unfinished = sa.text("finished_at IS NULL AND batch_id IS NULL")
    op.create_index(
        "ix_operations_principal",
        "operations",
        ["principal"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )


def downgrade() -> None:
    op.drop_index("ix_operations_principal", "operations")
