"""The documents of the HTTP interface.

A newer server may add fields and words; they are kept, so an older client goes on working. Times are aware datetimes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

JSON = dict[str, Any]
Item = TypeVar("Item")

FINAL = frozenset({"succeeded", "failed", "cancelled"})


class Document(BaseModel):
    """One document as the server sent it; ``document`` is that, to the letter."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    _document: JSON | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(value)
        if isinstance(value, Mapping):
            made._document = dict(value)
        return made

    @property
    def document(self) -> JSON:
        """The JSON that this was made from."""
        return self.model_dump(mode="json") if self._document is None else self._document


class Variant(Document):
    """One model behind a deployment. ``resolved_uri`` is the fixed version that ``model_uri`` named at the time."""

    name: str
    model_uri: str
    flavor: str | None = None
    config: JSON = Field(default_factory=dict)
    resolved_uri: str | None = None


class Revision(Document):
    """An immutable, numbered specification. ``traffic`` is in whole percent; ``landed_at``: None if it never served."""

    number: int
    variants: list[Variant]
    traffic: dict[str, int]
    created_at: datetime
    landed_at: datetime | None = None


class Deployment(Document):
    """What answers predictions under one name on one target.

    ``status`` is creating, changing, deleting, serving or absent. ``current`` serves now; ``tip`` is what the last
    unfinished operation will make of it. ``operation`` is the id of the one under way or next.
    """

    target: str
    name: str
    id: str
    generation: int
    labels: dict[str, str] = Field(default_factory=dict)
    status: str
    current: Revision | None = None
    tip: Revision | None = None
    operation: str | None = None
    unfinished: int = 0
    observed: JSON = Field(default_factory=dict)
    observed_at: datetime | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def etag(self) -> str:
        """What ``if_match`` compares: the generation, as an entity tag."""
        return f'"{self.generation}"'


class OperationError(Document):
    """Why an operation failed."""

    type: str
    title: str
    detail: str = ""


class Leftover(Document):
    """A thing that stayed behind on the target: what kind, its name there, and why it is still there."""

    kind: str
    name: str
    why: str = ""


class Operation(Document):
    """One request to bring one deployment to a revision.

    ``state`` is queued, starting, waiting, undoing, succeeded, failed or cancelled; ``final`` says that it has ended.
    ``message`` is the target's own words. ``waits_for`` and ``not_before`` tell what holds it back.
    """

    id: str
    target: str
    deployment: str
    kind: str
    state: str
    phase: str | None = None
    message: str = ""
    revision: int | None = None
    from_revision: int | None = None
    attempts: int = 0
    not_before: datetime | None = None
    waits_for: str | None = None
    error: OperationError | None = None
    leftovers: list[Leftover] = Field(default_factory=list)
    deadline_seconds: float | None = None
    deadline_at: datetime | None = None
    cancelled_by: str | None = None
    retry_of: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    updated_at: datetime
    finished_at: datetime | None = None
    final: bool


class Event(Document):
    """One line of an operation's history, numbered within it from 1."""

    number: int
    at: datetime
    state: str
    message: str = ""
    by: str = ""

    @property
    def final(self) -> bool:
        """Whether this is the last one."""
        return self.state in FINAL


class Target(Document):
    """A named place where models are served. ``workers`` counts the live ones that can serve it.

    ``config_schema`` is the JSON schema of a variant's config, None where the server does not tell it.
    """

    name: str
    uri: str
    scheme: str
    title: str = ""
    capabilities: JSON = Field(default_factory=dict)
    settings: JSON = Field(default_factory=dict)
    limits: JSON = Field(default_factory=dict)
    workers: int = 0
    config_schema: JSON | None = None
    created_at: datetime


class Kind(Document):
    """A kind of target that the server knows. Without ``workers`` that have what it needs, ``lacks`` says why."""

    scheme: str
    title: str = ""
    workers: int = 0
    lacks: str | None = None


class Check(Document):
    """What a worker found when it tried to reach a target."""

    ok: bool
    message: str = ""
    checked_at: datetime | None = None


class Grant(Document):
    """A role, on some targets and on deployments with some labels, each of them everywhere when empty."""

    role: str
    targets: list[str] = Field(default_factory=list)
    labels: dict[str, str] = Field(default_factory=dict)


class Key(Document):
    """An API key. ``key`` is the secret, which only the answer that made it has."""

    name: str
    prefix: str
    state: str
    grants: list[Grant]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    key: str | None = Field(None, repr=False)


class Keys(Document):
    """Several keys."""

    items: list[Key]


class AuditEntry(Document):
    """One change that was accepted, refused, or failed: who, from where, what, before and after."""

    number: int
    at: datetime
    principal: str
    address: str
    action: str
    outcome: str
    status: int
    target: str | None = None
    deployment: str | None = None
    subject: str | None = None
    request_id: str | None = None
    before: JSON | None = None
    after: JSON | None = None


class Verdict(Document):
    """Whether the audit's chain holds, and ``head``, which is worth noting elsewhere."""

    ok: bool
    entries: int
    head: str
    fault: str | None = None


class Batch(Document):
    """Many changes released together.

    ``state`` is planned, running, paused, awaiting_approval or stopping, and ends (``final``) as succeeded,
    partly_failed, stopped or aborted. ``counters`` counts the items by state, ``waves`` those of each wave; ``wave`` is
    the one that goes now. ``version`` grows each time that it moves. ``per_second`` and ``seconds_left`` are its pace.
    ``targets``, ``failures`` (by reason) and ``waits_for`` are told by ``Client.batch`` and ``Client.batch_events``.
    """

    id: str
    state: str
    final: bool
    reason: str = ""
    change: JSON
    selection: JSON | None = None
    strategy: JSON
    total: int
    counters: dict[str, int]
    waves: list[JSON] = Field(default_factory=list)
    wave: int = 0
    percent: float = 0.0
    per_second: float | None = None
    seconds_left: float | None = None
    parent: str | None = None
    relation: str | None = None
    version: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    targets: list[JSON] = Field(default_factory=list)
    failures: list[JSON] = Field(default_factory=list)
    waits_for: list[JSON] = Field(default_factory=list)

    @property
    def done(self) -> int:
        """How many items have ended, however."""
        return self.total - self.counters.get("pending", 0) - self.counters.get("released", 0)

    @property
    def words(self) -> str:
        """The state, to be read."""
        return self.state.replace("_", " ")

    @property
    def counted(self) -> str:
        """The counters that are not zero, to be read: ``11 succeeded, 1 failed, 4 under way``."""
        names = {"released": "under way"}
        shown = [
            f"{count} {names.get(state, state.replace('_', ' '))}" for state, count in self.counters.items() if count
        ]
        return ", ".join(shown) or "no items"


class PlannedItem(Document):
    """What would happen to one deployment.

    ``action`` is create, update, rollback, delete, reconcile, no_change or refused (``problem`` tells why).
    ``difference`` has the parts of the specification that change, ``from`` and ``to``. ``under_way`` is the operation,
    ``behind_batch`` the open batch that goes first.
    """

    target: str
    name: str
    action: str
    difference: JSON | None = None
    problem: JSON | None = None
    under_way: str | None = None
    behind_batch: str | None = None


class BatchPlan(Batch):
    """A batch that was planned and has not begun: what it would do to each item, counted, and how long it will take.

    ``estimate`` has ``seconds`` and ``limited_by``.
    """

    summary: dict[str, int]
    estimate: JSON
    items: list[PlannedItem]


class BatchItem(Document):
    """One item of a batch.

    ``state`` is pending, released (its ``operation`` is on record), succeeded, unchanged, failed, refused, cancelled or
    not_started. ``change`` is its own, None where the batch's holds. ``problem`` tells why it failed or was refused.
    """

    number: int
    target: str
    name: str
    wave: int = 0
    state: str
    change: JSON | None = None
    operation: str | None = None
    from_revision: int | None = None
    problem: JSON | None = None
    released_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a list; ``next_page_token`` is None on the last."""

    items: list[Item]
    next_page_token: str | None = None


@dataclass(frozen=True)
class Prediction:
    """One answer to a prediction, the model's own body untouched.

    ``origin`` is ``model`` also where the model itself answered with an error: look at ``ok`` or ``status``.
    ``revision`` and ``variant`` tell who answered, where that is known.
    """

    status: int
    body: bytes
    content_type: str = ""
    variant: str | None = None
    revision: int | None = None
    origin: str = "model"

    @property
    def ok(self) -> bool:
        """Whether the model answered with success."""
        return self.status < 400

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body read as JSON. Raises ValueError where it is none."""
        return json.loads(self.body)
