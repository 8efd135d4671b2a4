"""What a cluster does with Deployments by itself, and how long any change takes."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.fakes.kubernetes_objects import Document, Objects

Where = tuple[str, str]


@dataclass
class Fate:
    """How a change ends: ``succeeds``, ``fails`` with these words, ``stuck``, or ``rolls_back``: somebody undoes it."""

    outcome: str = "succeeds"
    message: str = ""


@dataclass
class Change:
    """One change under way: half of its time passes before the controller has seen it, all of it until it ends.

    With ``looks`` it takes so many reads that show it, whatever the clock says.
    """

    fate: Fate
    seconds: float
    looks: int | None
    before: Document | None = None
    deletes: bool = False
    began: float = field(default_factory=time.monotonic)
    shown: int = 0
    reconciled: bool = False

    def reached(self, part: float) -> bool:
        if self.looks is not None:
            return self.shown >= math.ceil(self.looks * part)
        return time.monotonic() >= self.began + self.seconds * part


class Deployments:
    """The Deployment controller's part; ``serving`` has by Deployment or Revision the model of its pods."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.serving: dict[Where, str] = {}
        self.templates: dict[Where, str] = {}
        self.logs: dict[Where, str] = {}

    def _roll(self, namespace: str, there: Document) -> None:
        """The new pods are on their way beside the old ones, which go on serving."""
        where = (namespace, there["metadata"]["name"])
        wanted, status = there["spec"].get("replicas", 1), there.setdefault("status", {})
        template = json.dumps(there["spec"]["template"], sort_keys=True)
        status["observedGeneration"] = there["metadata"]["generation"]
        if self.templates.get(where) == template:
            status.update(replicas=wanted, updatedReplicas=wanted, availableReplicas=wanted, readyReplicas=wanted)
        else:
            self.templates[where] = template
            old = status.get("availableReplicas", 0)
            status.update(replicas=old + 1, updatedReplicas=1 if wanted else 0, availableReplicas=old)
        self.objects.touch(there)

    def _rolled(self, namespace: str, there: Document, fate: Fate) -> None:
        where = (namespace, there["metadata"]["name"])
        wanted, status = there["spec"].get("replicas", 1), there.setdefault("status", {})
        if fate.outcome == "fails":
            self.logs[where] = fate.message
            status["conditions"] = [
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                 "message": f'ReplicaSet "{where[1]}" has timed out progressing: {fate.message}'},
            ]  # fmt: skip
        else:
            self.serving[where] = model_of(there["spec"]["template"])
            status.update(replicas=wanted, updatedReplicas=wanted, availableReplicas=wanted, readyReplicas=wanted)
            status["conditions"] = [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]
        self.objects.touch(there)

    def _gone(self, namespace: str, name: str, plural: str = "deployments") -> None:
        self.objects.remove(plural, namespace, name)
        if plural == "deployments":
            self.objects.remove("services", namespace, name) if name.endswith("-predictor") else None
        if plural != "services":
            self.serving.pop((namespace, name), None)
            self.templates.pop((namespace, name), None)


def model_of(template: Document) -> str:
    """The URI of the model that such pods answer with."""
    spec = template["spec"]
    if spec.get("initContainers"):
        return str(spec["initContainers"][0]["args"][0])
    container: dict[str, Any] = spec["containers"][0]
    arguments = [*(container.get("command") or []), *(container.get("args") or [])]
    for flag, value in pairwise(arguments):
        if flag == "--model-uri":
            return str(value)
    return str(container["image"])
