"""The fake workspace's server: serving endpoints over HTTP, and what can go wrong with them, on demand.

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
import base64
import json
import random
import time
from collections import Counter, defaultdict, deque
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.databricks_endpoints import Document, Endpoint, Endpoints, Fate, Refusal

WRITES = {"CREATE", "CONFIG", "TAGS", "GATEWAY", "LIMITS", "NOTIFICATIONS", "DELETE"}
AHEAD = {
    "throttled": (429, "REQUEST_LIMIT_EXCEEDED"),
    "unavailable": (503, "TEMPORARILY_UNAVAILABLE"),
    "quota": (400, "RESOURCE_LIMIT_EXCEEDED"),
    "denied": (403, "PERMISSION_DENIED"),
    "refused": (400, "INVALID_PARAMETER_VALUE"),
}
API = "/api/2.0/serving-endpoints"


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


class FakeDatabricks:
    """An ASGI application around one workspace."""

    def __init__(self, **conduct: Any) -> None:
        self.began = Conduct(**conduct)
        self.reset()
        entity = API + "/{name}/served-models/{entity}"
        served = "/serving-endpoints/{name}/served-models/{entity}"
        self._app = Starlette(
            routes=[
                Route(API, self._create, methods=["POST"]),
                Route(API, self._list, methods=["GET"]),
                Route(API + "/{name}", self._get, methods=["GET"]),
                Route(API + "/{name}", self._delete, methods=["DELETE"]),
                Route(API + "/{name}/config", self._config, methods=["PUT"]),
                Route(API + "/{name}/tags", self._tags, methods=["PATCH"]),
                Route(API + "/{name}/ai-gateway", self._gateway, methods=["PUT"]),
                Route(API + "/{name}/rate-limits", self._limits, methods=["PUT"]),
                Route(API + "/{name}/notifications", self._notifications, methods=["PATCH"]),
                Route(entity + "/build-logs", self._logs, methods=["GET"]),
                Route(entity + "/logs", self._logs, methods=["GET"]),
                Route("/data-plane/serving-endpoints/{name}/invocations", self._invoke, methods=["POST"]),
                Route("/data-plane" + served + "/invocations", self._invoke, methods=["POST"]),
                Route("/serving-endpoints/{name}/invocations", self._invoke, methods=["POST"]),
                Route(served + "/invocations", self._invoke, methods=["POST"]),
                Route("/api/2.1/unity-catalog/models/{name}/aliases/{alias}", self._uc_alias, methods=["GET"]),
                Route("/api/2.1/unity-catalog/models/{name}/versions/{version}", self._uc_version, methods=["GET"]),
                Route("/api/2.0/mlflow/registered-models/alias", self._alias, methods=["GET"]),
                Route("/api/2.0/mlflow/model-versions/get", self._version, methods=["GET"]),
                Route("/.well-known/databricks-config", self._host, methods=["GET"]),
                Route("/oidc/.well-known/oauth-authorization-server", self._discovery, methods=["GET"]),
                Route("/oidc/v1/token", self._token, methods=["POST"]),
                Route("/_fake/{what}", self._control, methods=["GET", "POST"]),
            ]
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # uvicorn's own cycle, so that a connection can be broken without a word
        scope["transport"] = getattr(getattr(receive, "__self__", None), "transport", None)
        await self._app(scope, receive, send)

    def reset(self) -> None:
        self.conduct = Conduct(**asdict(self.began))
        self.workspace = Endpoints()
        self.faults: list[Fault] = []
        self.recorder = Recorder()
        self.before: dict[str, tuple[Document, Document] | None] = {}
        self.issued: dict[str, float] = {}
        self.writes: deque[float] = deque()

    async def _create(self, request: Request) -> Response:
        body = await _json(request)
        name = str(body.get("name", ""))

        def effect() -> Response:
            self._check_models(body.get("config") or {})
            there = self.workspace.create(body, self._fate("CREATE", name, body.get("config") or {}))
            self._changed(name, "create", True, None)
            return self._shown_now(there, request)

        return await self._call("CREATE", request, effect, name)

    async def _config(self, request: Request) -> Response:
        body = await _json(request)
        name = request.path_params["name"]

        def effect() -> Response:
            self._check_models(body)
            before = self._image(name)
            there, changed = self.workspace.configure(name, body, self._fate("CONFIG", name, body))
            self._changed(name, "config", changed, before)
            return self._shown_now(there, request)

        return await self._call("CONFIG", request, effect)

    async def _tags(self, request: Request) -> Response:
        body = await _json(request)

        def effect() -> Response:
            name = request.path_params["name"]
            before = self._image(name)
            there, changed = self.workspace.patch_tags(name, body)
            self._changed(name, "tags", changed, before)
            return JSONResponse({"tags": there.detail()["tags"]})

        return await self._call("TAGS", request, effect)

    async def _gateway(self, request: Request) -> Response:
        return await self._wide(request, "GATEWAY", "ai_gateway", await _json(request))

    async def _notifications(self, request: Request) -> Response:
        body = await _json(request)
        return await self._wide(request, "NOTIFICATIONS", "email_notifications", body.get("email_notifications") or {})

    async def _wide(self, request: Request, verb: str, key: str, value: Document) -> Response:
        def effect() -> Response:
            name = request.path_params["name"]
            before = self._image(name)
            _, changed = self.workspace.put_wide(name, key, value)
            self._changed(name, key, changed, before)
            return JSONResponse(value)

        return await self._call(verb, request, effect)

    async def _limits(self, request: Request) -> Response:
        body = await _json(request)

        def effect() -> Response:
            name = request.path_params["name"]
            before = self._image(name)
            there, changed = self.workspace.put_rate_limits(name, body)
            self._changed(name, "rate_limits", changed, before)
            return JSONResponse({"rate_limits": there.rate_limits})

        return await self._call("LIMITS", request, effect)

    async def _delete(self, request: Request) -> Response:
        def effect() -> Response:
            name = request.path_params["name"]
            before = self._image(name)
            self.workspace.delete(name)
            self._changed(name, "delete", True, before)
            return JSONResponse({})

        return await self._call("DELETE", request, effect)

    async def _get(self, request: Request) -> Response:
        def effect() -> Response:
            name = request.path_params["name"]
            there = self.workspace.find(name)
            shown = there.detail() if there else None
            if self._take("not_found", "GET", name):
                shown = None
            elif name in self.before and self._take("stale", "GET", name):
                old = self.before[name]
                shown = old[1] if old else None
            if shown is None:
                raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Endpoint with name '{name}' does not exist.")
            if there is not None and there.update is not None:
                there.update.shown += 1
            return JSONResponse(self._with_data_plane(shown, request))

        return await self._call("GET", request, effect)

    async def _list(self, request: Request) -> Response:
        def effect() -> Response:
            shown = []
            stale, missing = self._take("stale", "LIST", ""), self._take("not_found", "LIST", "")
            names = {*self.workspace.endpoints, *(self.before if stale else {})}
            for name in sorted(names):
                there = self.workspace.find(name)
                entry = there.summary() if there else None
                if stale and fnmatch(name, stale.name) and name in self.before:
                    old = self.before[name]
                    entry = old[0] if old else None
                if there is not None and there.update is not None:
                    there.update.shown += 1
                if entry is not None and not (missing and fnmatch(name, missing.name)):
                    shown.append(entry)
            return JSONResponse({"endpoints": shown} if shown else {})

        return await self._call("LIST", request, effect)

    async def _logs(self, request: Request) -> Response:
        def effect() -> Response:
            there = self.workspace.get(request.path_params["name"])
            entity = request.path_params["entity"]
            configs = [config for config in (there.config, there.pending) if config]
            if entity not in {e["name"] for config in configs for e in config["served_entities"]}:
                raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Served model {entity} does not exist.")
            building = request.url.path.endswith("build-logs")
            lines = there.logs.get(entity, "Building the image\n") if building else f"serving {entity}\n"
            return JSONResponse({"logs": lines})

        return await self._call("LOGS", request, effect)

    async def _invoke(self, request: Request) -> Response:
        name, entity = request.path_params["name"], request.path_params.get("entity")
        body = await request.body()

        def effect() -> Response:
            there = self.workspace.find(name)
            if there is None or there.config is None:
                raise Refusal(404, "ENDPOINT_NOT_FOUND", f"The given endpoint does not exist: {name}")
            direct = request.url.path.startswith("/data-plane/")
            if direct != request.headers["authorization"].endswith("-data-plane"):
                raise Refusal(403, "PERMISSION_DENIED", "This token is not for this address.")
            return self._predicted(there, entity, body)

        await asyncio.sleep(self.conduct.model_latency)
        return await self._call("INVOKE", request, effect)

    def _predicted(self, there: Endpoint, entity: str | None, body: bytes) -> Response:
        assert there.config is not None
        routes = there.config["traffic_config"]["routes"]
        shares = {route["served_entity_name"]: int(route["traffic_percentage"]) for route in routes}
        entity = entity or random.choices(list(shares), list(shares.values()))[0]
        found = next((e for e in there.serving() if e["name"] == entity), None)
        if found is None:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"The given served model does not exist: {entity}")
        headers = {"served-model-name": entity}
        if self.conduct.model_status != 200:
            answer = {"error_code": "BAD_REQUEST", "message": "the model raised ValueError"}
            return JSONResponse(answer, self.conduct.model_status, headers)
        model = f"{found.get('entity_name')}/{found.get('entity_version')}"
        if "external_model" in found:
            model = f"{found['external_model']['provider']}/{found['external_model']['name']}"
        asked = _parsed(body)
        if asked.get("stream") is True:
            return StreamingResponse(self._events(model, entity), media_type="text/event-stream", headers=headers)
        got = base64.b64encode(body).decode()
        return JSONResponse({"predictions": [model], "served": entity, "body": got}, headers=headers)

    async def _events(self, model: str, entity: str) -> Any:
        for number in range(self.conduct.chunks):
            if number == self.conduct.breaks_after:
                raise ConnectionAbortedError("as it was asked to")
            yield f"data: {json.dumps({'delta': f'{model} {number}', 'served': entity})}\n\n"
            await asyncio.sleep(self.conduct.chunk_seconds)
        yield "data: [DONE]\n\n"

    async def _uc_alias(self, request: Request) -> Response:
        def effect() -> Response:
            name, alias = request.path_params["name"], request.path_params["alias"]
            version = self.conduct.aliases.get(name, {}).get(alias)
            if version is None:
                raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Alias '{alias}' of model '{name}' does not exist.")
            return JSONResponse({"model_name": name.split(".")[-1], "version": int(version), "status": "READY"})

        return await self._call("MODEL", request, effect)

    async def _uc_version(self, request: Request) -> Response:
        def effect() -> Response:
            name, version = request.path_params["name"], request.path_params["version"]
            self._known_model(name, version)
            return JSONResponse({"model_name": name.split(".")[-1], "version": int(version), "status": "READY"})

        return await self._call("MODEL", request, effect)

    async def _alias(self, request: Request) -> Response:
        def effect() -> Response:
            name, alias = request.query_params["name"], request.query_params["alias"]
            version = self.conduct.aliases.get(name, {}).get(alias)
            if version is None:
                words = f"Registered model alias {alias} not found."
                raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", words)
            return JSONResponse({"model_version": {"name": name, "version": version, "status": "READY"}})

        return await self._call("MODEL", request, effect)

    async def _version(self, request: Request) -> Response:
        def effect() -> Response:
            name, version = request.query_params["name"], request.query_params["version"]
            self._known_model(name, version)
            return JSONResponse({"model_version": {"name": name, "version": version, "status": "READY"}})

        return await self._call("MODEL", request, effect)

    def _known_model(self, name: str, version: str) -> None:
        if name in self.conduct.missing or f"{name}/{version}" in self.conduct.missing:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Model version '{name}' {version} does not exist.")

    def _check_models(self, config: Document) -> None:
        for entity in config.get("served_entities") or []:
            if "entity_name" in entity:
                self._known_model(entity["entity_name"], str(entity.get("entity_version")))

    async def _host(self, request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        return JSONResponse({"oidc_endpoint": f"{base}/oidc", "workspace_id": "7", "cloud": "aws"})

    async def _discovery(self, request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        answer = {"authorization_endpoint": f"{base}/oidc/v1/authorize", "token_endpoint": f"{base}/oidc/v1/token"}
        return JSONResponse(answer)

    async def _token(self, request: Request) -> Response:
        """OAuth for machines, and the exchange for a token of one route-optimised endpoint."""
        await asyncio.sleep(self.conduct.latency)
        form = dict(parse_qsl((await request.body()).decode()))
        self.recorder.calls["TOKEN"] += 1
        if self._take("denied", "TOKEN", ""):
            return JSONResponse({"error": "invalid_client", "error_description": "denied"}, 401)
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        pair = base64.b64decode(encoded).decode() if scheme == "Basic" else ":"
        client, _, secret = pair.partition(":")
        assertion = form.get("assertion")
        if self.conduct.clients.get(client) != secret and self.issued.get(assertion or "", 0) < time.time():
            return JSONResponse({"error": "invalid_client", "error_description": "unknown client"}, 401)
        self.recorder.tokens += 1
        token = f"oauth-{self.recorder.tokens}" + ("-data-plane" if "authorization_details" in form else "")
        self.issued[token] = time.time() + self.conduct.token_seconds
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": self.conduct.token_seconds})

    async def _call(self, verb: str, request: Request, effect: Any, name: str | None = None) -> Response:
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
            if self._take("drop_before", verb, name):
                return await _break(request)
            response: Response = effect()
        except Refusal as refusal:
            response = _refused(refusal)
        if self._take("drop_after", verb, name):
            return await _break(request)
        entry["status"] = response.status_code
        return response

    def _refuse(self, verb: str, name: str, request: Request) -> None:
        authorization = request.headers.get("authorization", "")
        if self.conduct.token is not None and not self._lets_in(authorization.removeprefix("Bearer ")):
            raise Refusal(401, "UNAUTHENTICATED", f"Invalid access token: {authorization}")
        for kind, (status, code) in AHEAD.items():
            fault = self._take(kind, verb, name)
            if fault is not None:
                message = f"not allowed to {authorization}" if kind == "denied" else fault.message
                raise Refusal(status, code, message, fault.retry_after if status == 429 else None)
        if verb in WRITES and self._take("conflict", verb, name):
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

    def _fate(self, verb: str, name: str, config: Document) -> Fate:
        conduct = self.conduct
        for entity in config.get("served_entities") or []:
            if "broken" in (entity.get("entity_name") or ""):
                return Fate(conduct.seconds, "fails", conduct.failure, conduct.looks)
        for kind in ("fails", "canceled", "stuck"):
            fault = self._take(kind, verb, name)
            if fault is not None:
                return (
                    Fate(float("inf")) if kind == "stuck" else Fate(conduct.seconds, kind, fault.message, conduct.looks)
                )
        return Fate(conduct.seconds, looks=conduct.looks if conduct.seconds else None)

    def _image(self, name: str) -> tuple[Document, Document] | None:
        there = self.workspace.find(name)
        return (there.summary(), there.detail()) if there else None

    def _changed(self, name: str, what: str, changed: bool, before: tuple[Document, Document] | None) -> None:
        if changed:
            self.before[name] = before
            self.recorder.effects[name][what] += 1

    def _shown_now(self, there: Endpoint, request: Request) -> Response:
        return JSONResponse(self._with_data_plane(there.detail(), request))

    def _with_data_plane(self, shown: Document, request: Request) -> Document:
        """A route-optimised endpoint tells its own address, and what a token for it has to name."""
        if not shown.get("route_optimized"):
            return shown
        details = json.dumps([{"type": "workspace_permission", "object_path": f"/serving-endpoints/{shown['id']}"}])
        url = f"{str(request.base_url).rstrip('/')}/data-plane/serving-endpoints/{shown['name']}/invocations"
        return {**shown, "data_plane_info": {"query_info": {"endpoint_url": url, "authorization_details": details}}}

    def _take(self, kind: str, verb: str, name: str) -> Fault | None:
        for fault in self.faults:
            asked = fault.verb in ("*", verb) or (fault.verb == "WRITE" and verb in WRITES)
            if fault.kind == kind and asked and (verb in ("LIST", "TOKEN") or fnmatch(name, fault.name)):
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self.faults.remove(fault)
                return fault
        return None

    async def _control(self, request: Request) -> Response:
        what = request.path_params["what"]
        body = await request.json() if request.method == "POST" else {}
        if what == "conduct":
            self.conduct = Conduct(**{**asdict(self.conduct), **body})
            return JSONResponse(asdict(self.conduct))
        if what == "faults":
            self.faults = [Fault(**fault) for fault in body["faults"]] if request.method == "POST" else self.faults
            return JSONResponse([asdict(fault) for fault in self.faults])
        if what == "plant":
            for planted in body["endpoints"]:
                self.workspace.create(planted, Fate(0))
        if what == "cancel":
            self.workspace.cancel(body["name"])
        if what == "reset":
            self.reset()
        if what == "endpoint":
            there = self.workspace.find(body["name"])
            return JSONResponse(there.detail() | {"rate_limits": there.rate_limits} if there else None)
        answers = {"log": lambda: list(self.recorder.log), "counts": self.recorder.counts}
        return JSONResponse(answers.get(what, dict)())


def _refused(refusal: Refusal) -> Response:
    headers = {} if refusal.retry_after is None else {"Retry-After": f"{refusal.retry_after:g}"}
    return JSONResponse({"error_code": refusal.code, "message": refusal.message}, refusal.status, headers)


def _parsed(body: bytes) -> Document:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        return {}


async def _break(request: Request) -> Response:
    request.scope["transport"].abort()
    while not await request.is_disconnected():
        await asyncio.sleep(0.001)
    return Response()
