"""Is the process there, and is the whole ready?"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from operations import presence, queue
from operations.database import database
from operations.states import Lane

router = APIRouter(tags=["health"])


@router.get("/healthz")
def alive() -> dict[str, str]:
    """This process answers; nothing else is asked."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "Something is missing; the body says what"}})
def ready() -> JSONResponse:
    """Database, broker, and workers heard from lately for writing and for looking; each with its reason."""
    parts: dict[str, Any] = {"broker": _part(queue.ping(), "the broker does not answer")}
    try:
        with database().read() as session:
            nodes = {lane for worker in presence.live_workers(session) for lane in worker.node.split("+")}
        parts["database"] = _part(True, "")
        for lane, what in ((Lane.WRITE, "writes"), (Lane.LOOK, "looks")):
            reason = f"no worker for the queue {lane.value} was heard from lately"
            parts[f"worker_{what}"] = _part(lane.value in nodes, reason)
    except Exception as error:
        parts["database"] = _part(False, f"the database does not answer: {type(error).__name__}")
    ok = all(part["ok"] for part in parts.values())
    return JSONResponse({"ready": ok, "parts": parts}, 200 if ok else 503)


def _part(ok: bool, reason: str) -> dict[str, Any]:
    return {"ok": ok, "reason": None if ok else reason}
