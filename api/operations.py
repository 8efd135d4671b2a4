"""Operations: lists, waiting, history, cancelling, asking again."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.body import StrictRoute
from api.deployments import ACCEPTED, PageSize, PageToken
from api.problems import EVENT_STREAM, responses
from api.quotas import held
from api.requests import Who
from api.schemas import EventPage, OperationAnswer, OperationPage
from api.submitting import Asking, PathName, PreferHeader, take
from api.waiting import preferred_wait
from operations import queries, submit, views
from operations.access import Principal
from operations.database import database
from operations.problems import InvalidField
from operations.settings import settings
from operations.states import Kind, State

router = APIRouter(prefix="/v1/operations", tags=["operations"], route_class=StrictRoute)


@router.get("", response_model=OperationPage, responses=responses(400, 422))
def list_(
    who: Who,
    state: State | None = None,
    kind: Kind | None = None,
    target: Annotated[str | None, Query(max_length=253)] = None,
    deployment: Annotated[str | None, Query(max_length=253)] = None,
    page_size: PageSize = None,
    page_token: PageToken = None,
) -> dict[str, Any]:
    """The operations, the newest first."""
    with database().read() as session:
        page = queries.operations(
            session,
            state=state,
            kind=kind,
            target=target,
            deployment=deployment,
            who=who,
            page_size=page_size or settings().page_size,
            page_token=page_token,
        )
        return {"items": [views.operation(row) for row in page.items], "next_page_token": page.next_page_token}


@router.get("/{operation_id}", response_model=OperationAnswer, responses=responses(404, 422))
async def get(operation_id: PathName, request: Request, who: Who, prefer: PreferHeader = None) -> JSONResponse:
    """The operation; with ``Prefer: wait=N`` once it has ended, or after N seconds."""
    document = await run_in_threadpool(_read, who, operation_id)
    wait = preferred_wait(prefer)
    headers = {}
    if wait:
        headers["Preference-Applied"] = f"wait={wait:g}"
        if not document["final"]:
            with request.app.state.quotas.waiting(who.name):
                await request.app.state.watch.ended(operation_id, wait)
            document = await run_in_threadpool(_read, who, operation_id)
    return JSONResponse(document, headers=headers)


@router.get(
    "/{operation_id}/events",
    response_model=None,
    responses={
        200: {"model": EventPage, "content": EVENT_STREAM},
        204: {"description": "A stream that was resumed after the last event; there will be no more"},
        **responses(400, 404, 422),
    },
)
async def events(
    operation_id: PathName,
    request: Request,
    who: Who,
    page_size: PageSize = None,
    page_token: PageToken = None,
    accept: Annotated[str, Header(max_length=1024)] = "application/json",
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=256)] = None,
) -> Any:
    """The operation's history: a list, or a stream with ``Accept: text/event-stream`` that Last-Event-ID resumes."""
    if "text/event-stream" not in accept:
        return JSONResponse(await run_in_threadpool(_events, who, operation_id, page_size, page_token))
    await run_in_threadpool(_read, who, operation_id)
    after = _cursor(operation_id, last_event_id)
    watch = request.app.state.watch
    rows, final = await watch.history(operation_id, after)
    if after and final and not rows:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = held(watch.stream(operation_id, after), request.app.state.quotas, who.name)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


@router.post("/{operation_id}/cancel", response_model=None, responses=ACCEPTED)
async def cancel(operation_id: PathName, asking: Asking) -> Response:
    """Cancel: a queued one ends at once (200), one under way is taken back (202). Twice is the same as once."""

    def act(session: Session) -> submit.Accepted:
        operation = submit.cancel(session, operation_id, asking.asked())
        return submit.Accepted(operation.deployment, operation)

    return await take(asking, act)


@router.post("/{operation_id}/retry", status_code=202, responses=ACCEPTED, response_model=None)
async def retry(operation_id: PathName, asking: Asking) -> Response:
    """Ask once more for what a failed or cancelled operation was to do: a new operation that names the old."""
    return await take(asking, lambda session: submit.retry(session, operation_id, asking.asked()))


@router.post("/{operation_id}/undo", status_code=202, responses=ACCEPTED, response_model=None)
async def undo(operation_id: PathName, asking: Asking) -> Response:
    """Ask again that what the operation left behind is removed."""
    return await take(asking, lambda session: submit.take_back(session, operation_id, asking.asked()))


def _cursor(operation_id: str, last_event_id: str | None) -> int:
    if not last_event_id:
        return 0
    stream, _, number = last_event_id.rpartition(":")
    if stream != operation_id or not re.fullmatch(r"[0-9]{1,9}", number):
        remedy = "Send the id of this stream's last event, or leave it out."
        raise InvalidField.one("Last-Event-ID", "is of no event of this operation", remedy)
    return int(number)


def _read(who: Principal, operation_id: str) -> dict[str, Any]:
    with database().read() as session:
        return views.operation(queries.get_operation(session, operation_id, who))


def _events(who: Principal, operation_id: str, page_size: int | None, page_token: str | None) -> dict[str, Any]:
    with database().read() as session:
        queries.get_operation(session, operation_id, who)
        page = queries.event_page(session, operation_id, page_size or settings().page_size, page_token)
        return {"items": [views.event(row) for row in page.items], "next_page_token": page.next_page_token}
