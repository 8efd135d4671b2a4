"""The fake workspace's server: Azure Resource Manager and the endpoints' own addresses over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from dataclasses import asdict
from fnmatch import fnmatch
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.fakes.azureml_conduct import PATH, Conduct, Conducted, Fault, refused
from tests.fakes.azureml_things import Document, Fate, Operation, Refusal, Thing

DEPLOYMENT = "azureml-model-deployment"


class FakeAzureMl(Conducted):
    """An ASGI application around one workspace."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # uvicorn's own cycle, so that a connection can be broken without a word
        scope["transport"] = getattr(getattr(receive, "__self__", None), "transport", None)
        request = Request(scope, receive, send)
        if not self.things.address:
            self.things.address = f"{str(request.base_url).rstrip('/')}/operations"
        response = await self._routed(request)
        await response(scope, receive, send)

    async def _routed(self, request: Request) -> Response:
        path = request.scope["path"]
        method, parts = request.method, path.removeprefix(PATH).strip("/").split("/")
        if path.startswith("/_fake/"):
            return await self._control(request, parts[1])
        if path.startswith("/operations/"):
            return await self.call("OPERATION", "", request, lambda: self._operation(parts[1], request))
        if path.startswith("/score/"):
            return await self._score(request, parts[1])
        body = await _json(request) if method in ("PUT", "PATCH", "POST") else {}
        if not path.startswith(PATH):
            code = "ResourceGroupNotFound" if "/resourceGroups/" in path else "SubscriptionNotFound"
            return refused(Refusal(404, code, "It could not be found."))
        match method, *parts:
            case "GET", "":
                return await self.call("WORKSPACE", "", request, lambda: JSONResponse({"location": "westeurope"}))
            case "GET", "onlineEndpoints":
                return await self.call("LIST", "", request, lambda: self._list(request))
            case "GET", "onlineEndpoints", name:
                return await self.call("GET", name, request, lambda: self._get(name))
            case "PUT", "onlineEndpoints", name:
                return await self.call("ENDPOINT", name, request, lambda: self._put_endpoint(name, body))
            case "PATCH", "onlineEndpoints", name:
                return await self.call("TAGS", name, request, lambda: self._patch(name, body))
            case "DELETE", "onlineEndpoints", name:
                return await self.call("DELETE", name, request, lambda: self._delete(name))
            case "POST", "onlineEndpoints", name, ("listKeys" | "regenerateKeys" | "token") as what:
                verb = "TOKEN" if what == "token" else "KEYS"
                return await self.call(verb, name, request, lambda: self._secrets(name, what, body))
            case "GET", "onlineEndpoints", name, "deployments":
                return await self.call("DEPLOYMENTS", name, request, lambda: self._deployments(name, request))
            case "GET", "onlineEndpoints", name, "deployments", deployment:
                return await self.call("GET", name, request, lambda: self._deployment(name, deployment))
            case "PUT", "onlineEndpoints", name, "deployments", deployment:
                return await self.call(
                    "DEPLOYMENT", name, request, lambda: self._put_deployment(name, deployment, body)
                )
            case "DELETE", "onlineEndpoints", name, "deployments", deployment:
                return await self.call("DROP", name, request, lambda: self._drop(name, deployment))
            case "POST", "onlineEndpoints", name, "deployments", deployment, "getLogs":
                return await self.call("LOGS", name, request, lambda: self._logs(name, deployment, body))
            case "GET", "models", name, "versions":
                return await self.call("MODELS", name, request, lambda: self._versions(name))
            case "GET", "models", name, "versions", version:
                return await self.call("READMODEL", name, request, lambda: self._model(name, version))
            case "PUT", "models", name, "versions", version:
                return await self.call("MODEL", name, request, lambda: self._put_model(name, version, body))
            case "DELETE", "models", name, "versions", version:
                return await self.call("UNREGISTER", name, request, lambda: self._unregister(name, version))
        return refused(Refusal(404, "InvalidResourceType", f"No such path: {path}"))

    def _list(self, request: Request) -> Response:
        stale, missing = self.take("stale", "LIST", ""), self.take("not_found", "LIST", "")
        shown = []
        for name in sorted({*self.things.endpoints, *(self.before if stale else {})}):
            image = self.image(name)
            if stale and fnmatch(name, stale.name) and name in self.before:
                image = self.before[name]
            self.things.seen(name)
            if image is not None and not (missing and fnmatch(name, missing.name)):
                shown.append(image["endpoint"])
        return self._page(shown, request)

    def _get(self, name: str) -> Response:
        image = self._image(name, "GET")
        if image is None:
            raise Refusal(404, "ResourceNotFound", f"The Resource 'onlineEndpoints/{name}' was not found.")
        return JSONResponse(image["endpoint"])

    def _deployments(self, name: str, request: Request) -> Response:
        image = self._image(name, "DEPLOYMENTS")
        if image is None:
            raise Refusal(404, "ResourceNotFound", f"The Resource 'onlineEndpoints/{name}' was not found.")
        return self._page(image["deployments"], request)

    def _deployment(self, name: str, deployment: str) -> Response:
        there = self.things.get(name).deployments.get(deployment)
        self.things.seen(name)
        if there is None:
            raise Refusal(404, "ResourceNotFound", f"The Resource 'deployments/{deployment}' was not found.")
        return JSONResponse(self.things.show(there, name))

    def _image(self, name: str, verb: str) -> Document | None:
        image = self.image(name)
        if self.take("not_found", verb, name):
            image = None
        elif name in self.before and self.take("stale", verb, name):
            image = self.before[name]
        self.things.seen(name)
        return image

    def _page(self, shown: list[Document], request: Request) -> Response:
        first = int(request.query_params.get("$skip", 0))
        after = first + self.conduct.page_size
        page: Document = {"value": shown[first:after]}
        if after < len(shown):
            page["nextLink"] = f"{str(request.url).split('?')[0]}?api-version=2025-12-01&$skip={after}"
        return JSONResponse(page)

    def _put_endpoint(self, name: str, body: Document) -> Response:
        if name in self.conduct.taken:
            words = "There is already an endpoint with this name. Endpoint name needs to be unique within a region."
            raise Refusal(409, "Conflict", words)
        before = self.image(name)
        there, changed = self.things.put_endpoint(name, body, self.fate("ENDPOINT", name))
        self.changed(name, "endpoint" if before is None else "traffic", changed, before)
        return self._accepted(there, there.operation if changed else None, 201 if before is None else 200)

    def _patch(self, name: str, body: Document) -> Response:
        before = self.image(name)
        there, changed = self.things.patch_endpoint(name, body, self.fate("TAGS", name))
        self.changed(name, "tags", changed, before)
        return self._accepted(there, there.operation, 202)

    def _put_deployment(self, name: str, deployment: str, body: Document) -> Response:
        model = str(body.get("properties", {}).get("model"))
        known, _, version = model.partition(f"{PATH}/models/")[2].partition("/versions/")
        if known and not self.has_model(known, version):
            raise Refusal(400, "ModelNotFound", f"The model {model} does not exist.")
        before = self.image(name)
        uri = self.model_uri(Thing(deployment, body))
        there, changed = self.things.put_deployment(name, deployment, body, self.fate("DEPLOYMENT", name, uri))
        self.changed(name, "deployment", changed, before)
        return self._accepted(there, there.operation if changed else None, 201 if changed else 200, name)

    def _drop(self, name: str, deployment: str) -> Response:
        before = self.image(name)
        operation = self.things.delete_deployment(name, deployment, self.fate("DROP", name))
        self.changed(name, "drop", operation is not None, before)
        return self._deleting(operation)

    def _delete(self, name: str) -> Response:
        before = self.image(name)
        operation = self.things.delete_endpoint(name, self.fate("DELETE", name))
        self.changed(name, "delete", operation is not None, before)
        return self._deleting(operation)

    def _accepted(self, there: Thing, operation: Operation | None, status: int, name: str | None = None) -> Response:
        shown = self.things.show(there, name)
        return JSONResponse(shown if status != 202 else None, status, self._addresses(operation, told=status != 202))

    def _deleting(self, operation: Operation | None) -> Response:
        return Response(status_code=204) if operation is None else Response(None, 202, self._addresses(operation))

    def _addresses(self, operation: Operation | None, *, told: bool = True) -> dict[str, str]:
        if operation is None:
            return {}
        url, retry = self.things.url(operation), self.conduct.retry_after
        headers = {"Azure-AsyncOperation": url} if told and not self.conduct.location else {}
        headers |= {} if headers else {"Location": f"{url}&result=true"}
        return headers | ({} if retry is None else {"Retry-After": f"{retry:g}"})

    def _operation(self, number: str, request: Request) -> Response:
        operation = self.things.operations.get(number)
        if operation is None:
            raise Refusal(404, "ResourceNotFound", "The operation was not found.")
        for name, busy in list(self.things.busy.items()):
            if busy is operation:
                self.things.pass_time(name)
                self.things.seen(name)
        code = None if self.conduct.codeless else "InferencingClientCallFailed"
        error = {"code": code, "message": operation.message}
        headers = self._addresses(operation) if operation.status == "InProgress" else {}
        if request.query_params.get("result"):
            if operation.status == "InProgress":
                return Response(None, 202, headers)
            good = operation.status == "Succeeded"
            return JSONResponse({} if good else {"error": error}, 200 if good else 400)
        status = self.conduct.running if operation.status == "InProgress" else operation.status
        told: Document = {"id": number, "name": number, "status": status}
        return JSONResponse(told | ({"error": error} if operation.message else {}), headers=headers)

    def _secrets(self, name: str, what: str, body: Document) -> Response:
        there = self.things.get(name)
        if what == "token":
            if there.body["properties"]["authMode"] != "AMLToken":
                raise Refusal(400, "BadRequest", "The endpoint does not take tokens.")
            token, until = f"aml-{name}-{len(self.tokens)}", time.time() + self.conduct.token_seconds
            self.tokens[token] = until
            fresh = int(time.time() + self.conduct.refresh_seconds)
            return JSONResponse(
                {"accessToken": token, "expiryTimeUtc": int(until), "refreshAfterTimeUtc": fresh, "tokenType": "Bearer"}
            )
        if what == "regenerateKeys":
            place = 0 if body.get("keyType") == "Primary" else 1
            there.keys[place] += "-anew"
            return Response(status_code=202)
        return JSONResponse({"primaryKey": there.keys[0], "secondaryKey": there.keys[1]})

    def _logs(self, name: str, deployment: str, body: Document) -> Response:
        there = self.things.get(name).deployments.get(deployment)
        if there is None:
            raise Refusal(404, "ResourceNotFound", f"The Resource 'deployments/{deployment}' was not found.")
        lines = "Downloading the model\n" if body.get("containerType") == "StorageInitializer" else there.log
        return JSONResponse({"content": "".join(lines.splitlines(keepends=True)[-int(body.get("tail") or 100) :])})

    def _model(self, name: str, version: str) -> Response:
        if not self.has_model(name, version):
            raise Refusal(404, "UserError", f"The Resource 'models/{name}/versions/{version}' was not found.")
        return JSONResponse(self.things.models.get((name, version)) or {"name": version})

    def _versions(self, name: str) -> Response:
        if not self.has_model(name, self.conduct.versions.get(name, "1")):
            raise Refusal(404, "UserError", f"The Resource 'models/{name}' was not found.")
        return JSONResponse({"value": [{"name": self.conduct.versions.get(name, "1")}]})

    def _put_model(self, name: str, version: str, body: Document) -> Response:
        if set(body) != {"properties"} or not str(body["properties"].get("modelUri", "")).startswith("azureml://"):
            raise Refusal(400, "BadRequest", "The modelUri is not valid.")
        there = self.things.models.get((name, version))
        if there is not None and there != body:
            raise Refusal(409, "Conflict", f"The model {name}:{version} exists with another path.")
        self.things.models[name, version] = body
        self.changed(name[:-13], "model", there is None, self.image(name[:-13]))
        return JSONResponse(body, 200 if there else 201)

    def _unregister(self, name: str, version: str) -> Response:
        gone = self.things.models.pop((name, version), None)
        self.changed(name[:-13], "unregister", gone is not None, self.image(name[:-13]))
        return Response(status_code=204 if gone is None else 200)

    async def _score(self, request: Request, name: str) -> Response:
        body = await request.body()
        if self.conduct.model_latency:
            await asyncio.sleep(self.conduct.model_latency)
        return await self.call("SCORE", name, request, lambda: self._scored(name, request, body))

    def _scored(self, name: str, request: Request, body: bytes) -> Response:
        there = self.things.find(name)
        if there is None:
            raise Refusal(404, None, "there is no such endpoint")
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        mode = there.body["properties"]["authMode"]
        good = {"Key": token in there.keys, "AADToken": token == self.conduct.scoring_token}
        if not good.get(mode, self.tokens.get(token, 0) > time.time()):
            raise Refusal(401, None, f"the key {token} is not valid")
        traffic = {k: v for k, v in there.body["properties"]["traffic"].items() if v}
        chosen = request.headers.get(DEPLOYMENT)
        if chosen is None and traffic:
            chosen = random.choices(list(traffic), list(traffic.values()))[0]
        found = there.deployments.get(chosen or "")
        if found is None or (found.state != "Succeeded" and chosen not in traffic):
            raise Refusal(404, None, "there is no deployment with traffic, or of this name")
        headers = {DEPLOYMENT: found.name}
        uri, status = self.model_uri(found), self.conduct.model_status
        if "mute" in uri or status != 200:
            headers |= {"ms-azureml-model-error-statuscode": str(status if status != 200 else 500)}
            return JSONResponse({"message": "the model raised ValueError"}, 424, headers)
        if _parsed(body).get("stream") is True:
            return StreamingResponse(self._events(uri), media_type="text/event-stream", headers=headers)
        got = base64.b64encode(body).decode()
        return JSONResponse({"predictions": [uri], "served": found.name, "body": got}, headers=headers)

    async def _events(self, uri: str) -> Any:
        for number in range(self.conduct.chunks):
            if number == self.conduct.breaks_after:
                raise ConnectionAbortedError("as it was asked to")
            yield f"data: {json.dumps({'delta': f'{uri} {number}'})}\n\n"
            await asyncio.sleep(self.conduct.chunk_seconds)
        yield "data: [DONE]\n\n"

    async def _control(self, request: Request, what: str) -> Response:
        body = await request.json() if request.method == "POST" else {}
        if what == "conduct":
            self.conduct = Conduct(**{**asdict(self.conduct), **body})
            self.things.interruptible = self.conduct.interruptible
        if what == "faults" and request.method == "POST":
            self.faults = [Fault(**fault) for fault in body["faults"]]
        for planted in body.get("endpoints", []) if what == "plant" else []:
            self._plant(planted)
        if what == "cancel":
            self.things.end(body["name"], Fate(0, "canceled", "The operation was canceled."))
        if what == "reset":
            self.reset()
        answers = {
            "log": lambda: list(self.recorder.log),
            "counts": self.recorder.counts,
            "faults": lambda: [asdict(fault) for fault in self.faults],
            "image": lambda: self.image(body["name"]),
            "models": lambda: ["/".join(each) for each in self.things.models],
        }
        return JSONResponse(answers.get(what, dict)())

    def _plant(self, planted: Document) -> None:
        """An endpoint of somebody else's, with its deployments, serving at once."""
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "tags": {}, **planted["endpoint"]}
        asked, body = body, {**body, "properties": {**body["properties"], "traffic": {}, "mirrorTraffic": {}}}
        self.things.put_endpoint(planted["name"], body, Fate(0))
        for name, deployment in planted.get("deployments", {}).items():
            self.things.put_deployment(planted["name"], name, {"location": "westeurope", **deployment}, Fate(0))
        self.things.put_endpoint(planted["name"], asked, Fate(0))


def _parsed(body: bytes) -> Document:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


async def _json(request: Request) -> Any:
    return _parsed(await request.body())
