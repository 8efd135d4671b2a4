"""API keys, for administrators; and who one is, for everybody."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api import audited
from api.body import StrictRoute
from api.problems import responses
from api.requests import Who
from api.schemas import Answer, Body, Labels, Name
from api.submitting import PathName
from operations import keys
from operations.access import Grant
from operations.database import database
from operations.keys import Made
from operations.models import ApiKey
from operations.settings import settings
from operations.views import time_of

router = APIRouter(tags=["keys"], route_class=StrictRoute)

KeyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
Lifetime = Annotated[float, Field(gt=0, le=315_360_000, description="null: it never expires")]
DAY_SECONDS = 86_400
# a secret that is shown once is kept by no cache
NO_STORE = {"Cache-Control": "no-store"}


class GrantBody(Body):
    """A role, on some targets and on deployments with some labels, each of them everywhere when empty."""

    role: Literal["viewer", "predictor", "deployer", "admin"]
    targets: list[Name] = Field([], max_length=1000)
    labels: Labels = Field({})


class KeyBody(Body):
    """A key to make."""

    name: KeyName
    grants: Annotated[list[GrantBody], Field(min_length=1, max_length=100)]
    expires_seconds: Lifetime | None = Field(None, description="from now; absent: as the settings say")


class RotateBody(Body):
    """How a key is replaced."""

    overlap_seconds: Annotated[float, Field(ge=0, le=31_536_000)] | None = Field(
        None, description="how long the old one goes on; absent: as the settings say"
    )
    expires_seconds: Lifetime | None = Field(None, description="of the new one; absent: as the settings say")


class GrantAnswer(Answer):
    """A role, and where."""

    role: Literal["viewer", "predictor", "deployer", "admin"]
    targets: list[str]
    labels: dict[str, str]


class KeyAnswer(Answer):
    """A key, without its secret."""

    id: str
    name: str
    prefix: str
    state: Literal["live", "expired", "revoked"]
    grants: list[GrantAnswer]
    created_at: str
    created_by: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class MadeAnswer(KeyAnswer):
    """A new key; ``key`` is shown here and never again."""

    key: str


class KeyList(Answer):
    """Every key that there is or was."""

    items: list[KeyAnswer]


class MeAnswer(Answer):
    """Who asks, and what it may do."""

    principal: str
    grants: list[GrantAnswer]


@router.get("/v1/me", response_model=MeAnswer, responses=responses(401, 422))
def me(who: Who) -> dict[str, Any]:
    """Who you are to this service, and what you may do."""
    return {"principal": who.name, "grants": who.to_json()}


@router.get("/v1/keys", response_model=KeyList, responses=responses(422))
def list_() -> dict[str, Any]:
    """The keys, without their secrets."""
    with database().read() as session:
        return {"items": [_view(row) for row in keys.all_keys(session)]}


@router.post("/v1/keys", status_code=201, response_model=MadeAnswer, responses=responses(400, 409, 413, 415, 422))
async def create(body: KeyBody, request: Request, who: Who) -> Response:
    """Make a key. Its secret is in this answer alone; no Idempotency-Key keeps it."""
    grants = [Grant.from_json(grant.model_dump(), f"grants[{place}]") for place, grant in enumerate(body.grants)]
    lifetime = _lifetime(body)
    return await _made(request, lambda s: keys.create(s, body.name, grants, expires_in=lifetime, by=who.name))


@router.post(
    "/v1/keys/{name}/rotate",
    status_code=201,
    response_model=MadeAnswer,
    responses=responses(400, 404, 413, 415, 422),
)
async def rotate(name: PathName, request: Request, who: Who, body: RotateBody | None = None) -> Response:
    """Make another key of this name with the same grants; the old one goes on for the overlap."""
    body = body or RotateBody()
    overlap = settings().key_overlap_seconds if body.overlap_seconds is None else body.overlap_seconds
    lifetime = _lifetime(body)
    return await _made(request, lambda s: keys.rotate(s, name, overlap=overlap, expires_in=lifetime, by=who.name))


@router.delete("/v1/keys/{name}", response_model=KeyList, responses=responses(404, 413, 422))
def revoke(name: PathName, request: Request) -> dict[str, Any]:
    """End every key of this name, in this process at once and in others within seconds."""
    with database().write() as session:
        ended = [_view(row) for row in keys.revoke(session, name)]
        audited.accepted(session, request, 200)
    request.state.audited = True
    request.app.state.door.keyring.forget()
    return {"items": ended}


def _lifetime(body: KeyBody | RotateBody) -> float | None:
    return body.expires_seconds if "expires_seconds" in body.model_fields_set else settings().key_days * DAY_SECONDS


async def _made(request: Request, make: Callable[[Session], Made]) -> Response:
    def act() -> dict[str, Any]:
        with database().write() as session:
            made = make(session)
            audited.accepted(session, request, 201)
            return {**_view(made.row), "key": made.secret}

    document = await run_in_threadpool(act)
    request.state.audited = True
    request.app.state.door.keyring.forget()
    return JSONResponse(document, 201, headers=NO_STORE)


def _view(row: ApiKey) -> dict[str, Any]:
    expired = row.expires_at is not None and row.expires_at <= time()
    return {
        "id": row.id,
        "name": row.name,
        "prefix": row.prefix,
        "state": "revoked" if row.revoked_at is not None else "expired" if expired else "live",
        "grants": row.grants,
        "created_at": time_of(row.created_at),
        "created_by": row.created_by,
        "expires_at": time_of(row.expires_at),
        "revoked_at": time_of(row.revoked_at),
        "last_used_at": time_of(row.last_used_at),
    }
