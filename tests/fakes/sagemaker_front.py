"""What answers for a fake SageMaker: one address for all its services, its faults, and a record of every call.

===========  ==========================================================================================
fault        does, for ``action`` (a pattern such as ``Create*``) and resource ``name``, ``count`` times
===========  ==========================================================================================
throttled    400 ThrottlingException, nothing done
unavailable  503, nothing done
quota        400 ResourceLimitExceeded, nothing done
denied       400 AccessDeniedException, whose message repeats the caller's access key
refused      400 ValidationException with ``message``
conflict     400 ``Cannot update in-progress endpoint``
unseen       400 ``Could not find`` what was just created
drop_before  the connection breaks before anything was done
drop_after   the connection breaks after the change was made
rolls_back   the accepted change ends with ``message`` and the old configuration goes on serving
fails        the accepted change ends with ``message``, and nothing whole serves
stuck        the accepted change never ends
stale        a read shows the endpoint as it was before the last accepted change
not_found    the endpoint is missing from a read
===========  ==========================================================================================
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.fakes.sagemaker_actions import Actions, Conduct, resource_of
from tests.fakes.sagemaker_beside import Keys, Objects, refused_object, sts
from tests.fakes.sagemaker_endpoints import JSON, Fate, Hosting, Refusal

WRITES = ("Create*", "Update*", "Delete*", "AddTags", "PutObject", "DeleteObject")
ENDS = ("rolls_back", "fails", "stuck")
AHEAD = {
    "throttled": ("ThrottlingException", "Rate exceeded", 400),
    "unavailable": ("ServiceUnavailable", "Service is unavailable", 503),
    "quota": (
        "ResourceLimitExceeded",
        "The account-level service limit 'ml.m5.xlarge for endpoint usage' is 2 Instances, please request an increase.",
        400,
    ),
    "denied": ("AccessDeniedException", "User: {caller} is not authorized to perform: {action} with {key}", 400),
    "refused": ("ValidationException", "{message}", 400),
    "conflict": ("ValidationException", 'Cannot update in-progress endpoint "arn:{name}".', 400),
    "unseen": ("ValidationException", 'Could not find {what} "arn:{name}".', 400),
}
NEEDS = {"CreateEndpointConfig": "model", "CreateEndpoint": "endpoint configuration"}


@dataclass
class Fault:
    kind: str
    action: str = "*"
    name: str = "*"
    count: int | None = 1
    message: str = "The primary container for production variant main did not pass the ping health check."


@dataclass
class Recorder:
    log: deque[JSON] = field(default_factory=lambda: deque(maxlen=200_000))
    calls: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    invoked: Counter[str] = field(default_factory=Counter)

    def counts(self) -> JSON:
        return {"calls": dict(self.calls), "effects": dict(self.effects), "invoked": dict(self.invoked)}


class FakeSageMaker:
    """An ASGI application: the vendor's endpoints under one address, and ``/_fake/...`` to steer it."""

    def __init__(self, **conduct: Any) -> None:
        self.began = Conduct(**conduct)
        self.reset()

    def reset(self) -> None:
        self.conduct = Conduct(**asdict(self.began))
        self.hosting = Hosting(self.conduct.account, self.conduct.region)
        self.objects = Objects({bucket: {} for bucket in self.conduct.buckets})
        self.keys = Keys(dict(self.conduct.keys), role_seconds=self.conduct.role_seconds)
        self.faults: list[Fault] = []
        self.recorder = Recorder()
        self.actions = Actions(self.hosting, self.objects, self.conduct, self._fate, self.take)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # uvicorn's own cycle, so that a connection can be broken without a word
        scope["transport"] = getattr(getattr(receive, "__self__", None), "transport", None)
        request = Request(scope, receive)
        body = await request.body()
        if request.url.path.startswith("/_fake/"):
            response: Response = self._control(request.url.path.rpartition("/")[2], body)
        else:
            response = await self._call(request, body)
        await response(scope, receive, send)

    async def _call(self, request: Request, body: bytes) -> Response:
        """One call with its latency, its faults before and after, and its line in the log."""
        action, given = _asked(request, body)
        name = resource_of(given) or request.url.path
        entry = {"at": time.time(), "action": action, "name": name, "given": given, "error": None}
        self.recorder.log.append(entry)
        self.recorder.calls[action] += 1
        try:
            await asyncio.sleep(self.conduct.latency)
            key = self.keys.check(request, body)
            self._refuse(action, name, key)
            if self.take("drop_before", action, name):
                return await _break(request)
            response = await self._answer(action, given, request, body, key)
            if any(fnmatch(action, pattern) for pattern in WRITES):
                self.recorder.effects[action] += 1
        except Refusal as refusal:
            entry["error"] = refusal.code
            response = _refused(action, refusal, request)
        if self.take("drop_after", action, name):
            return await _break(request)
        return response

    async def _answer(self, action: str, given: JSON, request: Request, body: bytes, key: str) -> Response:
        if action in ("AssumeRole", "GetCallerIdentity"):
            return sts(self.keys, key, self.conduct.account, body)
        if action.endswith(("Object", "Bucket")):
            return self.objects.answer(request, body)
        if action == "InvokeEndpoint":
            await asyncio.sleep(self.conduct.model_latency)
            return self._invoke(given["EndpointName"], request, body)
        if action == "InvokeEndpointAsync":
            return self.actions.invoke_async(given["EndpointName"], request.headers, body)
        return JSONResponse(self.actions.perform(action, given))

    def _invoke(self, name: str, request: Request, body: bytes) -> Response:
        if self.conduct.not_ready:
            raise Refusal("ModelNotReadyException", "The model is still being loaded.", 429)
        variant, model = self.hosting.serving(name, request.headers.get("x-amzn-sagemaker-target-variant"))
        self.recorder.invoked[variant] += 1
        if self.conduct.model_status != 200:
            told = {
                "Message": f"Received client error ({self.conduct.model_status}) from primary with message",
                "OriginalStatusCode": self.conduct.model_status,
                "OriginalMessage": self.conduct.model_message,
                "LogStreamArn": f"arn:aws:logs:::log-group:/aws/sagemaker/Endpoints/{name}",
            }
            return JSONResponse(told, 424, headers={"x-amzn-ErrorType": "ModelError"})
        container = model.get("PrimaryContainer", {})
        answer = {
            "predictions": [container.get("ModelDataUrl")],
            "variant": variant,
            "model": model.get("ModelName"),
            "received": body.decode("latin-1"),
            "headers": dict(request.headers),
        }
        return JSONResponse(answer, headers={"x-Amzn-Invoked-Production-Variant": variant})

    def _refuse(self, action: str, name: str, key: str) -> None:
        for kind, (code, message, status) in AHEAD.items():
            if kind == "unseen" and action not in NEEDS and action != "UpdateEndpoint":
                continue
            fault = self.take(kind, action, name)
            if fault is not None:
                words = message.format(
                    message=fault.message,
                    caller=self.keys.who(key, self.conduct.account),
                    action=f"sagemaker:{action}",
                    key=key,
                    name=name,
                    what=NEEDS.get(action, "endpoint configuration"),
                )
                raise Refusal(code, words, status)

    def _fate(self, action: str, name: str) -> Fate:
        seconds = {
            "CreateEndpoint": self.conduct.create_seconds,
            "UpdateEndpoint": self.conduct.update_seconds,
            "DeleteEndpoint": self.conduct.delete_seconds,
            "UpdateEndpointWeightsAndCapacities": self.conduct.weights_seconds,
        }.get(action, self.conduct.update_seconds)
        looks = self.conduct.looks
        for kind in ENDS:
            fault = self.take(kind, action, name)
            if fault is not None:
                return Fate(seconds, kind, fault.message, looks)
        return Fate(seconds, looks=looks if seconds else None)

    def take(self, kind: str, action: str, name: str) -> Fault | None:
        """Use up one of this fault, if there is one for this call."""
        for fault in self.faults:
            if fault.kind == kind and fnmatch(action, fault.action) and fnmatch(name, fault.name):
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self.faults.remove(fault)
                return fault
        return None

    def _control(self, what: str, body: bytes) -> Response:
        given = json.loads(body) if body else None
        if what == "conduct" and given is not None:
            for name, value in given.items():
                setattr(self.conduct, name, value)
            self.keys.known, self.keys.role_seconds = dict(self.conduct.keys), self.conduct.role_seconds
        if what == "faults" and given is not None:
            self.faults = [Fault(**fault) for fault in given]
        if what == "maintain" and given is not None:
            self.hosting.maintain(given["name"], Fate(given["seconds"]))
        if what == "populate" and given is not None:
            self.hosting.populate(**given)
        if what == "release" and given is not None:
            self.hosting.release(given["name"], Fate(0, given["kind"], given["words"]))
        if what == "reset":
            self.reset()
        answers: dict[str, Any] = {
            "conduct": lambda: asdict(self.conduct),
            "faults": lambda: [asdict(fault) for fault in self.faults],
            "log": lambda: list(self.recorder.log),
            "counts": lambda: {**self.recorder.counts(), "assumed": self.keys.assumed},
            "things": self._things,
            "objects": lambda: {
                f"s3://{bucket}/{key}": {"size": len(data), **self.objects.about.get(f"{bucket}/{key}", {})}
                for bucket, there in self.objects.buckets.items()
                for key, data in there.items()
            },
            "reset": dict,
            "maintain": dict,
            "release": dict,
            "populate": dict,
        }
        return JSONResponse(answers[what]())

    def _things(self) -> JSON:
        hosting = self.hosting
        return {
            "models": list(hosting.models),
            "configs": list(hosting.configs),
            "endpoints": {name: hosting.describe(name) for name in hosting.names()},
            "tags": hosting.tags,
        }


def _asked(request: Request, body: bytes) -> tuple[str, JSON]:
    """The action, and its parameters where they are a document."""
    target = request.headers.get("x-amz-target")
    if target is not None:
        return target.rpartition(".")[2], json.loads(body or b"{}")
    parts = request.url.path.split("/")
    if parts[1] == "endpoints" and len(parts) == 4:
        action = "InvokeEndpoint" if parts[3] == "invocations" else "InvokeEndpointAsync"
        return action, {"EndpointName": parts[2]}
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return dict(part.split("=") for part in body.decode().split("&"))["Action"], {}
    verb = {"HEAD": "Head", "GET": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}[request.method]
    return verb + ("Object" if len(parts) > 2 and parts[2] else "Bucket"), {}


def _refused(action: str, refusal: Refusal, request: Request) -> Response:
    if action.endswith(("Object", "Bucket")):
        return refused_object(refusal, head=request.method == "HEAD")
    if action in ("AssumeRole", "GetCallerIdentity"):
        told = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
        return Response(f"<ErrorResponse>{told}</ErrorResponse>", refusal.status, media_type="text/xml")
    headers = {"x-amzn-ErrorType": refusal.code, "x-amzn-RequestId": "fake"}
    key = "Message" if action.startswith("Invoke") else "message"
    return JSONResponse({"__type": refusal.code, key: refusal.message}, refusal.status, headers)


async def _break(request: Request) -> Response:
    request.scope["transport"].abort()
    while not await request.is_disconnected():
        await asyncio.sleep(0.001)
    return Response()
