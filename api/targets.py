"""Targets: what there is, what each can do, whether it answers; and their registration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from adapters import registry
from api import asking
from api.body import StrictRoute
from api.deployments import ACCEPTED, PageSize, PageToken
from api.problems import path_of, responses
from api.requests import Who
from api.schemas import AdoptBody, CheckAnswer, TargetAnswer, TargetBody, TargetPage
from api.submitting import Asking, PathName, PreferHeader, description_of, once, rules_of, take
from operations import disclosure, presence, queries, submit, targets, views
from operations.database import database
from operations.idempotency import Stored
from operations.models import QuestionKind, Target, Worker
from operations.problems import (
    CheckUnanswered,
    FieldError,
    InvalidName,
    InvalidSettings,
    NotSupportedByTarget,
    UnknownTargetKind,
)
from operations.settings import settings

router = APIRouter(prefix="/v1/targets", tags=["targets"], route_class=StrictRoute)

NAME = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"


@router.get("", response_model=TargetPage, responses=responses(400, 422))
def list_(who: Who, page_size: PageSize = None, page_token: PageToken = None) -> dict[str, Any]:
    """The targets, and the kinds of target that can be registered."""
    with database().read() as session:
        page = queries.all_targets(session, page_size or settings().page_size, page_token, who)
        live = presence.live_workers(session)
        items = [_view(row, live) for row in page.items]
    kinds = [_kind(scheme, live) for scheme in registry.schemes()]
    return {"items": items, "kinds": kinds, "next_page_token": page.next_page_token}


@router.get("/{name}", response_model=TargetAnswer, responses=responses(404, 422))
def get(name: PathName) -> dict[str, Any]:
    """One target."""
    with database().read() as session:
        return _view(targets.get(session, name), presence.live_workers(session))


@router.get("/{name}/help", response_class=PlainTextResponse, responses=responses(404, 422))
def help_(name: PathName) -> str:
    """Every config key and setting of the target's kind, from the models that validate them."""
    with database().read() as session:
        description = description_of(targets.get(session, name))
    # a plugin's own words are asked for in a process, which no session waits for
    return description.help() + "\n"


@router.put(
    "/{name}",
    response_model=TargetAnswer,
    responses={201: {"model": TargetAnswer, "description": "Registered"}, **responses(400, 413, 415, 422)},
)
async def put(name: PathName, body: TargetBody, asking: Asking) -> Response:
    """Register the target, or change its settings, limits and credentials."""

    def act(session: Session) -> Stored:
        requires = checked(body.uri, body.settings)
        if not re.match(NAME, name):
            raise InvalidName.one("name", f"{name[:80]!r} is not allowed", f"It must match {NAME}.")
        row, created = targets.put(
            session,
            name=name,
            uri=body.uri,
            requires=requires,
            settings=body.settings,
            limits=body.limits.model_dump(exclude_none=True),
            credentials=body.credentials,
        )
        return Stored(201 if created else 200, {}, _view(row, presence.live_workers(session)))

    return await once(asking, act)


@router.delete("/{name}", status_code=204, response_model=None, responses=responses(404, 409, 413, 422))
async def remove(name: PathName, asking: Asking) -> Response:
    """Remove a target that has no deployments."""

    def act(session: Session) -> Stored:
        targets.remove(session, name)
        return Stored(204, {}, None)

    return await once(asking, act)


@router.post("/{name}/check", response_model=CheckAnswer, responses=responses(404, 422, 503, 504))
async def check(name: PathName, request: Request, prefer: PreferHeader = None) -> Any:
    """Have a worker reach the target with its credentials, and say what answered."""
    question_id = await run_in_threadpool(_ask, name)
    answer = await asking.answer(request, question_id, prefer)
    if answer is None:
        raise CheckUnanswered(f"no worker checked {name} in time")
    return JSONResponse({"ok": answer.ok, "message": answer.text, "checked_at": views.time_of(answer.at)})


@router.post("/{name}/adopt", status_code=202, responses=ACCEPTED, response_model=None)
async def adopt(name: PathName, body: AdoptBody, asking: Asking) -> Response:
    """Take an existing deployment of the target under management; its tags are set."""

    def act(session: Session) -> submit.Accepted:
        target = targets.get(session, name)
        if not description_of(target).capabilities.can_adopt:
            raise NotSupportedByTarget.one("name", "this kind of target has nothing to adopt", "create it instead")
        return submit.adopt(session, target, rules_of(target), body.name, body.labels, asking.asked())

    return await take(asking, act)


def checked(uri: str, settings: Mapping[str, Any]) -> str:
    """What a worker must offer for such a target. Raises UnknownTargetKind, InvalidSettings."""
    try:
        description, requires = registry.describe(uri), registry.requirement(uri)
    except (registry.UnknownScheme, ValueError) as error:
        kinds = ", ".join(registry.schemes())
        raise UnknownTargetKind.one(
            "uri", f"{uri[:200]!r} names no kind of target", f"The kinds are: {kinds}."
        ) from error
    disclosure.check_text(uri, "uri")
    disclosure.check(dict(settings), "settings")
    if not isinstance(settings.get("require_if_match", False), bool):
        raise InvalidSettings.one("settings.require_if_match", "is no boolean", "Give true or false.")
    try:
        description.settings_model.model_validate(targets.adapter_settings(settings))
    except ValidationError as error:
        faults = [
            FieldError(path_of(("settings", *fault["loc"])), fault["msg"], InvalidSettings.remedy)
            for fault in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise InvalidSettings(f"{faults[0].field}: {faults[0].message}", faults) from error
    return requires


def _kind(scheme: str, live: Sequence[Worker]) -> dict[str, Any]:
    """How many workers have what a target of this kind needs, on whatever host; where none has, what one says."""
    needed = registry.requirement(scheme).partition("@")[0]
    why = [text for worker in live for offer, text in worker.lacks.items() if offer.partition("@")[0] == needed]
    workers = sum(any(offer.partition("@")[0] == needed for offer in worker.offers) for worker in live)
    title = registry.describe(scheme).title
    return {"scheme": scheme, "title": title, "workers": workers, "lacks": why[0] if why and not workers else None}


def _view(row: Target, live: Sequence[Worker]) -> dict[str, Any]:
    try:
        description = registry.describe(row.uri)
    except registry.UnknownScheme as error:
        # the package that brought this kind was removed; what it served stays on record
        scheme = row.uri.split(":")[0]
        kind: dict[str, Any] = {"scheme": scheme, "title": str(error), "capabilities": {}, "config_schema": {}}
    else:
        kind = {
            "scheme": description.scheme,
            "title": description.title,
            "capabilities": asdict(description.capabilities),
            "config_schema": _schema(description.config_model),
        }
    return views.target(row, **kind, workers=sum(row.requires in worker.offers for worker in live))


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _ask(name: str) -> str:
    with database().write() as session:
        return asking.ask(session, QuestionKind.CHECK, targets.get(session, name))
