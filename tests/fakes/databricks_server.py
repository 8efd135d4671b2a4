"""The fake workspace's server: serving endpoints over HTTP; what goes wrong with them is in ``databricks_conduct``."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from dataclasses import asdict
from fnmatch import fnmatch
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.databricks_conduct import Conduct, Conducted, Fault
from tests.fakes.databricks_endpoints import Document, Endpoint, Fate, Refusal
from tests.fakes.databricks_signin import SignIn

API = "/api/2.0/serving-endpoints"


class FakeDatabricks(Conducted):
    """An ASGI application around one workspace."""

    def __init__(self, **conduct: Any) -> None:
        super().__init__(**conduct)
        sign_in = SignIn(self)
        entity = API + "/{name}/served-models/{entity}"
        served = "/serving-endpoints/{name}/served-models/{entity}"
        self._app = Starlette(
            routes=[
                *sign_in.routes(),
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
                Route("/_fake/{what}", self._control, methods=["GET", "POST"]),
            ]
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # uvicorn's own cycle, so that a connection can be broken without a word
        scope["transport"] = getattr(getattr(receive, "__self__", None), "transport", None)
        await self._app(scope, receive, send)

    async def _create(self, request: Request) -> Response:
        body = await _json(request)
        name = str(body.get("name", ""))

        def effect() -> Response:
            self._check_models(body.get("config") or {})
            there = self.workspace.create(body, self.fate("CREATE", name, body.get("config") or {}))
            self.changed(name, "create", True, None)
            return self._shown_now(there, request)

        return await self.call("CREATE", request, effect, name)

    async def _config(self, request: Request) -> Response:
        body = await _json(request)
        name = request.path_params["name"]

        def effect() -> Response:
            self._check_models(body)
            before = self.image(name)
            there, changed = self.workspace.configure(name, body, self.fate("CONFIG", name, body))
            self.changed(name, "config", changed, before)
            return self._shown_now(there, request)

        return await self.call("CONFIG", request, effect)

    async def _tags(self, request: Request) -> Response:
        body = await _json(request)

        def effect() -> Response:
            name = request.path_params["name"]
            before = self.image(name)
            there, changed = self.workspace.patch_tags(name, body)
            self.changed(name, "tags", changed, before)
            return JSONResponse({"tags": there.detail()["tags"]})

        return await self.call("TAGS", request, effect)

    async def _gateway(self, request: Request) -> Response:
        return await self._wide(request, "GATEWAY", "ai_gateway", await _json(request))

    async def _notifications(self, request: Request) -> Response:
        body = await _json(request)
        return await self._wide(request, "NOTIFICATIONS", "email_notifications", body.get("email_notifications") or {})

    async def _wide(self, request: Request, verb: str, key: str, value: Document) -> Response:
        def effect() -> Response:
            name = request.path_params["name"]
            before = self.image(name)
            _, changed = self.workspace.put_wide(name, key, value)
            self.changed(name, key, changed, before)
            return JSONResponse(value)

        return await self.call(verb, request, effect)

    async def _limits(self, request: Request) -> Response:
        body = await _json(request)

        def effect() -> Response:
            name = request.path_params["name"]
            before = self.image(name)
            there, changed = self.workspace.put_rate_limits(name, body)
            self.changed(name, "rate_limits", changed, before)
            return JSONResponse({"rate_limits": there.rate_limits})

        return await self.call("LIMITS", request, effect)

    async def _delete(self, request: Request) -> Response:
        def effect() -> Response:
            name = request.path_params["name"]
            before = self.image(name)
            self.workspace.delete(name)
            self.changed(name, "delete", True, before)
            return JSONResponse({})

        return await self.call("DELETE", request, effect)

    async def _get(self, request: Request) -> Response:
        def effect() -> Response:
            name = request.path_params["name"]
            there = self.workspace.find(name)
            shown = there.detail() if there else None
            if self.take("not_found", "GET", name):
                shown = None
            elif name in self.before and self.take("stale", "GET", name):
                old = self.before[name]
                shown = old[1] if old else None
            if shown is None:
                raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Endpoint with name '{name}' does not exist.")
            if there is not None and there.update is not None:
                there.update.shown += 1
            return JSONResponse(self._with_data_plane(shown, request))

        return await self.call("GET", request, effect)

    async def _list(self, request: Request) -> Response:
        def effect() -> Response:
            shown = []
            stale, missing = self.take("stale", "LIST", ""), self.take("not_found", "LIST", "")
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

        return await self.call("LIST", request, effect)

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

        return await self.call("LOGS", request, effect)

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
        return await self.call("INVOKE", request, effect)

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

    def _check_models(self, config: Document) -> None:
        for entity in config.get("served_entities") or []:
            if "entity_name" in entity:
                self.check_model(entity["entity_name"], str(entity.get("entity_version")))

    def _shown_now(self, there: Endpoint, request: Request) -> Response:
        return JSONResponse(self._with_data_plane(there.detail(), request))

    def _with_data_plane(self, shown: Document, request: Request) -> Document:
        """A route-optimised endpoint tells its own address, and what a token for it has to name."""
        if not shown.get("route_optimized"):
            return shown
        details = json.dumps([{"type": "workspace_permission", "object_path": f"/serving-endpoints/{shown['id']}"}])
        url = f"{str(request.base_url).rstrip('/')}/data-plane/serving-endpoints/{shown['name']}/invocations"
        return {**shown, "data_plane_info": {"query_info": {"endpoint_url": url, "authorization_details": details}}}

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
