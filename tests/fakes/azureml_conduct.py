"""What can go wrong with the fake workspace, on demand, and what it writes down of every call.

Faults apply to calls by verb (ENDPOINT, TAGS, DEPLOYMENT, DROP, DELETE, MODEL, UNREGISTER; GET, LIST, DEPLOYMENTS,
OPERATION, READMODEL, MODELS, WORKSPACE, LOGS, KEYS, TOKEN, SCORE; ``*``; WRITE means any of the first seven, READ those
from GET to OPERATION) and name (``fnmatch``), ``count`` times (None: always):

=============  =====================================================================================
throttled      429 TooManyRequests with Retry-After, nothing done
unavailable    503 ServerBusy, nothing done
quota          400 OutOfQuota, nothing done
drop_before    the connection breaks before anything was done
drop_after     the connection breaks after the change was made
conflict       409 because the endpoint is updating, as it comes even after Succeeded was seen
fails          the accepted write ends Failed with ``message``
canceled       the accepted write ends Canceled
reverts        the accepted write ends Succeeded, and what was before serves
stuck          the accepted write never ends
stale          a read shows the state before the last accepted write
not_found      404, and missing in lists
denied         403 AuthorizationFailed, the message repeats the credentials, as careless services do
refused        400 BadRequest with ``message``
broken         500 where it is a prediction
=============  =====================================================================================

A deployment whose model's name has ``broken`` in it always fails; one with ``mute`` is made, and answers every
prediction with an error of its own.
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

from tests.fakes.azureml_things import Document, Fate, Refusal, Thing, Things

WRITES = {"ENDPOINT", "TAGS", "DEPLOYMENT", "DROP", "DELETE", "MODEL", "UNREGISTER"}
READS = {"GET", "LIST", "DEPLOYMENTS", "OPERATION"}
GROUPS = {"WRITE": WRITES, "READ": READS}
AHEAD = {
    "throttled": (429, "TooManyRequests"),
    "unavailable": (503, "ServerBusy"),
    "quota": (400, "OutOfQuota"),
    "denied": (403, "AuthorizationFailed"),
    "refused": (400, "BadRequest"),
    "broken": (500, "InternalServerError"),
}
PATH = "/subscriptions/sub/resourceGroups/group/providers/Microsoft.MachineLearningServices/workspaces/main"


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

    With ``looks`` a write takes that many reads that show it, whatever the clock says: for tests of each point.
    ``retry_after`` comes with operations that are under way; ``location`` True: they are told by Location alone.
    ``follows`` False: an endpoint whose deployment is being made says Succeeded. ``interruptible``: a deployment that
    is being made can be deleted. ``running`` is what an operation under way calls itself, ``codeless`` True leaves
    ``error.code`` null. ``models`` are those that are registered in every version, ``versions`` the newest of some,
    ``taken`` names of endpoints of others in the region. Tokens that begin with ``prefix`` are let in beside ``token``.
    """

    seconds: float = 20.0
    looks: int | None = None
    latency: float = 0.0
    token: str | None = "arm-fake-token"
    prefix: str | None = None
    scoring_token: str = "aad-fake-token"
    token_seconds: float = 3600.0
    refresh_seconds: float = 2700.0
    retry_after: float | None = None
    location: bool = False
    follows: bool = True
    interruptible: bool = False
    running: str = "InProgress"
    codeless: bool = False
    page_size: int = 100
    failure: str = "ResourceNotReady: User container has crashed: no weights in the cellar"
    models: list[str] = field(default_factory=lambda: ["a", "b", "iris", "broken", "mute", "theirs"])
    versions: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    model_status: int = 200
    model_latency: float = 0.0
    chunks: int = 3
    chunk_seconds: float = 0.01
    breaks_after: int | None = None


@dataclass
class Recorder:
    log: deque[Document] = field(default_factory=lambda: deque(maxlen=100_000))
    calls: Counter[str] = field(default_factory=Counter)
    effects: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def counts(self) -> Document:
        return {"calls": self.calls, "effects": self.effects}


class Conducted:
    """One workspace that behaves as it is told to."""

    def __init__(self, **conduct: Any) -> None:
        self.began = Conduct(**conduct)
        self.reset()

    def reset(self) -> None:
        self.conduct = Conduct(**asdict(self.began))
        self.things = Things(PATH, lambda: self.conduct.follows)
        self.faults: list[Fault] = []
        self.recorder = Recorder()
        self.before: dict[str, Document | None] = {}
        self.tokens: dict[str, float] = {}

    async def call(self, verb: str, name: str, request: Request, effect: Any) -> Response:
        """One call with its latency, its faults before and after, and its line in the log."""
        entry = {
            "at": time.time(),
            "verb": verb,
            "name": name,
            "query": request.scope["query_string"].decode(),
            "headers": {key.decode("latin-1"): value.decode("latin-1") for key, value in request.scope["headers"]},
            "body": (await request.body()).decode("latin-1"),
            "status": None,
        }
        self.recorder.log.append(entry)
        self.recorder.calls[verb] += 1
        if self.conduct.latency:
            await asyncio.sleep(self.conduct.latency)
        try:
            if verb != "SCORE":
                self._check_token(request)
            self._refuse(verb, name, request)
            if self.take("drop_before", verb, name):
                return await _break(request)
            response: Response = effect()
        except Refusal as refusal:
            response = refused(refusal)
        if self.take("drop_after", verb, name):
            return await _break(request)
        entry["status"] = response.status_code
        return response

    def _check_token(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        prefixed = self.conduct.prefix is not None and token.startswith(self.conduct.prefix)
        if self.conduct.token is not None and token != self.conduct.token and not prefixed:
            raise Refusal(401, "InvalidAuthenticationToken", f"The access token {token} is not valid.")
        if b"api-version=" not in request.scope["query_string"]:
            raise Refusal(400, "MissingApiVersionParameter", "The api-version query parameter is required.")

    def _refuse(self, verb: str, name: str, request: Request) -> None:
        for kind, (status, code) in AHEAD.items():
            fault = self.take(kind, verb, name)
            if fault is not None:
                message = fault.message
                if kind == "denied":
                    message = f"not allowed to {request.headers.get('authorization', '')}"
                raise Refusal(status, code, message, fault.retry_after if status == 429 else None)
        if verb in WRITES and self.take("conflict", verb, name):
            words = f"Cannot create a deployment in endpoint {name} because it is in Updating provisioning state."
            raise Refusal(409, "Conflict", words)

    def fate(self, verb: str, name: str, model: str = "") -> Fate:
        conduct = self.conduct
        if "broken" in model:
            return Fate(conduct.seconds, "fails", conduct.failure, conduct.looks)
        for kind in ("fails", "canceled", "reverts", "stuck"):
            fault = self.take(kind, verb, name)
            if fault is not None:
                if kind == "stuck":
                    return Fate(float("inf"))
                return Fate(conduct.seconds, kind, fault.message, conduct.looks)
        return Fate(conduct.seconds, looks=conduct.looks if conduct.seconds else None)

    def image(self, name: str) -> Document | None:
        """The endpoint and its deployments as they are shown now."""
        there = self.things.find(name)
        if there is None:
            return None
        deployments = [self.things.show(each, name) for each in there.deployments.values()]
        return {"endpoint": self.things.show(there), "deployments": deployments}

    def changed(self, name: str, what: str, changed: bool, before: Document | None) -> None:
        if changed:
            self.before[name] = before
            self.recorder.effects[name][what] += 1

    def take(self, kind: str, verb: str, name: str) -> Fault | None:
        for fault in self.faults:
            asked = fault.verb in ("*", verb) or verb in GROUPS.get(fault.verb, ())
            if fault.kind == kind and asked and (verb == "LIST" or fnmatch(name, fault.name)):
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self.faults.remove(fault)
                return fault
        return None

    def model_uri(self, thing: Thing) -> str:
        """Where a deployment's model comes from: the files of one that was registered here, else its id."""
        model = str(thing.body["properties"].get("model") or "")
        _, _, rest = model.partition(f"{PATH}/models/")
        name, _, version = rest.partition("/versions/")
        there = self.things.models.get((name, version))
        if there is not None:
            return str(there["properties"]["modelUri"])
        return f"azureml:{name}:{version}" if name else model

    def has_model(self, name: str, version: str) -> bool:
        return name in self.conduct.models or (name, version) in self.things.models


def refused(refusal: Refusal) -> Response:
    headers = {} if refusal.retry_after is None else {"Retry-After": f"{refusal.retry_after:g}"}
    return JSONResponse({"error": {"code": refusal.code, "message": refusal.message}}, refusal.status, headers)


async def _break(request: Request) -> Response:
    request.scope["transport"].abort()
    while not await request.is_disconnected():
        await asyncio.sleep(0.001)
    return Response()
