"""The tables of batches: many changes released together under limits."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Enum, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from operations.clock import now
from operations.ids import new_id
from operations.models import Base, Document


class BatchState(StrEnum):
    """Where a batch stands. *stopping*: nothing new starts, and it ends once nothing of it is under way."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    AWAITING_APPROVAL = "awaiting_approval"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    PARTLY_FAILED = "partly_failed"
    STOPPED = "stopped"
    ABORTED = "aborted"


class ItemState(StrEnum):
    """Where one item stands; *released* means that its operation is on record and has not ended."""

    PENDING = "pending"
    RELEASED = "released"
    SUCCEEDED = "succeeded"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    NOT_STARTED = "not_started"


ENDED = frozenset({BatchState.SUCCEEDED, BatchState.PARTLY_FAILED, BatchState.STOPPED, BatchState.ABORTED})
OPEN = frozenset({ItemState.PENDING, ItemState.RELEASED})
UNSUCCESSFUL = frozenset({ItemState.FAILED, ItemState.REFUSED})


def _word(kind: type[StrEnum]) -> Enum:
    return Enum(
        kind, native_enum=False, create_constraint=False, length=20, values_callable=lambda e: [m.value for m in e]
    )


class Batch(Base):
    """One request to change many deployments.

    ``due_at`` is when its releaser has something to do, NULL when nothing is under way and nothing may start; while a
    worker releases it is when that worker's turn ends. ``ends_as`` is what *stopping* comes to. ``grants`` is what the
    principal might do when it asked, and is asked again for each item; None is the service itself.
    """

    __tablename__ = "batches"
    __table_args__ = (
        Index(
            "ix_batches_due",
            "due_at",
            sqlite_where=text("due_at IS NOT NULL"),
            postgresql_where=text("due_at IS NOT NULL"),
        ),
        Index("ix_batches_created_at_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    state: Mapped[BatchState] = mapped_column(_word(BatchState))
    reason: Mapped[str] = mapped_column(default="")
    ends_as: Mapped[BatchState | None] = mapped_column(_word(BatchState))
    change: Mapped[Document]
    selection: Mapped[Document | None]
    strategy: Mapped[Document]
    total: Mapped[int]
    wave: Mapped[int] = mapped_column(default=0)
    wave_settled_at: Mapped[float | None]
    approved_wave: Mapped[int] = mapped_column(default=-1)
    due_at: Mapped[float | None]
    released_by: Mapped[str | None]
    parent_id: Mapped[str | None]
    relation: Mapped[str | None]
    principal: Mapped[str]
    grants: Mapped[list[Document] | None]
    request_id: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float] = mapped_column(default=now())
    updated_at: Mapped[float] = mapped_column(default=now())
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class BatchItem(Base):
    """One deployment of a batch. ``change`` is its own where it differs from the batch's.

    ``generation`` is the deployment's when a plan was made; ``from_revision`` is what served when it was released.
    """

    __tablename__ = "batch_items"
    __table_args__ = (
        Index("ix_batch_items_state", "batch_id", "state", "wave", "number"),
        Index(
            "ix_batch_items_open",
            "target_id",
            "name",
            sqlite_where=text("state IN ('pending', 'released')"),
            postgresql_where=text("state IN ('pending', 'released')"),
        ),
    )

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    wave: Mapped[int] = mapped_column(default=0)
    target_id: Mapped[str] = mapped_column(ForeignKey("targets.id"))
    name: Mapped[str]
    deployment_id: Mapped[str | None]
    change: Mapped[Document | None]
    generation: Mapped[int | None]
    state: Mapped[ItemState] = mapped_column(_word(ItemState), default=ItemState.PENDING)
    operation_id: Mapped[str | None]
    from_revision: Mapped[int | None]
    error: Mapped[Document | None]
    released_at: Mapped[float | None]
    ended_at: Mapped[float | None]
