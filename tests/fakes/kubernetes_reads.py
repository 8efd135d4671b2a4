"""What the fake API server answers to who reads: objects, lists in pages, watches, pods and their logs."""

from __future__ import annotations

import json
import time

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tests.fakes.kubernetes_conduct import Conduct, Faults
from tests.fakes.kubernetes_controllers import Controllers
from tests.fakes.kubernetes_objects import GROUPS, KINDS, Document, Objects, Refusal, matches
from tests.fakes.kubernetes_watch import watch


class Reads:
    """Time passes, and a change that is read is shown once more."""

    conduct: Conduct
    faults: Faults
    objects: Objects
    controllers: Controllers
    before: dict[tuple[str, str, str], dict[tuple[str, str, str], Document]]
    pages: dict[str, list[Document]]

    def read(self, request: Request, plural: str, namespace: str, name: str | None) -> Response:
        verb = "GET" if name else "LIST"
        self.controllers.look(plural, namespace, name)
        self.controllers.pass_time()
        gone = self.faults.take("not_found", verb, plural, name)
        if name is not None:
            there = self.objects.find(plural, namespace, name)
            if plural == "pods":
                there = next((pod for pod in self._pods(namespace) if pod["metadata"]["name"] == name), None)
            key = (plural, namespace, name)
            if key in self.before and self.faults.take("stale", verb, plural, name):
                there = self.before[key].get(key)
            if there is None or gone:
                raise Refusal(404, "NotFound", f'{plural}.{GROUPS[plural].rpartition("/")[0]} "{name}" not found')
            return JSONResponse(there)
        selector = request.query_params.get("labelSelector", "")
        field = request.query_params.get("fieldSelector", "").partition("metadata.name=")[2]
        if "watch" in request.query_params:
            return self._watch(request, plural, namespace, selector, field)
        following = request.query_params.get("continue")
        found = self.pages.pop(following, []) if following else self._listed(plural, namespace, selector)
        found = [each for each in found if field in ("", each["metadata"]["name"])]
        if gone:
            found = []
        limit = int(request.query_params.get("limit") or 0) or len(found)
        metadata: Document = {"resourceVersion": str(self.objects.version)}
        if len(found) > limit:
            metadata["continue"] = f"token-{len(self.pages)}-{time.monotonic_ns()}"
            self.pages[metadata["continue"]] = found[limit:]
        kind = f"{KINDS[plural]}List"
        document = {"kind": kind, "apiVersion": GROUPS[plural], "metadata": metadata, "items": found[:limit]}
        return Response(json.dumps(document), media_type="application/json")

    def _watch(self, request: Request, plural: str, namespace: str, selector: str, field: str) -> Response:
        def found() -> list[Document]:
            self.controllers.pass_time()
            every = self.objects.every(plural, namespace, selector)
            return [each for each in every if field in ("", each["metadata"]["name"])]

        since = int(request.query_params.get("resourceVersion") or 0)
        return watch(found, since, float(request.query_params.get("timeoutSeconds") or 60))

    def _listed(self, plural: str, namespace: str, selector: str) -> list[Document]:
        if plural == "pods":
            return [pod for pod in self._pods(namespace) if matches(pod, selector)]
        found = {each["metadata"]["name"]: each for each in self.objects.every(plural, namespace, selector)}
        written = [key for key in self.before if key[:2] == (plural, namespace)]
        if written and self.faults.take("stale", "LIST", plural, None):
            for key in written:
                old = self.before[key].get(key)
                found.pop(key[2], None)
                if old is not None and matches(old, selector):
                    found[key[2]] = old
        return [found[name] for name in sorted(found)]

    def _pods(self, namespace: str) -> list[Document]:
        pods = []
        for plural in ("deployments", "revisions"):
            for each in self.objects.every(plural, namespace):
                source = each["spec"]["template"]["metadata"] if plural == "deployments" else each["metadata"]
                metadata = {key: source.get(key) or {} for key in ("labels", "annotations")}
                metadata |= {"name": f"{each['metadata']['name']}-pod", "creationTimestamp": "2026-01-02T03:04:05Z"}
                names = [container["name"] for container in _containers(each, plural)]
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, **metadata}}
                spec = {"containers": [{"name": container, "image": "model"} for container in names]}
                pods.append({**pod, "spec": spec, "status": {"phase": "Running"}})
        return pods

    def log(self, namespace: str, pod: str, request: Request) -> Response:
        name = pod.removesuffix("-pod")
        container = request.query_params.get("container")
        if container not in ("kserve-container", "model"):
            raise Refusal(400, "BadRequest", f"container {container} is not valid for pod {pod}")
        told = [f"{name} line {number}" for number in range(1, self.conduct.log_lines + 1)]
        told += filter(None, [self.controllers.logs.get((namespace, name))])
        tail = int(request.query_params.get("tailLines", len(told)))
        return PlainTextResponse("".join(f"{line}\n" for line in told[-tail:]))


def _containers(there: Document, plural: str) -> list[Document]:
    spec = there["spec"]["template"]["spec"] if plural == "deployments" else there["spec"]
    return list(spec["containers"])
