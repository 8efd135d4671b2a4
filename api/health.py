"""Is the process there, and is the whole ready?"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from api.problems import respond, responses
from api.schemas import ReadyAnswer
from operations import presence, queue
from operations.database import database
from operations.problems import FieldError, NotReady
from operations.states import Lane

router = APIRouter(tags=["health"])


@router.get("/healthz")
def alive() -> dict[str, str]:
    """This process answers; nothing else is asked."""
    return {"status": "alive"}


@router.get("/readyz", response_model=ReadyAnswer, responses=responses())
def ready(request: Request) -> JSONResponse:
    """Database, broker, and workers heard from lately for writing and for looking; each with its reason."""
    parts: dict[str, Any] = {"broker": _part(queue.ping(), "the broker does not answer")}
    try:
        with database().read() as session:
            nodes = {lane for worker in presence.live_workers(session) for lane in worker.node.split("+")}
        parts["database"] = _part(True, "")
        for lane, what in ((Lane.WRITE, "writes"), (Lane.LOOK, "looks")):
            reason = f"no worker for the queue {lane.value} was heard from lately"
            parts[f"worker_{what}"] = _part(lane.value in nodes, reason)
    except SQLAlchemyError as error:
        parts["database"] = _part(False, f"the database does not answer: {type(error).__name__}")
    missing = [FieldError(name, part["reason"], NotReady.remedy) for name, part in parts.items() if not part["ok"]]
    document = {"ready": not missing, "parts": parts}
    if not missing:
        return JSONResponse(document)
    refused = NotReady("; ".join(error.message for error in missing), missing)
    return respond(request.scope, refused, more=document)


def _part(ok: bool, reason: str) -> dict[str, Any]:
    return {"ok": ok, "reason": None if ok else reason}
