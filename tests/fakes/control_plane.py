"""A small stateful server that speaks the documents of the HTTP interface, with faults on demand.

Operations go through ``script``: each look moves one on by one, a long poll to its end (``stepwise``: by one too). With
``by_hand`` they move only by ``advance`` and ``end``, and long polls are held back till then. ``faults`` are used up by
the next requests, ``cuts`` by the next event streams (after how many events they break). ``effects`` counts the
submissions that took effect, ``requests`` keeps what was sent.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.control_plane_records import FINAL, Records, new_deployment, new_target


@dataclass
class Fault:
    """What happens to one request: dropped ``before`` or ``after`` its effect, or answered with ``status``."""

    drop: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Sent:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Refused(Exception):
    def __init__(self, status: int, slug: str, title: str, detail: str = "", errors: list[Any] | None = None) -> None:
        self.status = status
        self.document = {
            "type": f"/problems/{slug}",
            "title": title,
            "status": status,
            "detail": detail,
            "errors": errors or [],
            "instance": "req-1",
        }


class ControlPlane(Records):
    def __init__(self) -> None:
        super().__init__()
        self.page_size = 100
        self.faults: deque[Fault] = deque()
        self.cuts: deque[int] = deque()
        self.empty_streams = False
        self.requests: list[Sent] = []
        self.replies: dict[tuple[str, str, str], tuple[int, dict[str, str], bytes, bytes]] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.plane = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail_next(
        self, *, drop: str = "", status: int = 0, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.faults.append(Fault(drop, status, headers or {}, body))

    def when_requested(self, times: int, then: Callable[[], None]) -> threading.Thread:
        """Do something as soon as so many requests have arrived; join the thread that is given back."""

        def watch() -> None:
            with self.moved:
                self.moved.wait_for(lambda: self.stopping or len(self.requests) >= times)
            then()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread

    def __enter__(self) -> ControlPlane:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.moved:
            self.stopping = True
            self.moved.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    plane: ControlPlane
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that goes away is part of the tests
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    sent: Sent

    def log_message(self, *_: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def _handle(self) -> None:
        plane = self.server.plane
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.sent = Sent(self.command, parts.path, parse_qs(parts.query), dict(self.headers.items()), body)
        with plane.moved:
            plane.requests.append(self.sent)
            plane.moved.notify_all()
        fault = plane.faults.popleft() if plane.faults else Fault()
        if fault.drop == "before":
            self._hang_up()
        elif fault.status:
            self._reply(fault.status, fault.headers, fault.body)
        elif fault.drop == "after":
            self._answered()
            self._hang_up()
        elif "text/event-stream" in self.headers.get("Accept", "") and parts.path.split("/")[3] in plane.operations:
            self._stream(plane.operations[parts.path.split("/")[3]])
        else:
            self._reply(*self._answered())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _answered(self) -> tuple[int, dict[str, str], bytes]:
        """The answer, from the store of idempotency keys where it was given before."""
        plane, sent = self.server.plane, self.sent
        name = (sent.method, sent.path, sent.headers.get("Idempotency-Key", ""))
        if name[2] and name in plane.replies:
            *reply, body = plane.replies[name]
            if body != sent.body:
                return _problem(Refused(422, "idempotency-key-reuse", "This key was used with another body"))
            return tuple(reply)  # type: ignore[return-value]
        try:
            status, content = self._routed()
        except Refused as refused:
            return _problem(refused)
        headers = {"Content-Type": "application/json"}
        if isinstance(content, bytes):
            headers = {"Content-Type": "application/json", "Modelport-Origin": "model"}
            headers |= {"Modelport-Revision": "1", "Modelport-Variant": "main"}
        elif isinstance(content, str):
            headers, content = {"Content-Type": "text/plain"}, content.encode()
        else:
            hidden = {"left", "result", "revisions"}
            content = json.dumps({k: v for k, v in content.items() if k not in hidden}, ensure_ascii=False).encode()
        if name[2]:
            plane.replies[name] = (status, headers, content, sent.body)
        return status, headers, content

    def _routed(self) -> tuple[int, Any]:
        sent, plane = self.sent, self.server.plane
        path = [unquote(part) for part in sent.path.strip("/").split("/")][1:]
        match (sent.method, *path):
            case ("POST", "deployments"):
                body = sent.document
                where = body["target"], body["name"]
                if where in plane.deployments:
                    raise Refused(409, "deployment-exists", "It exists", f"{where[0]}/{where[1]} exists; use PUT")
                return 202, self._changed(*where, body)
            case ("PUT", "deployments", target, name):
                wanted = plane.revision(sent.document, 0)
                found = plane.deployments.get((target, name))
                same = found and found["tip"] and all(wanted[k] == found["tip"][k] for k in ("variants", "traffic"))
                if found and same:
                    return (202, plane.operations[found["operation"]]) if found["operation"] else (200, found)
                return 202, self._changed(target, name, sent.document)
            case ("PATCH", "deployments", target, name):
                found = self._deployment(target, name)
                if sent.document.keys() == {"labels"}:
                    found["labels"] |= sent.document["labels"]
                    return 200, found
                return 202, self._changed(target, name, sent.document)
            case ("DELETE", "deployments", target, name):
                self._deployment(target, name)
                return 202, plane.submit(target, name, "delete", None)
            case ("PUT", "deployments", target, name, "traffic"):
                tip = self._deployment(target, name)["tip"]
                return 202, self._changed(target, name, {**tip, **sent.document}, "traffic")
            case ("POST", "deployments", target, name, "rollback"):
                tip = self._deployment(target, name)["tip"]
                return 202, self._changed(target, name, tip, "rollback")
            case ("POST", "deployments", target, name, "predict"):
                self._deployment(target, name)
                return plane.model
            case ("GET", "deployments"):
                return 200, self._page(list(plane.deployments.values()))
            case ("GET", "deployments", target, name):
                return 200, self._deployment(target, name)
            case ("GET", "deployments", target, name, "revisions"):
                return 200, self._page(self._deployment(target, name)["revisions"])
            case ("GET", "operations"):
                return 200, self._page(list(plane.operations.values()))
            case ("GET", "operations", operation_id):
                operation = self._operation(operation_id)
                prefer = re.fullmatch(r"wait=(\d+)", sent.headers.get("Prefer", ""))
                plane.look(operation, float(prefer[1]) if prefer else 0.0)
                return 200, operation
            case ("GET", "operations", operation_id, "events"):
                return 200, self._page(plane.events[self._operation(operation_id)["id"]])
            case ("POST", "operations", operation_id, "cancel"):
                operation = self._operation(operation_id)
                if operation["final"]:
                    raise Refused(409, "too-late", "Too late", f"The operation has {operation['state']} already")
                operation["cancelled_by"] = "anonymous"
                plane.end(operation, "cancelled", "taken back")
                return 200, operation
            case ("POST", "operations", operation_id, "retry"):
                old = self._operation(operation_id)
                new = plane.submit(old["target"], old["deployment"], old["kind"], old["result"])
                new["retry_of"] = old["id"]
                return 202, new
            case ("GET", "targets"):
                kinds = [{"scheme": "local", "title": "This machine", "workers": 1, "lacks": None}]
                return 200, {**self._page(list(plane.targets.values())), "kinds": kinds}
            case ("PUT", "targets", name):
                plane.targets[name] = {**new_target(name, sent.document["uri"]), **sent.document}
                return 201, plane.targets[name]
            case ("DELETE", "targets", name):
                del plane.targets[name]
                return 204, ""
            case ("GET", "targets", name) if name in plane.targets:
                return 200, plane.targets[name]
            case ("GET", "targets", name, "help") if name in plane.targets:
                return 200, "Config of a variant:\n  workers: int (default 1)."
            case ("POST", "targets", name, "check") if name in plane.targets:
                return 200, plane.check
        raise Refused(404, "route-not-found", "There is no such thing", f"{sent.path} names nothing")

    def _changed(self, target: str, name: str, body: dict[str, Any], kind: str = "") -> dict[str, Any]:
        plane = self.server.plane
        if target not in plane.targets:
            error = {"field": "target", "message": "is not registered", "remedy": "register it first"}
            raise Refused(404, "unknown-target", "Unknown target", f"There is no target {target}", [error])
        if sum(body.get("traffic", {"": 100}).values()) != 100:
            error = {"field": "traffic", "message": "sums to 90", "remedy": "make it sum to 100"}
            raise Refused(422, "invalid-traffic", "The request is invalid", "", [error])
        found = plane.deployments.get((target, name))
        match = self.sent.headers.get("If-Match")
        if found and match and match != f'"{found["generation"]}"':
            raise Refused(
                412, "stale-generation", "The deployment changed", f"It is of generation {found['generation']} now"
            )
        if found is None:
            found = plane.deployments[target, name] = new_deployment(target, name, body.get("labels") or {})
        revision = plane.revision(body, len(found["revisions"]) + 1)
        return plane.submit(target, name, kind or ("update" if found["current"] else "create"), revision)

    def _deployment(self, target: str, name: str) -> dict[str, Any]:
        if (target, name) not in self.server.plane.deployments:
            raise Refused(404, "deployment-not-found", "No such deployment", f"There is no {target}/{name}")
        return self.server.plane.deployments[target, name]

    def _operation(self, operation_id: str) -> dict[str, Any]:
        if operation_id not in self.server.plane.operations:
            raise Refused(404, "operation-not-found", "No such operation", f"There is no operation {operation_id}")
        return self.server.plane.operations[operation_id]

    def _page(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        query = {name: values[0] for name, values in self.sent.query.items()}
        for name in ("target", "state", "status", "kind", "deployment"):
            items = [item for item in items if name not in query or item[name] == query[name]]
        for label in self.sent.query.get("label", []):
            items = [item for item in items if label in {f"{k}={v}" for k, v in item["labels"].items()}]
        first = int(query.get("page_token", 0))
        after = first + min(int(query.get("page_size", self.server.plane.page_size)), self.server.plane.page_size)
        shown = [{k: v for k, v in item.items() if k not in {"left", "result", "revisions"}} for item in items]
        return {"items": shown[first:after], "next_page_token": str(after) if after < len(items) else None}

    def _stream(self, operation: dict[str, Any]) -> None:
        plane = self.server.plane
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(b"retry: 10\n\n: hello\n\n")
        number = int(self.headers.get("Last-Event-ID", ":0").rpartition(":")[2])
        if plane.empty_streams:
            return self._chunk(b"")
        left = plane.cuts.popleft() if plane.cuts else None
        while True:
            plane.look(operation, 0.0)
            for event in plane.events[operation["id"]][number:]:
                text = json.dumps(event, ensure_ascii=False)
                message = f"id: {operation['id']}:{event['number']}\nevent: event\ndata: {text}\n\n".encode()
                if left == 0:
                    self._chunk(message[: len(message) // 2])
                    return self._hang_up()
                self._chunk(message)
                number += 1
                left = None if left is None else left - 1
                if event["state"] in FINAL:
                    return self._chunk(b"")
            with plane.moved:
                plane.moved.wait(0.05)
            if plane.stopping:
                return self._hang_up()

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _problem(refused: Refused) -> tuple[int, dict[str, str], bytes]:
    headers = {"Content-Type": "application/problem+json", "Modelport-Origin": "modelport"}
    return refused.status, headers, json.dumps(refused.document).encode()
