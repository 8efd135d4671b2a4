"""What requests and answers look like; unknown fields are refused, never ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Uri = Annotated[str, StringConstraints(max_length=4096)]
Traffic = dict[Name, StrictInt]
LABEL_KEY = r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$"
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY)]
LabelValue = Annotated[str, StringConstraints(max_length=256)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64, examples=[{"team": "vision"}])]
Config = dict[str, Any]
Seconds = Annotated[float, Field(gt=0, le=604_800, description="counted from the operation's start")]


class Body(BaseModel):
    """Base of all request bodies."""

    model_config = ConfigDict(extra="forbid", strict=True)


class VariantBody(Body):
    """One model behind a deployment."""

    name: Name
    model_uri: Uri
    flavor: Name | None = None
    config: Config = {}


class SpecBody(Body):
    """A specification: either one model in short, or variants with their traffic."""

    model_uri: Uri | None = Field(None, examples=["models:/iris/1"])
    flavor: Name | None = None
    config: Config | None = None
    variants: Annotated[list[VariantBody], Field(max_length=100)] | None = None
    traffic: Traffic | None = Field(None, description="whole percent by variant; sums to 100")
    labels: Labels | None = None
    deadline_seconds: Seconds | None = None

    def spec(self) -> dict[str, Any]:
        """The arguments of ``specs.build``."""
        variants = None if self.variants is None else [variant.model_dump() for variant in self.variants]
        return {
            "model_uri": self.model_uri,
            "flavor": self.flavor,
            "config": self.config,
            "variants": variants,
            "traffic": self.traffic,
        }


class CreateBody(SpecBody):
    """A new deployment."""

    target: Name
    name: Name


class PatchBody(Body):
    """What to change; what is not sent stays. Null removes a config key or a label."""

    model_uri: Uri = ""
    flavor: Name | None = None
    config: Config = {}
    variants: Annotated[list[VariantBody], Field(max_length=100)] = []
    traffic: Traffic = {}
    labels: Annotated[dict[LabelKey, LabelValue | None], Field(max_length=64)] = {}
    deadline_seconds: Seconds | None = None

    def change(self) -> dict[str, Any]:
        """The fields that were sent."""
        return self.model_dump(exclude_unset=True)


class RollbackBody(Body):
    """Where to go back to; without a revision, to the last that served before."""

    revision: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] | None = None
    deadline_seconds: Seconds | None = None


class TrafficBody(Body):
    """How traffic shall split."""

    traffic: Traffic
    deadline_seconds: Seconds | None = None


class AdoptBody(Body):
    """An existing deployment of the target to take under management."""

    name: Name
    labels: Labels = {}


class LimitsBody(Body):
    """The target's limits where they differ from its kind's defaults."""

    writes: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    per_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    parallel: Annotated[StrictInt, Field(ge=1, le=1000)] | None = None


class TargetBody(Body):
    """A target to register."""

    uri: Uri = Field(examples=["local"])
    settings: Config = {}
    limits: LimitsBody = LimitsBody()
    credentials: Annotated[str, StringConstraints(pattern=r"^(env|file|aws-secret):.+$", max_length=1024)] | None = (
        Field(
            None,
            description="a reference (env:NAME, file:PATH, aws-secret:REGION/NAME), resolved at use; never the secret",
        )
    )


class Answer(BaseModel):
    """Base of all answers."""


class VariantAnswer(Answer):
    """One model behind a deployment, and the fixed version that its URI was resolved to."""

    name: str
    model_uri: str
    flavor: str | None
    config: Config
    resolved_uri: str | None


class RevisionAnswer(Answer):
    """An immutable specification."""

    number: int
    variants: list[VariantAnswer]
    traffic: dict[str, int]
    created_at: str
    landed_at: str | None


class DeploymentAnswer(Answer):
    """A deployment."""

    target: str
    name: str
    id: str
    generation: int
    labels: dict[str, str]
    status: Literal["creating", "changing", "deleting", "serving", "absent"]
    current: RevisionAnswer | None
    tip: RevisionAnswer | None
    operation: str | None
    unfinished: int
    observed: dict[str, Any]
    observed_at: str | None
    created_at: str
    updated_at: str


class ErrorAnswer(Answer):
    """Why an operation failed."""

    type: str
    title: str
    detail: str


class LeftoverAnswer(Answer):
    """A thing that stayed behind on the target."""

    kind: str
    name: str
    why: str


class OperationAnswer(Answer):
    """An operation."""

    id: str
    target: str
    deployment: str
    kind: Literal["create", "update", "traffic", "rollback", "delete", "reconcile", "adopt"]
    state: Literal["queued", "starting", "waiting", "undoing", "succeeded", "failed", "cancelled"]
    phase: str
    message: str
    revision: int | None
    from_revision: int | None
    attempts: int
    not_before: str | None
    waits_for: str | None
    error: ErrorAnswer | None
    leftovers: list[LeftoverAnswer]
    deadline_seconds: float
    deadline_at: str | None
    cancelled_by: str | None
    retry_of: str | None
    created_at: str
    started_at: str | None
    updated_at: str
    finished_at: str | None
    final: bool


class EventAnswer(Answer):
    """One line of an operation's history."""

    number: int
    at: str
    state: str
    message: str
    by: str


class TargetAnswer(Answer):
    """A target."""

    name: str
    uri: str
    scheme: str
    title: str
    capabilities: dict[str, Any]
    config_schema: dict[str, Any] = Field(description="JSON Schema of a variant's config")
    settings: Config
    limits: dict[str, Any]
    workers: int
    created_at: str


class CheckAnswer(Answer):
    """What a check of a target came to."""

    ok: bool
    message: str
    checked_at: str


class PartAnswer(Answer):
    """A part that the service needs."""

    ok: bool
    reason: str | None


class ReadyAnswer(Answer):
    """Whether the service can do its work."""

    ready: bool
    parts: dict[str, PartAnswer]


class DeploymentPage(Answer):
    """Deployments, the oldest first."""

    items: list[DeploymentAnswer]
    next_page_token: str | None


class RevisionPage(Answer):
    """Revisions, the newest first."""

    items: list[RevisionAnswer]
    next_page_token: str | None


class OperationPage(Answer):
    """Operations, the newest first."""

    items: list[OperationAnswer]
    next_page_token: str | None


class EventPage(Answer):
    """An operation's events, in order."""

    items: list[EventAnswer]
    next_page_token: str | None


class KindAnswer(Answer):
    """A kind of target that can be registered; without live workers that have what it needs, ``lacks`` says why."""

    scheme: str
    title: str
    workers: int
    lacks: str | None


class TargetPage(Answer):
    """Targets, the oldest first, and the kinds that there are: modelport's own, and every plugin that is installed."""

    items: list[TargetAnswer]
    kinds: list[KindAnswer]
    next_page_token: str | None
