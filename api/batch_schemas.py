"""What requests for batches and their answers look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, StrictBool, StrictInt, StringConstraints, model_validator

from api.schemas import Answer, Body, Config, LabelKey, Labels, LabelValue, Name, Seconds, Traffic, Uri, VariantBody

MOST_ITEMS = 10_000


def _instant(value: Any) -> Any:
    """Strict models take no text for a time; RFC 3339 is text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


Percent = Annotated[str, StringConstraints(pattern=r"^(100|[1-9]?\d(\.\d+)?)%$")]
Amount = Annotated[StrictInt, Field(ge=1, le=MOST_ITEMS)] | Percent
Instant = Annotated[AwareDatetime, BeforeValidator(_instant)]


class ChangeBody(Body):
    """What happens to a deployment: the fields of PATCH, PUT or a rollback."""

    action: Literal["update", "apply", "rollback", "delete", "reconcile"] = "update"
    model_uri: Uri | None = Field(None, examples=["models:/iris/7"])
    flavor: Name | None = None
    config: Config | None = None
    variants: Annotated[list[VariantBody], Field(min_length=1, max_length=100)] | None = None
    traffic: Traffic | None = None
    labels: Annotated[dict[LabelKey, LabelValue | None], Field(max_length=64)] | None = None
    revision: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] | None = None

    def change(self) -> dict[str, Any]:
        """The action and the fields that were sent."""
        return {"action": self.action, **self.model_dump(exclude_unset=True, exclude_none=True, exclude={"action"})}


class ItemBody(ChangeBody):
    """One operation of an explicit list."""

    target: Name
    name: Name

    def change(self) -> dict[str, Any]:
        """The action and the fields that were sent, without the place."""
        sent = self.model_dump(exclude_unset=True, exclude_none=True, exclude={"action", "target", "name"})
        return {"action": self.action, **sent}


class SelectionBody(Body):
    """Which deployments; all that is given must match, and something must be given."""

    target: Name | None = None
    names: Annotated[list[Name], Field(min_length=1, max_length=MOST_ITEMS)] | None = None
    labels: Labels | None = None
    model: Uri | None = Field(None, description="serving any version of it", examples=["models:/iris"])
    below_version: Annotated[StrictInt, Field(ge=1)] | None = Field(None, description="of model, and no later one")
    model_uri: Uri | None = Field(None, description="serving exactly this")

    @model_validator(mode="after")
    def _something(self) -> SelectionBody:
        if not self.model_fields_set:
            raise ValueError("select something: target, names, labels, model or model_uri")
        if self.below_version is not None and self.model is None:
            raise ValueError("below_version needs model")
        return self


class WaveBody(Body):
    """A part that goes before the rest: by label, by size, or both; without either, all that is left."""

    size: Amount | None = None
    labels: Labels | None = None
    soak_seconds: Annotated[float, Field(ge=0, le=604_800)] = 0.0
    approval: StrictBool = False


class StrategyBody(Body):
    """How the batch is released."""

    max_concurrent: Amount = Field("100%", description="under way at once; a percentage is of all items, rounded up")
    max_failures: Amount = Field("10%", description="the most that may fail; it stops there and never exceeds it")
    on_failure: Literal["stop", "continue", "roll_back_changed"] = "stop"
    on_conflict: Literal["queue", "refuse"] = Field("queue", description="deployments of another open batch")
    waves: list[WaveBody] = Field([], max_length=50)
    start: Instant | None = Field(None, description="nothing starts before")
    end: Instant | None = Field(None, description="nothing starts from then on: the batch pauses")
    deadline_seconds: Seconds | None = Field(None, description="of each operation")

    def strategy(self) -> dict[str, Any]:
        """As it is recorded: instants in seconds."""
        document = self.model_dump()
        for key in ("start", "end"):
            document[key] = document[key].timestamp() if document[key] else None
        return document


class BatchBody(Body):
    """A selection and a change, or a list of operations; and how they are released."""

    selection: SelectionBody | None = None
    change: ChangeBody | None = None
    operations: Annotated[list[ItemBody], Field(min_length=1, max_length=MOST_ITEMS)] | None = None
    strategy: StrategyBody = StrategyBody()


class AdjustBody(Body):
    """What can change while a batch runs."""

    max_concurrent: Amount | None = None
    start: Instant | None = None
    end: Instant | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that were sent; instants in seconds."""
        sent = self.model_dump(exclude_unset=True)
        return {key: value.timestamp() if isinstance(value, datetime) else value for key, value in sent.items()}


class WaveNumberBody(Body):
    """Which wave is approved: what comes behind it may begin."""

    wave: Annotated[StrictInt, Field(ge=0)]


class BatchAnswer(Answer):
    """A batch and its counters."""

    id: str
    state: Literal[
        "planned",
        "running",
        "paused",
        "awaiting_approval",
        "stopping",
        "succeeded",
        "partly_failed",
        "stopped",
        "aborted",
    ]
    final: bool
    reason: str
    change: dict[str, Any]
    selection: dict[str, Any] | None
    strategy: dict[str, Any]
    total: int
    counters: dict[str, int]
    waves: list[dict[str, Any]]
    wave: int
    percent: float
    per_second: float | None
    seconds_left: float | None
    parent: str | None
    relation: Literal["retry", "roll_back"] | None
    version: int
    created_at: str
    started_at: str | None
    finished_at: str | None


class BatchDetail(BatchAnswer):
    """With what people ask when they watch it."""

    targets: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    waits_for: list[dict[str, Any]]


class PlanAnswer(BatchAnswer):
    """A batch that was planned and has not begun, and what it would do."""

    summary: dict[str, int]
    estimate: dict[str, Any]
    items: list[dict[str, Any]]


class BatchItemAnswer(Answer):
    """One item of a batch."""

    number: int
    target: str
    name: str
    wave: int
    state: Literal["pending", "released", "succeeded", "unchanged", "failed", "refused", "cancelled", "not_started"]
    change: dict[str, Any] | None
    operation: str | None
    from_revision: int | None
    problem: dict[str, Any] | None
    released_at: str | None
    ended_at: str | None


class BatchPage(Answer):
    """Batches, the newest first."""

    items: list[BatchAnswer]
    next_page_token: str | None


class BatchItemPage(Answer):
    """A batch's items, in order."""

    items: list[BatchItemAnswer]
    next_page_token: str | None
