"""Targets: what there is, what each can do, whether it answers; and their registration."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from adapters import registry
from api.body import StrictRoute
from api.deployments import ACCEPTED, PageSize, PageToken
from api.problems import responses
from api.schemas import AdoptBody, CheckAnswer, TargetAnswer, TargetBody, TargetPage
from api.submitting import PathName, PreferHeader, Submission, rules_of, take
from api.waiting import preferred_wait
from operations import checks, presence, queries, queue, submit, targets, views
from operations.clock import to_datetime
from operations.database import database
from operations.models import Target
from operations.problems import (
    CheckUnanswered,
    FieldError,
    InvalidConfig,
    InvalidField,
    NotSupportedByTarget,
    TargetNotServed,
)
from operations.settings import settings
from operations.states import Lane

router = APIRouter(prefix="/v1/targets", tags=["targets"], route_class=StrictRoute)

CHECK_SECONDS = 10.0
CHECK_POLL_SECONDS = 0.1

Asking = Annotated[Submission, Depends()]


@router.get("", response_model=TargetPage, responses=responses(400, 422))
def list_(page_size: PageSize = None, page_token: PageToken = None) -> dict[str, Any]:
    """The targets."""
    with database().read() as session:
        page = queries.all_targets(session, page_size or settings().page_size, page_token)
        return {"items": [_view(session, row) for row in page.items], "next_page_token": page.next_page_token}


@router.get("/{name}", response_model=TargetAnswer, responses=responses(404, 422))
def get(name: PathName) -> dict[str, Any]:
    """One target."""
    with database().read() as session:
        return _view(session, targets.get(session, name))


@router.get("/{name}/help", response_class=PlainTextResponse, responses=responses(404, 422))
def help_(name: PathName) -> str:
    """Every config key and setting of the target's kind, from the models that validate them."""
    with database().read() as session:
        uri = targets.get(session, name).uri
    return registry.describe(uri).help() + "\n"


@router.put(
    "/{name}", response_model=TargetAnswer, responses={201: {"model": TargetAnswer}, **responses(400, 415, 422)}
)
def put(name: PathName, body: TargetBody, response: Response) -> dict[str, Any]:
    """Register the target, or change its settings, limits and credentials."""
    try:
        description = registry.describe(body.uri)
        requires = registry.requirement(body.uri)
    except (registry.UnknownScheme, ValueError) as error:
        raise InvalidField.one("uri", str(error)[:500], "use a scheme that is listed") from error
    ours = {key: body.settings[key] for key in ("require_if_match",) if key in body.settings}
    try:
        description.settings_model.model_validate({k: v for k, v in body.settings.items() if k not in ours})
    except ValidationError as error:
        faults = [
            FieldError("settings." + ".".join(map(str, fault["loc"])), fault["msg"], InvalidConfig.remedy)
            for fault in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise InvalidConfig(f"{faults[0].field}: {faults[0].message}", faults) from error
    with database().write() as session:
        row, created = targets.put(
            session,
            name=name,
            uri=body.uri,
            requires=requires,
            settings=body.settings,
            limits=body.limits.model_dump(exclude_none=True),
            credentials=body.credentials,
        )
        document = _view(session, row)
    response.status_code = 201 if created else 200
    return document


@router.delete("/{name}", status_code=204, responses=responses(404, 409, 422))
def remove(name: PathName) -> None:
    """Remove a target that has no deployments."""
    with database().write() as session:
        targets.remove(session, name)


@router.post("/{name}/check", response_model=CheckAnswer, responses=responses(404, 422, 503, 504))
async def check(name: PathName, prefer: PreferHeader = None) -> Any:
    """Have a worker reach the target with its credentials, and say what answered."""
    asked_at = await run_in_threadpool(_ask, name)
    queue.hint(Lane.LOOK)
    loop = asyncio.get_running_loop()
    until = loop.time() + (preferred_wait(prefer) or CHECK_SECONDS)
    while loop.time() < until:
        answer = await run_in_threadpool(_answered, name, asked_at)
        if answer is not None:
            return JSONResponse(answer)
        await asyncio.sleep(CHECK_POLL_SECONDS)
    raise CheckUnanswered(f"no worker checked {name} in time")


@router.post("/{name}/adopt", status_code=202, responses=ACCEPTED, response_model=None)
async def adopt(name: PathName, body: AdoptBody, asking: Asking) -> JSONResponse:
    """Take an existing deployment of the target under management; its tags are set."""

    def act(session: Session) -> submit.Accepted:
        target = targets.get(session, name)
        if not registry.describe(target.uri).capabilities.can_adopt:
            raise NotSupportedByTarget.one("name", "this kind of target has nothing to adopt", "create it instead")
        return submit.adopt(session, target, rules_of(target), body.name, body.labels, asking.asked())

    return await take(asking, act)


def _view(session: Session, row: Target) -> dict[str, Any]:
    description = registry.describe(row.uri)
    workers = sum(row.requires in worker.offers for worker in presence.live_workers(session))
    return views.target(
        row,
        scheme=description.scheme,
        title=description.title,
        capabilities=vars(description.capabilities),
        workers=workers,
    )


def _ask(name: str) -> float:
    with database().write() as session:
        target = targets.get(session, name)
        live = presence.live_workers(session)
        if not any(target.requires in worker.offers for worker in live):
            why = {worker.lacks[target.requires] for worker in live if target.requires in worker.lacks}
            raise TargetNotServed("; ".join(sorted(why)) or f"no live worker offers {target.requires}")
        return checks.ask(session, target)


def _answered(name: str, asked_at: float) -> dict[str, Any] | None:
    with database().read() as session:
        target = targets.get(session, name)
        if target.checked_at is None or target.checked is None or target.checked_at < asked_at:
            return None
        return {**target.checked, "checked_at": to_datetime(target.checked_at).isoformat()}
