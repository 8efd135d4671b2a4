"""A platform of your own, as modelport's ``http`` target wants one: copy it, and put your servers into ``Servers``.

``PORT=8080 PLATFORM_TOKEN=... python examples/inhouse_platform.py``. docs/targets/http-openapi.yaml is the contract,
docs/targets/http.md says why. Keep deployments and fences in your database, and write both in one transaction.
"""

from __future__ import annotations

import hmac
import json
import os
import random
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Document, HOST = dict[str, Any], "127.0.0.1"


class Servers:
    """Yours: what starts and stops model servers. This one pretends."""

    def begin(self, operation: Document, variants: list[Document]) -> None:
        """Bring these variants up beside what serves; none: end everything. Returns at once."""

    def outcome(self, operation: Document, variants: list[Document]) -> str | None:
        """None while it is under way, then empty, or why it did not work: what served before has to serve still."""
        return next((each["platform"]["fails"] for each in variants if "fails" in each.get("platform", {})), "")

    def predict(self, variant: Document, body: bytes) -> tuple[int, bytes]:
        """What the variant's server says."""
        return 200, json.dumps({"predictions": [variant["model_uri"]]}).encode()


class Refusal(Exception):
    """No: its status, a code for programs, words for people."""


@dataclass
class Deployment:
    """``shown`` is the document that readers get; ``next`` is what is on its way, None for a delete."""

    shown: Document
    next: Document | None = None
    keys: set[str] = field(default_factory=set)

    @property
    def running(self) -> Document | None:
        return self.shown["operation"] if (self.shown["operation"] or {}).get("status") == "running" else None


class Platform:
    """The state and its rules; one call at a time."""

    def __init__(self, servers: Servers) -> None:
        self.servers, self.lock = servers, threading.Lock()
        self.deployments: dict[str, Deployment] = {}
        self.operations: dict[str, Document] = {}
        self.fences: dict[tuple[str, str], int] = {}

    def find(self, name: str) -> Deployment | None:
        """The deployment as it is now; what is over by now is put into force."""
        there = self.deployments.get(name)
        if there is None or there.running is None:
            return there
        if (failure := self.servers.outcome(there.running, (there.next or {}).get("variants", []))) is None:
            return there
        there.running.update(status="failed" if failure else "succeeded", message=failure or "done")
        if there.next is None and not failure:
            del self.deployments[name]
        there.shown.update({} if failure else there.next or {})
        there.shown["status"] = "failed" if there.shown["content"] is None else "serving"
        return self.deployments.get(name)

    def put(self, name: str, body: Document, headers: Any) -> tuple[int, Deployment]:
        if not ({"owner", "content", "variants", "traffic"} <= body.keys() and sum(body["traffic"].values()) == 100):
            raise Refusal(400, "invalid", "owner, content, variants and traffic, which sums to 100, are needed")
        there, owner, key = self.find(name), body["owner"], headers.get("Idempotency-Key", "")
        if there and there.shown["owner"] is None and headers.get("Modelport-Adopt") == "true":
            check_precondition(there, headers)
            if any(there.shown[part] != body[part] for part in ("variants", "traffic")):
                raise Refusal(409, "not-owner", f"deployment {name} serves something else than is adopted")
            self.raise_fence(name, owner["uid"], headers)
            there.shown.update(owner=owner, content=body["content"], etag=f'"{uuid.uuid4().hex}"')
            return 200, there
        if there and there.shown["owner"] != owner:
            raise Refusal(409, "not-owner", f"deployment {name} belongs to somebody else")
        self.raise_fence(name, owner["uid"], headers)
        if not (there and key in there.keys):
            check_precondition(there, headers)
        coming = (there.next or {} if there.running else there.shown).get("content") if there else None
        if there and (key in there.keys or coming == body["content"]):
            return (202 if there.running else 200), there
        empty = {"name": name, "owner": owner, "content": None, "variants": [], "traffic": {}, "operation": None}
        there = self.deployments.setdefault(name, Deployment(empty))
        there.keys.add(key)
        there.next = {part: body.get(part, {}) for part in ("content", "variants", "traffic", "labels")}
        self.begin(there, "creating" if there.shown["content"] is None else "updating")
        return 202, self.find(name) or there

    def delete(self, name: str, headers: Any) -> int:
        there, (installation, _, uid) = self.find(name), headers.get("Modelport-Owner", "").rpartition("/")
        if there and there.shown["owner"] != {"installation": installation, "uid": uid}:
            raise Refusal(409, "not-owner", f"deployment {name} belongs to somebody else")
        self.raise_fence(name, uid, headers)  # also where nothing is: a create that is late must be refused
        if there and not (there.running and there.next is None):
            check_precondition(there, headers)
            there.next = None
            self.begin(there, "deleting")
        return 202 if self.find(name) else 204

    def begin(self, there: Deployment, status: str) -> None:
        (there.running or {}).update(status="failed", message="another took its place")
        key, content = uuid.uuid4().hex, there.next["content"] if there.next else None
        operation = {"id": key, "location": f"/operations/{key}", "status": "running", "message": "starting"}
        self.operations[key] = {**operation, "content": content, "deployment": there.shown["name"]}
        there.shown.update(operation=self.operations[key], status=status, etag=f'"{key}"')
        self.servers.begin(self.operations[key], there.next["variants"] if there.next else [])

    def raise_fence(self, name: str, uid: str, headers: Any) -> None:
        fence, seen = int(headers.get("Modelport-Fence", 0)), self.fences.get((name, uid), 0)
        if fence < seen:
            raise Refusal(412, "stale-fence", f"fence {fence} is behind {seen}")
        self.fences[name, uid] = fence


def check_precondition(there: Deployment | None, headers: Any) -> None:
    missed = "If-Match" in headers and (there is None or headers["If-Match"] != there.shown["etag"])
    if missed or (headers.get("If-None-Match") == "*" and there):
        raise Refusal(412, "precondition-failed", "the ETag is another by now")


class Handler(BaseHTTPRequestHandler):
    platform: Platform
    token: str | None = None
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def answer(self) -> None:
        body, given = self.rfile.read(int(self.headers.get("Content-Length", 0))), self.headers.get("Authorization", "")
        try:
            if self.token and not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
                raise Refusal(401, "unauthorized", "a bearer token is needed")
            with self.platform.lock:
                answer = self.route(body)
            self.reply(*(answer() if callable(answer) else answer))
        except Refusal as refusal:
            self.reply(refusal.args[0], {"code": refusal.args[1], "message": refusal.args[2]})
        except (ValueError, AttributeError, TypeError) as error:
            self.reply(400, {"code": "invalid", "message": f"this is no request of the contract: {error}"})

    do_GET = do_PUT = do_DELETE = do_POST = answer

    def route(self, body: bytes) -> Any:
        url, platform = urlsplit(self.path), self.platform
        query, parts = parse_qs(url.query), [unquote(part) for part in url.path.strip("/").split("/")]
        match self.command, *parts:
            case "PUT", "deployments", name:
                status, there = platform.put(name, json.loads(body), self.headers)
                return status, there.shown, there
            case "DELETE", "deployments", name:
                return platform.delete(name, self.headers), b"", platform.deployments.get(name)
            case "GET", "deployments":
                size, after = int(query.get("page_size", ["100"])[0]), query.get("page_token", [""])[0]
                names = [name for name in sorted(platform.deployments) if name > after]
                found = [there.shown for name in names[:size] if (there := platform.find(name))]
                return 200, {"deployments": found, "next_page_token": names[size - 1] if names[size:] else None}
            case "GET", "deployments", name if there := platform.find(name):
                return 200, there.shown, there
            case "GET", "operations", key if operation := platform.operations.get(key):
                if platform.find(operation["deployment"]) or operation["content"] is None:
                    return 200, operation
            case "POST", "deployments", name, "invocations" if there := platform.find(name):
                shares = there.shown["traffic"] or {"": 1}
                wanted = query.get("variant", random.choices(list(shares), list(shares.values())))[0]
                for variant in (each for each in there.shown["variants"] if each["name"] == wanted):
                    return lambda: (*platform.servers.predict(variant, body), None, wanted)  # without the lock
        raise Refusal(404, "not-found", "there is no such thing")

    def reply(self, status: int, body: Any, there: Deployment | None = None, variant: str | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        headers |= {"Modelport-Variant": variant} if variant else {"ETag": there.shown["etag"]} if there else {}
        headers |= {"Location": there.running["location"], "Retry-After": "1"} if there and there.running else {}
        self.send_response(status)
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(content)


def server(servers: Servers, port: int = 0, token: str | None = None, handler: type[Handler] = Handler) -> Any:
    return ThreadingHTTPServer((HOST, port), type("Bound", (handler,), {"platform": Platform(servers), "token": token}))


if __name__ == "__main__":
    server(Servers(), int(os.environ.get("PORT", "8080")), os.environ.get("PLATFORM_TOKEN")).serve_forever()
