"""The fake platform's server: the contract over HTTP, and what can go wrong with it, on demand under ``/_fake``.

Faults apply to calls by verb (PUT, GET, LIST, DELETE, OPERATION, INVOKE or ``*``) and name (``fnmatch``), ``count``
times (None: always):

=============  =====================================================================================
throttled      429 with Retry-After, nothing done
unavailable    503 with Retry-After, nothing done
drop_before    the connection breaks before anything was done
drop_after     the connection breaks after the change was made
late           the connection breaks at once, and the call takes effect ``late_seconds`` later
conflict       409 ``operation-under-way``, for a PUT or DELETE during an operation
rolls_back     the accepted change ends with ``message`` and the old content goes on serving
fails          the accepted change ends with ``message`` and the deployment is ``failed``
stuck          the accepted change never ends
stale          a read shows the state before the last accepted write
not_found      404, and missing in lists
denied         403, the message repeats the credentials, as careless platforms do
refused        400 with ``message``
redirect       307 to ``message``
=============  =====================================================================================

A variant whose ``platform`` has ``{"fails": words}`` always rolls back, with these words.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter, defaultdict, deque
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.platform_contract import Contract, Deployment, Fate, Refusal

AHEAD = {"throttled": 429, "unavailable": 503, "denied": 403, "refused": 400, "redirect": 307}
FATES = {"rolls_back", "fails", "stuck"}


@dataclass
class Fault:
    kind: str
    verb: str = "*"
    name: str = "*"
    count: int | None = 1
    message: str = "no room left"
    retry_after: float = 1.0
    late_seconds: float = 0.0


@dataclass
class Conduct:
    """What can be set under ``/_fake/conduct``; all times in seconds.

    With ``looks`` a change takes that many reads that show it, whatever the clock says: for tests of each point.
    A ``careless`` platform compares neither fences nor ETags and knows no idempotency keys.
    """

    seconds: float = 20.0
    delete_seconds: float = 0.0
    looks: int | None = None
    latency: float = 0.0
    retry_after: float | None = None
    page_size: int = 1000
    token: str | None = None
    careless: bool = False
    supersedes: bool = True
    shows_ended: bool = True
    model_status: int = 200
    model_latency: float = 0.0


@dataclass
class Recorder:
    log: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=100_000))
    calls: Counter[str] = field(default_factory=Counter)
    effects: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    creations: Counter[str] = field(default_factory=Counter)
    deletions: Counter[str] = field(default_factory=Counter)
    writes_by_second: Counter[int] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0

    def counts(self) -> dict[str, Any]:
        names = ("calls", "effects", "creations", "deletions", "writes_by_second", "most_in_flight")
        return {name: getattr(self, name) for name in names}


class FakePlatform:
    """An ASGI application around one contract."""

    def __init__(self, **conduct: Any) -> None:
        self.began = Conduct(**conduct)
        self.reset()
        self._app = Starlette(
            routes=[
                Route("/deployments", self._list, methods=["GET"]),
                Route("/deployments/{name}", self._put, methods=["PUT"]),
                Route("/deployments/{name}", self._get, methods=["GET"]),
                Route("/deployments/{name}", self._delete, methods=["DELETE"]),
                Route("/deployments/{name}/invocations", self._invoke, methods=["POST"]),
                Route("/operations/{name}", self._operation, methods=["GET"]),
                Route("/_fake/{what}", self._control, methods=["GET", "POST"]),
            ]
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # uvicorn's own cycle, so that a connection can be broken without a word
        scope["transport"] = getattr(getattr(receive, "__self__", None), "transport", None)
        await self._app(scope, receive, send)

    def reset(self) -> None:
        self.conduct = Conduct(**asdict(self.began))
        self.contract = Contract(self.conduct.careless, self.conduct.supersedes)
        self.faults: list[Fault] = []
        self.recorder = Recorder()
        self.before: dict[str, bytes | None] = {}
        self._late: set[asyncio.Task[None]] = set()

    async def _put(self, request: Request) -> Response:
        async def effect() -> Response:
            name = request.path_params["name"]
            there = self.contract.find(name)
            before = there.document() if there else None
            body, headers = await _json(request), dict(request.headers)
            status, there, effected = self.contract.put(name, body, headers, lambda: self._fate("PUT", name, body))
            if effected:
                self.before[name] = before
                self.recorder.effects[name][body["content"]] += 1
                self.recorder.creations[name] += before is None
            return self._accepted(status, there)

        return await self._call("PUT", request, effect)

    async def _delete(self, request: Request) -> Response:
        async def effect() -> Response:
            name = request.path_params["name"]
            there = self.contract.find(name)
            before = there.document() if there else None
            headers = dict(request.headers)
            status, there, effected = self.contract.delete(name, headers, lambda: self._fate("DELETE", name))
            if effected:
                self.before[name] = before
                self.recorder.deletions[name] += 1
            return self._accepted(status, there) if there else Response(status_code=status)

        return await self._call("DELETE", request, effect)

    async def _get(self, request: Request) -> Response:
        async def effect() -> Response:
            name = request.path_params["name"]
            there = self._shown("GET", name)
            if there is None:
                raise Refusal(404, "not-found", f"there is no deployment {name}")
            return Response(there, media_type="application/json", headers={"ETag": json.loads(there)["etag"]})

        return await self._call("GET", request, effect)

    async def _list(self, request: Request) -> Response:
        async def effect() -> Response:
            size = min(int(request.query_params.get("page_size", 100)), self.conduct.page_size)
            page, token = self.contract.page(request.query_params.get("page_token"), size)
            missing, stale = self._take("not_found", "LIST", ""), self._take("stale", "LIST", "")
            shown = []
            for there in page:
                if missing and fnmatch(there.name, missing.name):
                    continue
                old = stale is not None and fnmatch(there.name, stale.name) and there.name in self.before
                document = self.before[there.name] if old else self._visible(there)
                shown += [document] if document is not None else []
            body = b'{"deployments":[' + b",".join(shown) + b'],"next_page_token":' + json.dumps(token).encode() + b"}"
            return Response(body, media_type="application/json")

        return await self._call("LIST", request, effect)

    async def _operation(self, request: Request) -> Response:
        async def effect() -> Response:
            return JSONResponse(self.contract.operation(request.path_params["name"]).document())

        return await self._call("OPERATION", request, effect)

    async def _invoke(self, request: Request) -> Response:
        async def effect() -> Response:
            name, pinned = request.path_params["name"], request.query_params.get("variant")
            there = self.contract.find(name)
            if there is None or there.content is None:
                raise Refusal(404, "not-serving", f"deployment {name} does not serve")
            await asyncio.sleep(self.conduct.model_latency)
            traffic = there.spec["traffic"]
            variant = pinned or random.choices(list(traffic), list(traffic.values()))[0]
            models = {v["name"]: v["model_uri"] for v in there.spec["variants"]}
            if variant not in models:
                raise Refusal(404, "no-variant", f"there is no variant {variant}")
            answer: dict[str, Any] = {"predictions": [models[variant]], "content": there.content, "variant": variant}
            if self.conduct.model_status != 200:
                answer = {"error": "the model raised ValueError"}
            return JSONResponse(answer, self.conduct.model_status, headers={"Modelport-Variant": variant})

        return await self._call("INVOKE", request, effect)

    async def _call(self, verb: str, request: Request, effect: Any) -> Response:
        """One call with its latency, its faults before and after, and its line in the log."""
        name, recorder = request.path_params.get("name", ""), self.recorder
        entry = {"at": time.time(), "verb": verb, "name": name, "headers": dict(request.headers), "status": None}
        recorder.log.append(entry | {"query": str(request.query_params)})
        entry = recorder.log[-1]
        recorder.calls[verb] += 1
        if verb in ("PUT", "DELETE"):
            recorder.writes_by_second[int(time.time())] += 1
        recorder.in_flight += 1
        recorder.most_in_flight = max(recorder.most_in_flight, recorder.in_flight)
        try:
            await asyncio.sleep(self.conduct.latency)
            try:
                self._refuse(verb, name, request)
                if self._take("drop_before", verb, name):
                    return await _break(request)
                late = self._take("late", verb, name)
                if late:
                    with contextlib.suppress(ClientDisconnect):
                        await request.body()
                    self._later(late.late_seconds, effect)
                    return await _break(request)
                response = await effect()
            except Refusal as refusal:
                response = _refused(refusal)
            if self._take("drop_after", verb, name):
                return await _break(request)
            entry["status"] = response.status_code
            return response
        finally:
            recorder.in_flight -= 1

    def _later(self, seconds: float, effect: Any) -> None:
        async def arrive() -> None:
            await asyncio.sleep(seconds)
            with contextlib.suppress(Refusal):  # nobody is there to be told
                await effect()

        task = asyncio.create_task(arrive())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _refuse(self, verb: str, name: str, request: Request) -> None:
        authorization = request.headers.get("authorization", "")
        if self.conduct.token is not None and authorization != f"Bearer {self.conduct.token}":
            raise Refusal(401, "unauthenticated", f"who is {authorization!r}?")
        for kind, status in AHEAD.items():
            fault = self._take(kind, verb, name)
            if fault is not None:
                message = f"not allowed to {authorization}" if kind == "denied" else fault.message
                raise Refusal(status, kind, message, fault.retry_after if status in (429, 503) else None)
        there = self.contract.find(name) if verb in ("PUT", "DELETE") else None
        if there is not None and there.running and self._take("conflict", verb, name):
            raise Refusal(409, "operation-under-way", f"deployment {name} is being changed")

    def _fate(self, verb: str, name: str, body: Any = None) -> Fate:
        seconds = self.conduct.seconds if verb == "PUT" else self.conduct.delete_seconds
        words = [v["platform"]["fails"] for v in (body or {}).get("variants", ()) if "fails" in v.get("platform", {})]
        if words:
            return Fate(seconds, "rolls_back", words[0], self.conduct.looks)
        for kind in FATES:
            fault = self._take(kind, verb, name) if verb == "PUT" or kind != "rolls_back" else None
            if fault is not None:
                ending = Fate(seconds, kind, fault.message, self.conduct.looks)
                return Fate(float("inf")) if kind == "stuck" else ending
        looks = self.conduct.looks if seconds else None
        return Fate(seconds, looks=looks)

    def _shown(self, verb: str, name: str) -> bytes | None:
        if self._take("not_found", verb, name):
            return None
        if name in self.before and self._take("stale", verb, name):
            return self.before[name]
        there = self.contract.find(name)
        return self._visible(there) if there else None

    def _visible(self, there: Deployment) -> bytes:
        if there.running:
            there.running.shown += 1
        if self.conduct.shows_ended or there.running:
            return there.document()
        return json.dumps({**json.loads(there.document()), "operation": None}).encode()

    def _take(self, kind: str, verb: str, name: str) -> Fault | None:
        for fault in self.faults:
            if fault.kind == kind and fault.verb in ("*", verb) and (verb == "LIST" or fnmatch(name, fault.name)):
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self.faults.remove(fault)
                return fault
        return None

    def _accepted(self, status: int, there: Deployment) -> Response:
        headers = {"ETag": there.etag}
        if status == 202 and there.operation:
            headers["Location"] = there.operation.document()["location"]
            if self.conduct.retry_after is not None:
                headers["Retry-After"] = f"{self.conduct.retry_after:g}"
        return Response(there.document(), status, headers, "application/json")

    def _counts(self) -> dict[str, Any]:
        return {**self.recorder.counts(), "late": len(self._late)}

    async def _control(self, request: Request) -> Response:
        what = request.path_params["what"]
        body = await request.json() if request.method == "POST" else {}
        if what == "conduct":
            self.conduct = Conduct(**{**asdict(self.conduct), **body})
            self.contract.careless, self.contract.supersedes = self.conduct.careless, self.conduct.supersedes
            return JSONResponse(asdict(self.conduct))
        if what == "faults":
            self.faults = [Fault(**fault) for fault in body["faults"]] if request.method == "POST" else self.faults
            return JSONResponse([asdict(fault) for fault in self.faults])
        if what == "plant":
            self.contract.plant(**body)
        if what == "reset":
            self.reset()
        answers = {"log": lambda: list(self.recorder.log), "counts": self._counts, "reset": dict, "plant": dict}
        return JSONResponse(answers[what]())


def _refused(refusal: Refusal) -> Response:
    headers = {} if refusal.retry_after is None else {"Retry-After": f"{refusal.retry_after:g}"}
    if refusal.status == 307:
        return Response(status_code=307, headers={"Location": refusal.message})
    return JSONResponse({"code": refusal.code, "message": refusal.message}, refusal.status, headers)


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError as error:
        raise Refusal(422, "invalid", "the body is not JSON") from error
    except ClientDisconnect as error:
        raise Refusal(400, "gone", "the sender died before it had said everything") from error


async def _break(request: Request) -> Response:
    request.scope["transport"].abort()
    while not await request.is_disconnected():
        await asyncio.sleep(0.001)
    return Response()
