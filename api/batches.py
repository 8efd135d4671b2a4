"""Batches: many changes released together. Planning, starting, watching and steering."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.batch_schemas import (
    AdjustBody,
    BatchAnswer,
    BatchBody,
    BatchDetail,
    BatchItemPage,
    BatchPage,
    PlanAnswer,
    WaveNumberBody,
)
from api.body import StrictRoute
from api.deployments import PageSize, PageToken
from api.problems import EVENT_STREAM, responses
from api.quotas import held
from api.requests import Who
from api.submitting import Asking, PathName, Submission, description_of, once, rules_of
from operations import access, audit, queries, queue, targets
from operations.access import Permission, Principal
from operations.admission import Asked
from operations.batches import changes, planning, records, views
from operations.batches.models import ENDED, Batch, BatchState, ItemState
from operations.batches.records import Wanted
from operations.database import database
from operations.idempotency import Stored
from operations.models import Deployment, Target
from operations.problems import BatchState as WrongState
from operations.problems import Forbidden, InvalidField
from operations.settings import settings
from operations.states import Lane

router = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=StrictRoute)

STEERED: dict[int | str, dict[str, Any]] = {200: {"model": BatchAnswer}, **responses(400, 404, 409, 415, 422)}
MADE: dict[int | str, dict[str, Any]] = {202: {"model": BatchAnswer}, **responses(400, 404, 409, 415, 422)}
REFUSED = responses(400, 404, 409, 413, 415, 422)
STREAM_SECONDS = 1.0
NOTHING_TO_DO = ("no_change", "refused")


@router.post(
    "",
    status_code=202,
    responses={202: {"model": BatchAnswer}, **responses(400, 404, 409, 413, 415, 422)},
    response_model=None,
)
async def create(body: BatchBody, asking: Asking) -> Response:
    """Record a batch and let it begin.

    A list of operations may also come as `application/x-ndjson`: one operation a line, and `{"strategy": ...}` on the
    first line where it is not the default.
    """

    def act(session: Session) -> Stored:
        items, change = _items(session, body, asking.who)
        batch = _create(session, body, items, change, asking.asked(), planned=False)
        return Stored(202, {"Location": f"/v1/batches/{batch.id}"}, views.batch(session, batch))

    return await _steered(asking, None, act)


@router.post(
    "/plan", response_model=None, responses={200: {"model": PlanAnswer}, **responses(400, 404, 409, 413, 415, 422)}
)
async def plan(body: BatchBody, asking: Asking) -> Response:
    """Say for every item what would happen, and how long it will take; POST .../start does exactly that."""

    def act(session: Session) -> Stored:
        items, change = _items(session, body, asking.who)
        batch = _create(session, body, items, change, asking.asked(), planned=True)
        shown = planning.preview(session, items, change, rules_of)
        wanted = [
            item for item, would in zip(items, shown, strict=True) if would["action"] not in ("no_change", "refused")
        ]
        limits = {target.id: _limit(target) for target in session.scalars(select(Target))}
        document = {
            **views.batch(session, batch),
            "summary": dict(Counter(would["action"] for would in shown)),
            "estimate": planning.estimate(session, wanted, batch.strategy, limits),
            "items": shown,
        }
        return Stored(200, {"Location": f"/v1/batches/{batch.id}"}, document)

    return await once(asking, act)


@router.get("", response_model=BatchPage, responses=responses(400, 422))
def list_(who: Who, page_size: PageSize = None, page_token: PageToken = None) -> dict[str, Any]:
    """The batches, the newest first."""
    with database().read() as session:
        page = queries.batches(session, page_size or settings().page_size, page_token, who)
        return {"items": [views.batch(session, row) for row in page.items], "next_page_token": page.next_page_token}


@router.get("/{batch_id}", response_model=BatchDetail, responses=responses(404, 422))
def get(batch_id: PathName, who: Who) -> dict[str, Any]:
    """The batch: counters, by wave and by target, failures by reason, what it waits for."""
    with database().read() as session:
        return views.detail(session, records.get(session, batch_id, who))


@router.get("/{batch_id}/items", response_model=BatchItemPage, responses=responses(400, 404, 422))
def items(
    batch_id: PathName,
    who: Who,
    state: ItemState | None = None,
    page_size: PageSize = None,
    page_token: PageToken = None,
) -> dict[str, Any]:
    """The batch's items, in order."""
    with database().read() as session:
        records.get(session, batch_id, who)
        page = queries.batch_items(session, batch_id, state, page_size or settings().page_size, page_token)
        names = {target.id: target.name for target in session.scalars(select(Target))}
        found = [views.item(row, names[row.target_id]) for row in page.items]
        return {"items": found, "next_page_token": page.next_page_token}


@router.get(
    "/{batch_id}/events",
    response_model=None,
    responses={
        200: {"model": BatchDetail, "content": EVENT_STREAM},
        **responses(404, 422),
    },
)
async def events(
    batch_id: PathName,
    request: Request,
    who: Who,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=256)] = None,
) -> Response:
    """A stream with the batch each time that it has moved, until it has ended; the id is its version."""
    await run_in_threadpool(_read, batch_id, who)
    after = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 10 else -1
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = held(_stream(batch_id, after, lambda: request.app.state.watch.closed), request.app.state.quotas, who.name)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


@router.post("/{batch_id}/start", response_model=None, responses=STEERED)
async def start(batch_id: PathName, asking: Asking) -> Response:
    """Begin what was planned, if nothing of it has changed since."""
    return await _steered(asking, batch_id, lambda session: _shown(session, records.start(session, batch_id)))


@router.post("/{batch_id}/pause", response_model=None, responses=STEERED)
async def pause(batch_id: PathName, asking: Asking) -> Response:
    """Nothing new starts; what runs ends."""
    return await _steered(asking, batch_id, lambda session: _shown(session, records.pause(session, batch_id)))


@router.post("/{batch_id}/resume", response_model=None, responses=STEERED)
async def resume(batch_id: PathName, asking: Asking) -> Response:
    """Go on after a pause."""
    return await _steered(asking, batch_id, lambda session: _shown(session, records.resume(session, batch_id)))


@router.post("/{batch_id}/approve", response_model=None, responses=STEERED)
async def approve(batch_id: PathName, body: WaveNumberBody, asking: Asking) -> Response:
    """Let what comes behind this wave begin."""
    return await _steered(
        asking, batch_id, lambda session: _shown(session, records.approve(session, batch_id, body.wave))
    )


@router.post("/{batch_id}/reject", response_model=None, responses=STEERED)
async def reject(batch_id: PathName, asking: Asking) -> Response:
    """Refuse what awaits approval: the batch stops as if too many had failed."""
    return await _steered(
        asking, batch_id, lambda s: _shown(s, _ended(s, batch_id, BatchState.STOPPED, "rejected", asking))
    )


@router.post("/{batch_id}/abort", response_model=None, responses=STEERED)
async def abort(batch_id: PathName, asking: Asking) -> Response:
    """Cancel what is queued, let what runs end, start nothing more."""
    return await _steered(
        asking, batch_id, lambda s: _shown(s, _ended(s, batch_id, BatchState.ABORTED, "aborted", asking))
    )


@router.post("/{batch_id}/retry", status_code=202, response_model=None, responses=MADE)
async def retry(batch_id: PathName, asking: Asking) -> Response:
    """A new batch of what failed, was refused or was cancelled."""
    return await _steered(asking, batch_id, lambda s: _shown(s, records.again(s, batch_id, asking.asked()), status=202))


@router.post("/{batch_id}/rollback", status_code=202, response_model=None, responses=MADE)
async def rollback(batch_id: PathName, asking: Asking) -> Response:
    """A new batch that restores what served before on everything that this one changed."""
    return await _steered(
        asking, batch_id, lambda s: _shown(s, records.roll_back(s, batch_id, asking.asked()), status=202)
    )


@router.patch("/{batch_id}", response_model=None, responses=STEERED)
async def adjust(batch_id: PathName, body: AdjustBody, asking: Asking) -> Response:
    """Change how many may be under way at once, or the window."""
    return await _steered(asking, batch_id, lambda s: _shown(s, records.adjust(s, batch_id, body.changes())))


def _items(session: Session, body: BatchBody, who: Principal) -> tuple[list[Wanted], dict[str, Any]]:
    """What the request names, checked as far as it can be before it is tried."""
    if (body.operations is None) == (body.selection is None or body.change is None):
        field = "operations" if body.operations is not None else "selection"
        remedy = "Give selection and change, or operations alone."
        raise InvalidField.one(field, "does not say, or says twice, what to do", remedy)
    if body.selection is not None and body.change is not None:
        selection = body.selection.model_dump(exclude_unset=True, exclude_none=True)
        change = body.change.change()
        if selection.get("target"):
            targets.get(session, selection["target"])
        found = planning.select_items(session, selection, who)
        for target in session.scalars(select(Target).where(Target.id.in_({item.target_id for item in found}))):
            changes.check(rules_of(target), found[0].name, change, "change.")
        return found, change
    for target_name in sorted({item.target for item in body.operations or ()}):
        access.check_target(who, Permission.DEPLOY, target_name)
    rows = {row.name: row for row in session.scalars(select(Target))}
    known: dict[tuple[str, str], Any] = {}
    wanted = []
    for place, item in enumerate(body.operations or ()):
        target = rows.get(item.target) or targets.get(session, item.target)
        if (target.id, item.name) in known:
            raise changes.doubled(place, item.target, item.name)
        known[target.id, item.name] = place
        wanted.append((target, item))
    rules = {target.id: rules_of(target) for target in {row.id: row for row, _ in wanted}.values()}
    there = _deployments(session, [(target.id, item.name) for target, item in wanted])
    found = []
    for place, (target, item) in enumerate(wanted):
        change = item.change()
        changes.check(rules[target.id], item.name, change, f"operations[{place}].")
        row = there.get((target.id, item.name))
        if row is None:
            access.check_labels(who, target.name, item.name, item.labels or {})
        elif not who.may(Permission.DEPLOY, target.name, row[1]):
            raise Forbidden(f"operations[{place}]: {who.name} may not deploy {target.name}/{item.name}")
        found.append(
            Wanted(
                target.id,
                item.name,
                row[0] if row else None,
                change,
                row[1] if row else (item.labels or {}),  # type: ignore[arg-type]
                row[2] if row else None,
            )
        )
    return found, {"action": "operations"}


def _deployments(session: Session, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, Any, int]]:
    names = [name for _, name in places]
    found = {}
    for first in range(0, len(names), 1000):
        query = select(
            Deployment.target_id, Deployment.name, Deployment.id, Deployment.labels, Deployment.generation
        ).where(Deployment.name.in_(names[first : first + 1000]))
        for target_id, name, identity, labels, generation in session.execute(query):
            found[target_id, name] = (identity, labels, generation)
    return found


def _create(
    session: Session, body: BatchBody, items: list[Wanted], change: dict[str, Any], asked: Asked, *, planned: bool
) -> Batch:
    if body.strategy.on_conflict == "refuse":
        other = planning.in_other_batches(session, items)
        if other:
            (_, name), batch_id = next(iter(other.items()))
            raise WrongState(f"{name} and {len(other) - 1} more are in batch {batch_id}, which has not ended")
    selection = body.selection.model_dump(exclude_unset=True) if body.selection else None
    batch = records.create(
        session,
        change=change,
        selection=selection,
        strategy=body.strategy.strategy(),
        items=items,
        asked=asked,
        planned=planned,
    )
    session.flush()
    return batch


def _limit(target: Target) -> planning.Limit:
    known = {**vars(description_of(target).limits), **target.limits}
    return planning.Limit(known["writes"], known["per_seconds"])


def _ended(session: Session, batch_id: str, ends_as: BatchState, reason: str, asking: Submission) -> Batch:
    return records.end(session, batch_id, ends_as, f"{reason} by {asking.who.name}", by=asking.who.name)


def _shown(session: Session, batch: Batch, status: int = 200) -> Stored:
    session.flush()
    if audit.noted(session).after is None:
        audit.note(session, after={"state": batch.state.value, "strategy": batch.strategy, "reason": batch.reason})
    return Stored(status, {"Location": f"/v1/batches/{batch.id}"}, views.batch(session, batch))


async def _steered(asking: Submission, batch_id: str | None, act: Callable[[Session], Stored]) -> Response:
    def steer(session: Session) -> Stored:
        if batch_id is not None:
            records.steered_by(session, batch_id, asking.who)
        return act(session)

    response = await once(asking, steer)
    queue.hint(Lane.BULK)
    return response


def _read(batch_id: str, who: Principal | None = None) -> dict[str, Any]:
    with database().read() as session:
        return views.detail(session, records.get(session, batch_id, who))


def _standing(batch_id: str) -> tuple[int, bool]:
    with database().read() as session:
        batch = records.get(session, batch_id)
        return batch.version, batch.state in ENDED


async def _stream(batch_id: str, after: int, closed: Callable[[], bool]) -> AsyncIterator[str]:
    """Asks how it stands once a second, and for the batch only when that has changed."""
    while not closed():
        version, final = await run_in_threadpool(_standing, batch_id)
        if version != after:
            document = await run_in_threadpool(_read, batch_id)
            after, final = document["version"], document["final"]
            yield f"id: {after}\nevent: batch\ndata: {json.dumps(document)}\n\n"
        else:
            yield ": still there\n\n"
        if final:
            return
        await asyncio.sleep(STREAM_SECONDS)
