"""The fake API server over HTTP, and the models behind it; what goes wrong is in ``kubernetes_conduct``."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from dataclasses import asdict
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tests.fakes import kubernetes_discovery as discovery
from tests.fakes.kubernetes_admission import admit, unknown_fields
from tests.fakes.kubernetes_apps import Change, Fate
from tests.fakes.kubernetes_conduct import Conduct, Faults, Recorder, Tally
from tests.fakes.kubernetes_controllers import Controllers
from tests.fakes.kubernetes_models import Models, broken
from tests.fakes.kubernetes_objects import (
    GROUPS,
    KINDS,
    Document,
    Objects,
    Refusal,
    check_preconditions,
)
from tests.fakes.kubernetes_reads import Reads

DOMAIN = "example.com"
PRIMARY = ("inferenceservices", "deployments")
VERBS = {"PATCH": "APPLY", "PUT": "APPLY", "POST": "APPLY", "DELETE": "DELETE"}


class FakeKubernetes(Models, Reads):
    """An ASGI application around one cluster with KServe."""

    def __init__(self, tally: str | None = None, **conduct: Any) -> None:
        self.began, self.tally = Conduct(**conduct), Tally(tally)
        self.reset()

    def reset(self) -> None:
        self.conduct = Conduct(**asdict(self.began))
        self.objects = Objects()
        self.controllers = Controllers(self.objects, DOMAIN)
        self.faults = Faults()
        self.recorder = Recorder()
        self.before: dict[tuple[str, str, str], dict[tuple[str, str, str], Document]] = {}
        self.pages: dict[str, list[Document]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        # uvicorn's own cycle, so that a connection can be broken without a word
        scope["transport"] = getattr(getattr(receive, "__self__", None), "transport", None)
        request = Request(scope, receive)
        response = await self._answer(request)
        self.tally.write(self.recorder)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path, host = request.url.path, request.headers.get("host", "")
        if path.startswith("/_fake/"):
            return await self._control(request, path.removeprefix("/_fake/"))
        self.controllers.splits = self.conduct.splits
        self.controllers.pass_time()
        if path.startswith("/_service/") or host.endswith(DOMAIN):
            return await self.predict(request, host.partition(".")[0])
        return await self._call(request)

    async def _call(self, request: Request) -> Response:
        body = await request.body()
        parts = _parse(request.url.path)
        plural, namespace, name, sub = parts if parts else ("", "", None, None)
        verb = VERBS.get(request.method, "LOG" if sub == "log" else "GET" if name else "LIST")
        dry = "dryRun" in request.query_params
        entry = {
            "at": time.time(),
            "verb": verb,
            "resource": plural,
            "name": name or "",
            "query": dict(request.query_params),
            "headers": dict(request.headers),
            "body": body.decode("latin-1"),
            "dry": dry,
            "status": None,
        }
        if plural:
            self.recorder.log.append(entry)
            self.recorder.calls[f"DRY_{verb}" if dry else verb] += 1
            self.recorder.kinds[f"{verb} {plural}"] += 1
            self.tally.write(self.recorder)
        await asyncio.sleep(self.conduct.latency)
        try:
            self._let_in(request)
            if not parts:
                return discovery.answer(request.url.path, self.conduct)
            if not dry:
                self.faults.refuse(verb, plural, name, request.headers.get("authorization", ""))
                if self.faults.take("drop_before", verb, plural, name):
                    return await broken(request)
            response = self._resource(request, plural, namespace, name, sub, body, dry=dry)
        except Refusal as refusal:
            response = _refused(refusal)
        self.tally.write(self.recorder)
        if plural and not dry and self.faults.take("drop_after", verb, plural, name):
            return await broken(request)
        entry["status"] = response.status_code
        return response

    def _let_in(self, request: Request) -> None:
        authorization = request.headers.get("authorization", "")
        if self.conduct.token is not None and authorization != f"Bearer {self.conduct.token}":
            raise Refusal(401, "Unauthorized", f"Unauthorized: {authorization}")

    def _resource(
        self,
        request: Request,
        plural: str,
        namespace: str,
        name: str | None,
        sub: str | None,
        body: bytes,
        *,
        dry: bool,
    ) -> Response:
        if not self._knows(plural):
            return PlainTextResponse("404 page not found\n", 404)
        right = {"GET": "get" if name else "list", "PATCH": "patch", "POST": "create", "PUT": "update"}
        if "watch" in request.query_params:
            right["GET"] = "watch"
        group = GROUPS[plural].rpartition("/")[0]
        self.recorder.rights.add((right.get(request.method, "delete"), group, f"{plural}/{sub}" if sub else plural))
        if sub == "log":
            return self.log(namespace, name or "", request)
        if request.method == "GET":
            return self.read(request, plural, namespace, name)
        if request.method == "DELETE":
            return self._delete(plural, namespace, name or "", _parsed(body))
        return self._write(request, plural, namespace, name, _parsed(body), dry=dry)

    def _knows(self, plural: str) -> bool:
        missing = {"httproutes": not self.conduct.gateway_api, "revisions": not self.conduct.knative}
        return not missing.get(plural, False)

    # writes

    def _write(
        self, request: Request, plural: str, namespace: str, name: str | None, body: Document, *, dry: bool
    ) -> Response:
        name = name or str(body.get("metadata", {}).get("name", ""))
        old = self.objects.find(plural, namespace, name)
        manager = request.query_params.get("fieldManager") or request.headers.get("user-agent", "unknown").split("/")[0]
        apply = request.headers.get("content-type", "").startswith("application/apply-patch")
        if request.method == "POST" and old is not None:
            raise Refusal(409, "AlreadyExists", f'{plural} "{name}" already exists')
        if plural == "inferenceservices" and (unknown := unknown_fields(body)):
            told = f"failed to create typed patch object: .{unknown[0]}: field not declared in schema"
            raise Refusal(500, "", told) if apply else Refusal(400, "BadRequest", f"unknown field {unknown[0]}")
        if apply:
            force = request.query_params.get("force") == "true"
            there = self.objects.applied(old, body, manager, force=force, name=name)
        elif request.method == "PATCH":
            if old is None:
                raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
            there = self.objects.updated(old, _merged(old, body), manager, name)
        else:
            there = self.objects.updated(old, body, manager, name)
        if plural == "inferenceservices":
            there = admit(name, there, old, self.conduct.mode)
        if dry:
            there["metadata"].setdefault("resourceVersion", "0")
            there["apiVersion"], there["kind"] = GROUPS[plural], KINDS[plural]
            return JSONResponse(there, 200 if old else 201)
        if old is None and request.method == "PATCH":
            self.recorder.rights.add(("create", GROUPS[plural].rpartition("/")[0], plural))
        snapshot = {(plural, namespace, name): copy.deepcopy(old)} if old else {}
        there, changed = self.objects.store(plural, namespace, old, there)
        if changed:
            self.before[plural, namespace, name] = snapshot
            self.recorder.effects[name]["apply"] += 1
            if plural in PRIMARY:
                # what cannot wait its turn ends what was under way
                change = Change(self._fate(plural, name, there), self.conduct.seconds, self.conduct.looks, old)
                self.controllers.begin(plural, namespace, name, change)
        return JSONResponse(there, 200 if old else 201)

    def _fate(self, plural: str, name: str, there: Document) -> Fate:
        for kind in ("fails", "stuck", "rolls_back"):
            if fault := self.faults.take(kind, "APPLY", plural, name):
                return Fate(kind, fault.message)
        return Fate("fails", self.conduct.failure) if "broken" in json.dumps(there["spec"]) else Fate()

    def _delete(self, plural: str, namespace: str, name: str, options: Document) -> Response:
        there = self.objects.find(plural, namespace, name)
        if there is None:
            raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
        check_preconditions(there, options.get("preconditions") or {}, name)
        self.before[plural, namespace, name] = {(plural, namespace, name): copy.deepcopy(there)}
        if "deletionTimestamp" not in there["metadata"]:
            there["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:06Z"
            self.objects.touch(there)
            self.recorder.effects[name]["delete"] += 1
        fault = self.faults.take("stuck", "DELETE", plural, name)
        if plural in PRIMARY or fault:
            seconds = self.conduct.delete_seconds
            change = Change(Fate("stuck" if fault else "succeeds"), seconds, None, deletes=True)
            self.controllers.begin(plural, namespace, name, change)
        else:
            self.objects.remove(plural, namespace, name)
        return JSONResponse(there)

    # control

    async def _control(self, request: Request, what: str) -> Response:
        body = await request.json() if request.method == "POST" else {}
        if what == "conduct":
            self.conduct = Conduct(**{**asdict(self.conduct), **body})
            return JSONResponse(asdict(self.conduct))
        if what == "faults":
            self.faults = Faults(*body["faults"]) if request.method == "POST" else self.faults
            return JSONResponse(self.faults.listed())
        if what == "reset":
            self.reset()
        if what == "objects":
            self.controllers.pass_time()
            found = self.objects.every(body["plural"], body.get("namespace"), body.get("selector", ""))
            return JSONResponse(list(found))
        if what == "serving":
            self.controllers.pass_time()
            return JSONResponse(self.shares(body["namespace"], body["name"]))
        if what == "plant":
            there = self.objects.updated(None, body["object"], "kubectl-client-side-apply", body["name"])
            if body["plural"] == "inferenceservices":
                there = admit(body["name"], there, None, self.conduct.mode)
            there, _ = self.objects.store(body["plural"], body["namespace"], None, there)
            if body["plural"] in PRIMARY:
                self.controllers.begin(body["plural"], body["namespace"], body["name"], Change(Fate(), 0, None))
            return JSONResponse(there)
        answers = {"log": lambda: list(self.recorder.log), "counts": self.recorder.counts}
        return JSONResponse(answers.get(what, dict)())


def _parse(path: str) -> tuple[str, str, str | None, str | None] | None:
    """Kind, namespace, name and subresource that a path of an API names."""
    parts = path.strip("/").split("/")
    start = 2 if parts[0] == "api" else 3
    rest = parts[start:]
    if len(rest) < 3 or rest[0] != "namespaces" or rest[2] not in KINDS:
        return None
    if "/".join(parts[1:start]) != GROUPS[rest[2]]:
        return None
    return rest[2], rest[1], rest[3] if len(rest) > 3 else None, rest[4] if len(rest) > 4 else None


def _parsed(body: bytes) -> Document:
    found = yaml.safe_load(body) if body[:1] not in (b"{", b"") else json.loads(body or b"{}")
    return found if isinstance(found, dict) else {}


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict) or not isinstance(old, dict):
        return copy.deepcopy(patch)
    merged = copy.deepcopy(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _refused(refusal: Refusal) -> Response:
    headers = {} if refusal.retry_after is None else {"Retry-After": f"{refusal.retry_after:g}"}
    document = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refusal.message,
        "reason": refusal.reason,
        "code": refusal.status,
    }
    return JSONResponse(document, refusal.status, headers)
