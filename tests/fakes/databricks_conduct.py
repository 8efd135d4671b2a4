"""What can go wrong with the fake workspace, on demand, and what it writes down of every call.

Faults apply to calls by verb (CREATE, CONFIG, TAGS, GATEWAY, LIMITS, NOTIFICATIONS, DELETE, GET, LIST, LOGS, MODEL,
TOKEN, INVOKE or ``*``; WRITE means any of the first seven) and name (``fnmatch``), ``count`` times (None: always):

=============  =====================================================================================
throttled      429 REQUEST_LIMIT_EXCEEDED with Retry-After, nothing done
unavailable    503 TEMPORARILY_UNAVAILABLE, nothing done
quota          400 RESOURCE_LIMIT_EXCEEDED, nothing done
drop_before    the connection breaks before anything was done
drop_after     the connection breaks after the change was made
conflict       409 RESOURCE_CONFLICT, as while an update is under way
fails          the accepted update ends UPDATE_FAILED with ``message``; the old config goes on serving
canceled       the accepted update ends UPDATE_CANCELED
stuck          the accepted update never ends
stale          a read shows the state before the last accepted write
not_found      404, and missing in lists
denied         403 PERMISSION_DENIED, the message repeats the credentials, as careless services do
refused        400 INVALID_PARAMETER_VALUE with ``message``
=============  =====================================================================================

A served entity whose model's name has ``broken`` in it always fails.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.fakes.databricks_endpoints import Document, Endpoints, Fate, Refusal

WRITES = {"CREATE", "CONFIG", "TAGS", "GATEWAY", "LIMITS", "NOTIFICATIONS", "DELETE"}
AHEAD = {
    "throttled": (429, "REQUEST_LIMIT_EXCEEDED"),
    "unavailable": (503, "TEMPORARILY_UNAVAILABLE"),
    "quota": (400, "RESOURCE_LIMIT_EXCEEDED"),
    "denied": (403, "PERMISSION_DENIED"),
    "refused": (400, "INVALID_PARAMETER_VALUE"),
}


@dataclass
class Fault:
    kind: str
    verb: str = "*"
    name: str = "*"
    count: int | None = 1
    message: str = "no room left"
    retry_after: float = 1.0


@dataclass
class Conduct:
    """What can be set under ``/_fake/conduct``; all times in seconds.

    With ``looks`` an update takes that many reads that show it, whatever the clock says: for tests of each point.
    ``writes_limit`` creates and updates in ``writes_window`` are served, more are 429; None: as many as you like.
    A stream has so many ``chunks``, each after so many seconds, and breaks after so many where that is set.
    ``clients`` are OAuth clients with their secrets; their tokens live ``token_seconds``.
    """

    seconds: float = 20.0
    looks: int | None = None
    latency: float = 0.0
    token: str | None = "dapi-fake"
    clients: dict[str, str] = field(default_factory=dict)
    token_seconds: float = 3600.0
    writes_limit: int | None = None
    writes_window: float = 300.0
    model_status: int = 200
    model_latency: float = 0.0
    chunks: int = 3
    chunk_seconds: float = 0.01
    breaks_after: int | None = None
    failure: str = "Container creation failed: no weights in the cellar"
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


@dataclass
class Recorder:
    log: deque[Document] = field(default_factory=lambda: deque(maxlen=100_000))
    calls: Counter[str] = field(default_factory=Counter)
    effects: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    tokens: int = 0

    def counts(self) -> Document:
        return {"calls": self.calls, "effects": self.effects, "tokens": self.tokens}


class Conducted:
    """One workspace that behaves as it is told to."""

    def __init__(self, **conduct: Any) -> None:
        self.began = Conduct(**conduct)
        self.reset()

    def reset(self) -> None:
        self.conduct = Conduct(**asdict(self.began))
        self.workspace = Endpoints()
        self.faults: list[Fault] = []
        self.recorder = Recorder()
        self.before: dict[str, tuple[Document, Document] | None] = {}
        self.issued: dict[str, float] = {}
        self.writes: deque[float] = deque()

    async def call(self, verb: str, request: Request, effect: Any, name: str | None = None) -> Response:
        """One call with its latency, its faults before and after, and its line in the log."""
        name = name if name is not None else request.path_params.get("name", "")
        entry = {
            "at": time.time(),
            "verb": verb,
            "name": name,
            "headers": dict(request.headers),
            "body": (await request.body()).decode("latin-1"),
            "status": None,
        }
        self.recorder.log.append(entry)
        self.recorder.calls[verb] += 1
        await asyncio.sleep(self.conduct.latency)
        try:
            self._refuse(verb, name, request)
            if self.take("drop_before", verb, name):
                return await _break(request)
            response: Response = effect()
        except Refusal as refusal:
            response = _refused(refusal)
        if self.take("drop_after", verb, name):
            return await _break(request)
        entry["status"] = response.status_code
        return response

    def _refuse(self, verb: str, name: str, request: Request) -> None:
        authorization = request.headers.get("authorization", "")
        if self.conduct.token is not None and not self._lets_in(authorization.removeprefix("Bearer ")):
            raise Refusal(401, "UNAUTHENTICATED", f"Invalid access token: {authorization}")
        for kind, (status, code) in AHEAD.items():
            fault = self.take(kind, verb, name)
            if fault is not None:
                message = f"not allowed to {authorization}" if kind == "denied" else fault.message
                raise Refusal(status, code, message, fault.retry_after if status == 429 else None)
        if verb in WRITES and self.take("conflict", verb, name):
            words = "Endpoint served entities are currently being updated. Please wait."
            raise Refusal(409, "RESOURCE_CONFLICT", words)
        if verb in WRITES - {"DELETE"} and self.conduct.writes_limit is not None:
            self._count_write(self.conduct.writes_limit)

    def _count_write(self, limit: int) -> None:
        now = time.monotonic()
        while self.writes and self.writes[0] <= now - self.conduct.writes_window:
            self.writes.popleft()
        if len(self.writes) >= limit:
            wait = self.writes[0] + self.conduct.writes_window - now
            raise Refusal(429, "REQUEST_LIMIT_EXCEEDED", "Too many endpoint creates and updates.", wait)
        self.writes.append(now)

    def _lets_in(self, token: str) -> bool:
        return token == self.conduct.token or self.issued.get(token, 0) > time.time()

    def fate(self, verb: str, name: str, config: Document) -> Fate:
        conduct = self.conduct
        for entity in config.get("served_entities") or []:
            if "broken" in (entity.get("entity_name") or ""):
                return Fate(conduct.seconds, "fails", conduct.failure, conduct.looks)
        for kind in ("fails", "canceled", "stuck"):
            fault = self.take(kind, verb, name)
            if fault is not None:
                return (
                    Fate(float("inf")) if kind == "stuck" else Fate(conduct.seconds, kind, fault.message, conduct.looks)
                )
        return Fate(conduct.seconds, looks=conduct.looks if conduct.seconds else None)

    def check_model(self, name: str, version: str) -> None:
        if name in self.conduct.missing or f"{name}/{version}" in self.conduct.missing:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Model version '{name}' {version} does not exist.")

    def image(self, name: str) -> tuple[Document, Document] | None:
        there = self.workspace.find(name)
        return (there.summary(), there.detail()) if there else None

    def changed(self, name: str, what: str, changed: bool, before: tuple[Document, Document] | None) -> None:
        if changed:
            self.before[name] = before
            self.recorder.effects[name][what] += 1

    def take(self, kind: str, verb: str, name: str) -> Fault | None:
        for fault in self.faults:
            asked = fault.verb in ("*", verb) or (fault.verb == "WRITE" and verb in WRITES)
            if fault.kind == kind and asked and (verb in ("LIST", "TOKEN") or fnmatch(name, fault.name)):
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self.faults.remove(fault)
                return fault
        return None


def _refused(refusal: Refusal) -> Response:
    headers = {} if refusal.retry_after is None else {"Retry-After": f"{refusal.retry_after:g}"}
    return JSONResponse({"error_code": refusal.code, "message": refusal.message}, refusal.status, headers)


async def _break(request: Request) -> Response:
    request.scope["transport"].abort()
    while not await request.is_disconnected():
        await asyncio.sleep(0.001)
    return Response()
