"""The audit, for administrators: what was changed by whom, and whether the record itself was changed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from api import audited
from api.body import StrictRoute
from api.deployments import PageSize, PageToken
from api.problems import responses
from api.schemas import Answer, Body
from operations import auditing
from operations.database import database
from operations.settings import settings

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=StrictRoute)

Word = Annotated[str | None, Query(max_length=600)]


class EntryAnswer(Answer):
    """One change that was accepted, refused, or failed."""

    number: int
    id: str
    at: str
    principal: str
    address: str
    request_id: str | None
    action: str
    outcome: Literal["accepted", "refused", "failed"]
    status: int
    target: str | None
    deployment: str | None
    subject: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    more: dict[str, Any]
    digest: str
    hash: str


class EntryPage(Answer):
    """Entries, in the order of the chain."""

    items: list[EntryAnswer]
    next_page_token: str | None


class VerifyBody(Body):
    """A head that was noted elsewhere."""

    head: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="NUMBER:HASH, as an earlier verify or the log had it; a chain that was cut is found with it"
    )


class VerdictAnswer(Answer):
    """Whether the chain holds; ``head`` is worth noting elsewhere."""

    ok: bool
    entries: int
    head: str
    fault: str | None


@router.get("", response_model=EntryPage, responses=responses(400, 422))
def list_(
    principal: Word = None,
    action: Word = None,
    outcome: Literal["accepted", "refused", "failed"] | None = None,
    target: Word = None,
    deployment: Word = None,
    page_size: PageSize = None,
    page_token: PageToken = None,
) -> dict[str, Any]:
    """The chained entries. New ones are chained within a second or so."""
    size = page_size or settings().page_size
    wanted = {
        "principal": principal, "action": action, "outcome": outcome, "target": target, "deployment": deployment
    }  # fmt: skip
    with database().read() as session:
        return vars(auditing.entries(session, page_size=size, page_token=page_token, **wanted))


@router.post("/verify", response_model=VerdictAnswer, responses=responses(400, 413, 415, 422))
def verify(body: VerifyBody | None = None) -> dict[str, Any]:
    """Chain what waits, then walk the whole chain and say the first thing that is wrong."""
    while audited.seal():
        pass
    check = auditing.Check(body.head if body else None)
    verdict = None
    while verdict is None:
        with database().read() as session:
            verdict = check.step(session)
    return vars(verdict)
