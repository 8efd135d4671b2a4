"""What the stand-in for the control plane remembers, and how its operations move."""

from __future__ import annotations

import threading
import uuid
from typing import Any

NOW = "2026-01-02T03:04:05.000006Z"
FINAL = {"succeeded", "failed", "cancelled"}
SUCCESS = [("starting", "asked the target"), ("waiting", "1 of 2 ready"), ("succeeded", "serves")]
FAILURE = [("starting", "asked the target"), ("failed", "the target ran out of memory")]


class Records:
    def __init__(self) -> None:
        self.script = SUCCESS
        self.by_hand = False
        self.stepwise = False
        self.effects = 0
        self.model: tuple[int, bytes] = (200, b'{"predictions": [1]}')
        self.check: dict[str, Any] = {"ok": True, "message": "3 models served"}
        self.deployments: dict[tuple[str, str], dict[str, Any]] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.targets = {"local": new_target("local", "local")}
        self.moved = threading.Condition()
        self.stopping = False

    def advance(self, operation_id: str) -> None:
        with self.moved:
            self._advance(self.operations[operation_id])

    def submit(self, target: str, name: str, kind: str, revision: dict[str, Any] | None) -> dict[str, Any]:
        self.effects += 1
        deployment = self.deployments[target, name]
        operation_id = str(uuid.uuid4())
        operation = {
            "id": operation_id, "target": target, "deployment": name, "kind": kind, "state": "queued",
            "phase": "prepare", "message": "", "revision": revision and revision["number"], "from_revision": None,
            "attempts": 0, "not_before": None, "waits_for": None, "error": None, "leftovers": [],
            "deadline_seconds": 3600.0, "deadline_at": None, "cancelled_by": None, "retry_of": None,
            "created_at": NOW, "started_at": None, "updated_at": NOW, "finished_at": None, "final": False,
            "left": list(self.script), "result": revision,
        }  # fmt: skip
        self.operations[operation_id] = operation
        self.events[operation_id] = []
        self._record(operation, "")
        deployment.update(operation=operation_id, unfinished=1, tip=revision)
        deployment["status"] = {"create": "creating", "delete": "deleting"}.get(kind, "changing")
        deployment["generation"] += 1
        return operation

    def look(self, operation: dict[str, Any], wait: float) -> None:
        with self.moved:
            if not self.by_hand:
                self._advance(operation)
                while wait and not self.stepwise and not operation["final"]:
                    self._advance(operation)
            elif wait:
                self.moved.wait_for(lambda: operation["final"] or self.stopping, timeout=wait)

    def revision(self, body: dict[str, Any], number: int) -> dict[str, Any]:
        variants = body.get("variants") or [
            {"name": "main", "model_uri": body["model_uri"], "flavor": body.get("flavor"), "config": body.get("config")}
        ]
        return {
            "number": number,
            "variants": [
                {"flavor": None, "resolved_uri": None, **v, "config": v.get("config") or {}} for v in variants
            ],
            "traffic": body.get("traffic") or {variants[0]["name"]: 100},
            "created_at": NOW,
            "landed_at": None,
        }

    def end(self, operation: dict[str, Any], state: str, message: str) -> None:
        with self.moved:
            operation["left"] = [(state, message)]
            self._advance(operation)

    def _advance(self, operation: dict[str, Any]) -> None:
        if operation["final"]:
            return
        state, message = operation["left"].pop(0)
        operation.update(state=state, message=message, final=state in FINAL)
        if operation["final"]:
            operation["finished_at"] = "2026-01-02T03:04:47Z"
            deployment = self.deployments[operation["target"], operation["deployment"]]
            deployment.update(operation=None, unfinished=0)
            if state == "succeeded" and operation["kind"] == "delete":
                del self.deployments[operation["target"], operation["deployment"]]
            elif state == "succeeded":
                deployment["current"] = operation["result"]
                deployment["revisions"].append(operation["result"])
            if state == "failed":
                operation["error"] = {
                    "type": "/problems/target-failed",
                    "title": "The target failed",
                    "detail": message,
                }
            deployment["tip"] = deployment["current"]
            deployment["status"] = "serving" if deployment["current"] else "absent"
        self._record(operation, message)
        self.moved.notify_all()

    def _record(self, operation: dict[str, Any], message: str) -> None:
        number = len(self.events[operation["id"]]) + 1
        event = {"number": number, "at": NOW, "state": operation["state"], "message": message, "by": "worker"}
        self.events[operation["id"]].append(event)


def new_deployment(target: str, name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "target": target, "name": name, "id": str(uuid.uuid4()), "generation": 0, "labels": labels,
        "status": "absent", "current": None, "tip": None, "operation": None, "unfinished": 0, "observed": {},
        "observed_at": None, "created_at": NOW, "updated_at": NOW, "revisions": [],
    }  # fmt: skip


def new_target(name: str, uri: str) -> dict[str, Any]:
    return {
        "name": name, "uri": uri, "scheme": uri.split(":")[0], "title": "This machine",
        "capabilities": {"max_variants": 8}, "limits": {}, "workers": 1, "created_at": NOW,
    }  # fmt: skip
