"""Deployments and their revisions."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response

from api.body import StrictRoute
from api.problems import responses
from api.requests import Who
from api.schemas import (
    LABEL_KEY,
    CreateBody,
    DeploymentAnswer,
    DeploymentPage,
    OperationAnswer,
    PatchBody,
    RevisionAnswer,
    RevisionPage,
    RollbackBody,
    SpecBody,
    TrafficBody,
)
from api.submitting import Asking, PathName, rules_of, take
from operations import access, queries, specs, submit, targets, views
from operations.access import Permission
from operations.database import database
from operations.problems import InvalidField
from operations.settings import settings

router = APIRouter(prefix="/v1/deployments", tags=["deployments"], route_class=StrictRoute)

PageSize = Annotated[int | None, Query(ge=1, le=1000)]
PageToken = Annotated[str | None, Query(max_length=2048)]
ETAG = {"ETag": {"schema": {"type": "string"}, "description": "the deployment's generation, for If-Match"}}
LOCATION = {"Location": {"schema": {"type": "string"}, "description": "the operation"}}
ACCEPTED: dict[int | str, dict[str, Any]] = {
    200: {"model": DeploymentAnswer | OperationAnswer, "headers": ETAG, "description": "Nothing to do, or it ended"},
    202: {"model": OperationAnswer, "headers": {**ETAG, **LOCATION}, "description": "Recorded; follow Location"},
    **responses(400, 404, 409, 412, 413, 415, 422, 428),
}


@router.post("", status_code=202, responses=ACCEPTED, response_model=None)
async def create(body: CreateBody, asking: Asking) -> Response:
    """Create a deployment."""
    asking.about(body.target, body.name)

    def act(session: Any) -> submit.Accepted:
        access.check_target(asking.who, Permission.DEPLOY, body.target)
        target = targets.get(session, body.target)
        rules = rules_of(target)
        spec = specs.build(rules, **body.spec())
        return submit.create(
            session, target, rules, body.name, spec, body.labels or {}, asking.asked(body.deadline_seconds)
        )

    return await take(asking, act)


@router.put("/{target}/{name}", status_code=202, responses=ACCEPTED, response_model=None)
async def apply(target: PathName, name: PathName, body: SpecBody, asking: Asking) -> Response:
    """Create the deployment or bring it to this specification; no difference, no operation."""

    def act(session: Any) -> submit.Accepted:
        row = targets.get(session, target)
        rules = rules_of(row)
        spec = specs.build(rules, **body.spec())
        return submit.apply(session, row, rules, name, spec, body.labels, asking.asked(body.deadline_seconds))

    return await take(asking, act)


@router.patch("/{target}/{name}", status_code=202, responses=ACCEPTED, response_model=None)
async def patch(target: PathName, name: PathName, body: PatchBody, asking: Asking) -> Response:
    """Change what is sent and keep the rest."""

    def act(session: Any) -> submit.Accepted:
        row = targets.get(session, target)
        return submit.patch(session, row, rules_of(row), name, body.change(), asking.asked(body.deadline_seconds))

    return await take(asking, act)


@router.delete("/{target}/{name}", status_code=202, responses=ACCEPTED, response_model=None)
async def delete(target: PathName, name: PathName, asking: Asking, cancel_pending: bool = False) -> Response:
    """Delete the deployment; ``cancel_pending`` cancels what waits or runs before it."""

    def act(session: Any) -> submit.Accepted:
        row = targets.get(session, target)
        return submit.delete(session, row, name, asking.asked(), rules=rules_of(row), cancel_pending=cancel_pending)

    return await take(asking, act)


@router.post("/{target}/{name}/rollback", status_code=202, responses=ACCEPTED, response_model=None)
async def rollback(target: PathName, name: PathName, asking: Asking, body: RollbackBody | None = None) -> Response:
    """Go back to a revision, or without one to the one that served before."""
    body = body or RollbackBody()

    def act(session: Any) -> submit.Accepted:
        row = targets.get(session, target)
        asked = asking.asked(body.deadline_seconds)
        return submit.rollback(session, row, name, body.revision, asked, rules=rules_of(row))

    return await take(asking, act)


@router.put("/{target}/{name}/traffic", status_code=202, responses=ACCEPTED, response_model=None)
async def traffic(target: PathName, name: PathName, body: TrafficBody, asking: Asking) -> Response:
    """Shift traffic between the variants."""

    def act(session: Any) -> submit.Accepted:
        row = targets.get(session, target)
        asked = asking.asked(body.deadline_seconds)
        return submit.traffic(session, row, name, body.traffic, asked, rules=rules_of(row))

    return await take(asking, act)


@router.post("/{target}/{name}/reconcile", status_code=202, responses=ACCEPTED, response_model=None)
async def reconcile(target: PathName, name: PathName, asking: Asking) -> Response:
    """Bring the target back to the recorded revision after other hands changed it."""

    def act(session: Any) -> submit.Accepted:
        row = targets.get(session, target)
        return submit.reconcile(session, row, name, asking.asked(), rules=rules_of(row))

    return await take(asking, act)


@router.get("", response_model=DeploymentPage, responses=responses(400, 422))
def list_(
    who: Who,
    target: Annotated[str | None, Query(max_length=253)] = None,
    label: Annotated[list[str] | None, Query(max_length=64, description="key=value; all must match")] = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    page_size: PageSize = None,
    page_token: PageToken = None,
) -> dict[str, Any]:
    """The deployments that are there or on their way."""
    with database().read() as session:
        page = queries.deployments(
            session,
            target=target,
            labels=_labels(label or []),
            status=status,
            who=who,
            page_size=page_size or settings().page_size,
            page_token=page_token,
        )
        return {"items": views.deployments(session, page.items), "next_page_token": page.next_page_token}


@router.get(
    "/{target}/{name}",
    response_model=DeploymentAnswer,
    responses={200: {"headers": ETAG}, 304: {"description": "Still at this generation"}, **responses(404, 422)},
)
def get(
    target: PathName,
    name: PathName,
    response: Response,
    who: Who,
    if_none_match: Annotated[str | None, Header(alias="If-None-Match", max_length=1024)] = None,
) -> Any:
    """The deployment."""
    with database().read() as session:
        row = queries.get_deployment(session, targets.get(session, target), name, who)
        tag = submit.etag(row)
        if if_none_match is not None and tag in {part.strip().removeprefix("W/") for part in if_none_match.split(",")}:
            return Response(status_code=304, headers={"ETag": tag})
        response.headers["ETag"] = tag
        return views.deployment(session, row)


@router.get("/{target}/{name}/revisions", response_model=RevisionPage, responses=responses(400, 404, 422))
def revisions(
    target: PathName, name: PathName, who: Who, page_size: PageSize = None, page_token: PageToken = None
) -> dict[str, Any]:
    """The deployment's revisions, the newest first."""
    with database().read() as session:
        row = queries.get_deployment(session, targets.get(session, target), name, who)
        page = queries.revisions(session, row, page_size or settings().page_size, page_token)
        return {"items": [views.revision(r) for r in page.items], "next_page_token": page.next_page_token}


@router.get("/{target}/{name}/revisions/{number}", response_model=RevisionAnswer, responses=responses(404, 422))
def revision(
    target: PathName, name: PathName, number: Annotated[int, Path(ge=1, le=2**31 - 1)], who: Who
) -> dict[str, Any]:
    """One revision."""
    with database().read() as session:
        row = queries.get_deployment(session, targets.get(session, target), name, who)
        return views.revision(queries.revision(session, row, number))


def _labels(pairs: list[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not re.match(LABEL_KEY, key):
            raise InvalidField.one("label", f"{pair[:80]!r} is not key=value", f"the key must match {LABEL_KEY}")
        labels[key] = value
    return labels
