"""Operations: lists, waiting, history, cancelling, asking again."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.body import StrictRoute
from api.deployments import ACCEPTED, PageSize, PageToken
from api.problems import responses
from api.schemas import EventPage, OperationAnswer, OperationPage
from api.submitting import PathName, PreferHeader, Submission, take, tell
from api.waiting import preferred_wait
from operations import queries, submit, views
from operations.database import database
from operations.settings import settings
from operations.states import Kind, State

router = APIRouter(prefix="/v1/operations", tags=["operations"], route_class=StrictRoute)

Asking = Annotated[Submission, Depends()]


@router.get("", response_model=OperationPage, responses=responses(400, 422))
def list_(
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
            page_size=page_size or settings().page_size,
            page_token=page_token,
        )
        return {"items": [views.operation(row) for row in page.items], "next_page_token": page.next_page_token}


@router.get("/{operation_id}", response_model=OperationAnswer, responses=responses(404, 422))
async def get(operation_id: PathName, request: Request, prefer: PreferHeader = None) -> JSONResponse:
    """The operation; with ``Prefer: wait=N`` once it has ended, or after N seconds."""
    document = await run_in_threadpool(_read, operation_id)
    wait = preferred_wait(prefer)
    headers = {}
    if wait:
        headers["Preference-Applied"] = f"wait={wait:g}"
        if not document["final"]:
            await request.app.state.watch.ended(operation_id, wait)
            document = await run_in_threadpool(_read, operation_id)
    return JSONResponse(document, headers=headers)


@router.get(
    "/{operation_id}/events",
    response_model=None,
    responses={
        200: {"model": EventPage, "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **responses(404, 422),
    },
)
async def events(
    operation_id: PathName,
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    accept: Annotated[str, Header(max_length=1024)] = "application/json",
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=256)] = None,
) -> Any:
    """The operation's history: a list, or a stream with ``Accept: text/event-stream`` that Last-Event-ID resumes."""
    cursor = re.fullmatch(r"(.+):(\d{1,9})", last_event_id or "")
    if cursor and cursor[1] == operation_id:
        after = int(cursor[2])
    if "text/event-stream" in accept:
        await run_in_threadpool(_read, operation_id)
        stream = request.app.state.watch.stream(operation_id, after)
        return StreamingResponse(
            stream, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
    return JSONResponse(await run_in_threadpool(_events, operation_id, after))


@router.post("/{operation_id}/cancel", response_model=OperationAnswer, responses=responses(404, 409, 422))
def cancel(operation_id: PathName, asking: Asking) -> Any:
    """Cancel: a queued one ends at once, one under way is taken back. Twice is the same as once."""
    with database().write() as session:
        operation = submit.cancel(session, operation_id, asking.asked())
        session.flush()
        document = views.operation(operation)
    tell(operation)
    return document


@router.post("/{operation_id}/retry", status_code=202, responses=ACCEPTED, response_model=None)
async def retry(operation_id: PathName, asking: Asking) -> JSONResponse:
    """Ask once more for what a failed or cancelled operation was to do: a new operation that names the old."""
    return await take(asking, lambda session: submit.retry(session, operation_id, asking.asked()))


@router.post("/{operation_id}/undo", status_code=202, responses=ACCEPTED, response_model=None)
async def undo(operation_id: PathName, asking: Asking) -> JSONResponse:
    """Ask again that what the operation left behind is removed."""
    return await take(asking, lambda session: submit.take_back(session, operation_id, asking.asked()))


def _read(operation_id: str) -> dict[str, Any]:
    with database().read() as session:
        return views.operation(queries.get_operation(session, operation_id))


def _events(operation_id: str, after: int) -> dict[str, Any]:
    with database().read() as session:
        queries.get_operation(session, operation_id)
        rows = queries.events(session, operation_id, after)
        return {"items": [views.event(row) for row in rows], "next_page_token": None}
