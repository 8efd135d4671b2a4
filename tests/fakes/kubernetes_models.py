"""The models behind the fake cluster's gateway and Services: which of them answers, by what the controllers made."""

from __future__ import annotations

import asyncio
import random

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tests.fakes.kubernetes_conduct import Conduct, Faults, Recorder
from tests.fakes.kubernetes_controllers import Controllers, child_name, mode_of
from tests.fakes.kubernetes_objects import Document, Objects, matches


class Models:
    """Answers predictions with the URI of the model that got them."""

    conduct: Conduct
    faults: Faults
    recorder: Recorder
    objects: Objects
    controllers: Controllers

    async def predict(self, request: Request, label: str) -> Response:
        body = await request.body()
        self.recorder.calls["INVOKE"] += 1
        entry = {"verb": "INVOKE", "resource": "", "name": label, "path": request.url.path}
        self.recorder.log.append({**entry, "headers": dict(request.headers), "body": body.decode("latin-1")})
        await asyncio.sleep(self.conduct.model_latency)
        if self.faults.take("drop_before", "INVOKE", "", label):
            return await broken(request)
        if self.faults.take("unavailable", "INVOKE", "", label):
            return PlainTextResponse("no healthy upstream", 503)
        if fault := self.faults.take("redirect", "INVOKE", "", label):
            return Response(status_code=302, headers={"Location": fault.message})
        wanted = self.conduct.predict_token
        if wanted is not None and request.headers.get("authorization") != f"Bearer {wanted}":
            return JSONResponse({"error": "RBAC: access denied"}, 403)
        path = request.url.path
        if path.startswith("/_service/"):
            _, _, namespace, service, rest = path.split("/", 4)
            model = self._behind_service(namespace, service)
        else:
            rest, model = path.lstrip("/"), self._behind_gateway(label)
        if model is None:
            return PlainTextResponse("", 404)
        if rest not in ("invocations", "") and not rest.startswith(("v2/models/", "v1/models/")):
            return JSONResponse({"detail": "Not Found"}, 404)
        if self.conduct.model_status != 200:
            return JSONResponse({"error": "the model raised ValueError"}, self.conduct.model_status)
        return JSONResponse({"predictions": [model], "path": f"/{rest}", "body": body.decode("latin-1")})

    def _behind_service(self, namespace: str, service: str) -> str | None:
        if (namespace, service) in self.controllers.serving and service.endswith("-predictor"):
            return self.controllers.serving[namespace, service]
        found = self.objects.find("services", namespace, service)
        selector = ((found or {}).get("spec") or {}).get("selector") or {}
        terms = ",".join(f"{key}={value}" for key, value in selector.items())
        for each in self.objects.every("deployments", namespace):
            name = each["metadata"]["name"]
            pods = {"metadata": each["spec"]["template"]["metadata"]}
            if selector and matches(pods, terms) and (namespace, name) in self.controllers.serving:
                return self.controllers.serving[namespace, name]
        return None

    def _behind_gateway(self, label: str) -> str | None:
        for there in self.objects.every("inferenceservices"):
            name, namespace = there["metadata"]["name"], there["metadata"]["namespace"]
            if label == f"{name}-{namespace}":
                shares = self.shares(namespace, name)
                return random.choices(list(shares), list(shares.values()))[0] if shares else None
            for target in _targets(there):
                if label == f"{target.get('tag')}-{name}-predictor-{namespace}":
                    return self.controllers.serving.get((namespace, target["revisionName"]))
        return None

    def shares(self, namespace: str, name: str) -> dict[str, int]:
        """By model its share of what is sent to this name."""
        there = self.objects.find("inferenceservices", namespace, name)
        found: dict[str, int] = {}
        if there is None:
            model = self._behind_service(namespace, name)
            return {model: 100} if model else {}
        if mode_of(there) == "Knative":
            weights = [(target["revisionName"], target["percent"]) for target in _targets(there)]
        else:
            route = self.objects.find("httproutes", namespace, name)
            refs = route["spec"]["rules"][0]["backendRefs"] if route else [{"name": child_name(name, None)}]
            weights = [(ref["name"], ref.get("weight", 100)) for ref in refs]
        for child, weight in weights:
            model = self.controllers.serving.get((namespace, child))
            if model is not None:
                found[model] = found.get(model, 0) + weight
        return found


def _targets(there: Document) -> list[Document]:
    parts = (there.get("status", {}).get("components") or {}).get("predictor") or {}
    return list(parts.get("traffic") or [])


async def broken(request: Request) -> Response:
    """No answer: the connection is cut."""
    request.scope["transport"].abort()
    while not await request.is_disconnected():
        await asyncio.sleep(0.001)
    return Response()
