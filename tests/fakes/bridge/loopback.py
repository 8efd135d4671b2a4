"""What two third-party plugins talk to, on loopback: an OpenAI-like API, and Triton Control's API of deployments."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "loopback-s3cr3t"


@dataclass
class Loopback:
    """``ready_after`` looks until a Triton deployment is ready; ``None``: only when ``go`` is set."""

    url: str = ""
    ready_after: int | None = 0
    go: threading.Event = field(default_factory=threading.Event)
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[Any] = field(default_factory=list)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        name = path.rpartition("/")[2]
        self.calls[f"{method} {path}"] += 1
        match method, path.split("/")[1:]:
            case "POST", ["v1", "chat", "completions"]:
                self.asked.append(body)
                return 200, _completion(body)
            case "POST", ["api", "deployments"]:
                name = body["deployment_name"]
                if name in self.deployments:
                    return 409, {"detail": f"deployment {name} already exists"}
                self.deployments[name] = {"name": name, "looks": 0, **body}
                return 201, {"instance_id": len(self.deployments)}
            case "GET", ["api", "deployments", "mlflow"]:
                return 200, [self._shown(each) for each in self.deployments.values()]
            case "GET" | "DELETE", ["api", "deployments", "mlflow", _] if name not in self.deployments:
                return 404, {"detail": "no such deployment"}
            case "GET", ["api", "deployments", "mlflow", _]:
                self.deployments[name]["looks"] += 1
                return 200, self._shown(self.deployments[name])
            case "DELETE", ["api", "deployments", "mlflow", _]:
                del self.deployments[name]
                return 200, {}
        return 404, {"detail": f"{method} {path} is unknown here"}

    def _shown(self, deployment: dict[str, Any]) -> dict[str, Any]:
        looked = self.ready_after is not None and deployment["looks"] > self.ready_after
        status = "ready" if looked or self.go.is_set() else "starting"
        return {"name": deployment["name"], "status": status, "model_uri": deployment["model_uri"]}


@contextmanager
def loopback() -> Iterator[Loopback]:
    served = Loopback()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply()

        do_POST = do_GET  # noqa: N815  # the names that http.server calls
        do_DELETE = do_GET  # noqa: N815

        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, document = 401, {"detail": "who are you?"}
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                status, document = served.answer(self.command, self.path, json.loads(body or b"null"))
            text = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Not on the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    words = f"{body['model']} heard {body['messages'][-1]['content']}"
    message = {"role": "assistant", "content": words}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
    }
