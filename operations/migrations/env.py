"""Alembic's environment: runs the migrations over the connection that ``operations.__main__`` hands it."""

from alembic import context

from operations.batches import models as _batches  # noqa: F401  # known to the metadata once imported
from operations.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
