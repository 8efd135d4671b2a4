"""modelport's contract for a platform of your own, kept in memory: read this one to write yours.

=======  ====================================  ==================================================================
PUT      /deployments/{name}                   what shall serve: 200 it does, 201 it does now, 202 it is on its way
GET      /deployments/{name}                   its document, with ``ETag``
GET      /deployments?page_size=&page_token=   ``{"deployments": [...], "next_page_token": ...}``, in a stable order
DELETE   /deployments/{name}                   204 it is gone, also if it never was; 202 it is going
GET      the ``Location`` of a 202             ``{"id", "status": running|succeeded|failed, "message", "content"}``
POST     /deployments/{name}/invocations       one prediction, ``?variant=`` pins it; answers ``Modelport-Variant``
=======  ====================================  ==================================================================

A document shows in ``content`` what serves *now*: while an update is on its way, and after it failed, that is the old
content. ``operation`` is the last one, as its ``Location`` shows it; once ended it may be left out. The ETag changes
with every accepted write and at no other time.

Writes, in the order of the checks:

1. ``owner`` is kept from the first PUT on; another's PUT or DELETE (header ``Modelport-Owner: installation/uid``) is
   409 ``not-owner``. What was there before anybody's PUT has the owner null: a PUT with ``Modelport-Adopt: true`` that
   asks for what it serves already makes it the sender's, and touches nothing else.
2. ``Modelport-Fence`` only grows for one owner, past a delete too, and a DELETE of what is not there leaves it as well;
   a lower one than seen is 412 ``stale-fence``.
3. ``Idempotency-Key``: the key of an accepted PUT is kept with the deployment and answered again, without effect.
4. ``If-Match`` and ``If-None-Match: *``: 412 ``precondition-failed``.
5. What is serving or on its way already has no second effect.
6. A write during another operation takes its place, or is 409 ``operation-under-way`` if that cannot be.

A refusal is ``{"code", "message"}``; 429 and 503 may carry ``Retry-After``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


@dataclass
class Fate:
    """How an accepted change will end, and when: after so many seconds (inf: never), or reads that showed it."""

    seconds: float
    outcome: str = "succeeds"  # or "rolls_back", "fails"
    message: str = ""
    looks: int | None = None


@dataclass
class Operation:
    id: str
    name: str
    content: str | None
    spec: Document | None
    fate: Fate
    begun_at: float
    status: str = "running"
    message: str = ""
    shown: int = 0

    @property
    def is_due(self) -> bool:
        if self.fate.looks is not None and self.fate.seconds < float("inf"):
            return self.shown >= self.fate.looks
        return time.monotonic() >= self.begun_at + self.fate.seconds

    def document(self) -> Document:
        return {
            "id": self.id,
            "location": f"/operations/{self.id}",
            "status": self.status,
            "message": self.message,
            "content": self.content,
        }


@dataclass
class Deployment:
    name: str
    owner: Document | None
    etag: str = ""
    status: str = "creating"
    content: str | None = None
    spec: Document = field(default_factory=lambda: {"variants": [], "traffic": {}})
    labels: Document = field(default_factory=dict)
    operation: Operation | None = None
    keys: set[str] = field(default_factory=set)
    encoded: bytes | None = None

    @property
    def running(self) -> Operation | None:
        return self.operation if self.operation and self.operation.status == "running" else None

    def document(self) -> bytes:
        """Encoded once for each change, since lists of many are asked for all the time."""
        if self.encoded is None:
            shown = {
                "name": self.name,
                "owner": self.owner,
                "labels": self.labels,
                "status": self.status,
                "content": self.content,
                **self.spec,
                "etag": self.etag,
                "operation": self.operation.document() if self.operation else None,
            }
            self.encoded = json.dumps(shown).encode()
        return self.encoded


class Contract:
    """The platform's state. Time passes whenever something is asked."""

    def __init__(self, careless: bool = False, supersedes: bool = True) -> None:
        self.deployments: dict[str, Deployment] = {}
        self.names: list[str] = []
        self.operations: dict[str, Operation] = {}
        self.fences: dict[tuple[str, str], int] = {}
        self.careless, self.supersedes = careless, supersedes
        self.numbers = itertools.count(1)

    def put(
        self, name: str, body: Document, headers: Document, fate: Callable[[], Fate]
    ) -> tuple[int, Deployment, bool]:
        """The status, what is there now, and whether this call had an effect."""
        _validate(body)
        there = self.find(name)
        if there is not None and there.owner is None and headers.get("modelport-adopt") == "true":
            return self._adopt(there, body, headers)
        if there is not None and there.owner != body["owner"]:
            raise Refusal(409, "not-owner", f"deployment {name} belongs to somebody else")
        self._check_fence(name, body["owner"], headers)
        key = headers.get("idempotency-key")
        if there is not None and key in there.keys and not self.careless:
            return (202 if there.running else 200), there, False
        self._check_preconditions(there, headers)
        content, spec = body["content"], {"variants": body["variants"], "traffic": body["traffic"]}
        if there is not None:
            if there.running and there.running.content == content:
                return 202, there, False
            if not there.running and there.status == "serving" and there.content == content:
                return 200, there, False
            self._take_place_of(there)
        else:
            there = self.deployments[name] = Deployment(name, body["owner"])
            insort(self.names, name)
        if key:
            there.keys.add(key)
        there.labels = body.get("labels", {})
        self._begin(there, Operation(self._id(), name, content, spec, fate(), time.monotonic()))
        there.status = "updating" if there.content is not None else "creating"
        self._pass_time(there)
        return (202 if there.running else 201), there, True

    def plant(self, name: str, variants: list[Document], traffic: Document) -> Deployment:
        """Somebody deploys something here without modelport."""
        there = self.deployments[name] = Deployment(name, None, self._id(), "serving")
        there.spec = {"variants": variants, "traffic": traffic}
        there.content = "their-own"
        insort(self.names, name)
        return there

    def _adopt(self, there: Deployment, body: Document, headers: Document) -> tuple[int, Deployment, bool]:
        self._check_preconditions(there, headers)
        if there.running or there.spec != {"variants": body["variants"], "traffic": body["traffic"]}:
            raise Refusal(409, "not-owner", f"deployment {there.name} serves something else than is adopted")
        there.owner, there.content, there.labels = body["owner"], body["content"], body.get("labels", {})
        self._check_fence(there.name, body["owner"], headers)
        there.etag, there.encoded = f'"{self._id()}"', None
        return 200, there, False

    def delete(self, name: str, headers: Document, fate: Callable[[], Fate]) -> tuple[int, Deployment | None, bool]:
        there = self.find(name)
        installation, _, uid = headers.get("modelport-owner", "").rpartition("/")
        owner = {"installation": installation, "uid": uid}
        if there is not None and there.owner != owner:
            raise Refusal(409, "not-owner", f"deployment {name} belongs to somebody else")
        self._check_fence(name, owner, headers)
        if there is None:
            return 204, None, False
        if there.running and there.running.content is None:
            return 202, there, False
        self._check_preconditions(there, headers)
        self._take_place_of(there)
        self._begin(there, Operation(self._id(), name, None, None, fate(), time.monotonic()))
        there.status = "deleting"
        there = self.find(name)
        return (202 if there else 204), there, True

    def find(self, name: str) -> Deployment | None:
        there = self.deployments.get(name)
        if there is not None:
            self._pass_time(there)
        return self.deployments.get(name)

    def page(self, after: str | None, size: int) -> tuple[list[Deployment], str | None]:
        start = bisect_right(self.names, after) if after is not None else 0
        names = self.names[start : start + size]
        more = start + size < len(self.names)
        found = [there for name in names if (there := self.find(name)) is not None]
        return found, names[-1] if more else None

    def operation(self, identity: str) -> Operation:
        operation = self.operations.get(identity)
        there = self.find(operation.name) if operation else None
        if operation is None or (there is None and operation.content is not None):
            raise Refusal(404, "no-operation", "there is no such operation")
        return operation

    def _check_fence(self, name: str, owner: Document, headers: Document) -> None:
        fence, who = int(headers.get("modelport-fence", 0)), (name, owner["uid"])
        if not self.careless and fence < self.fences.get(who, 0):
            raise Refusal(412, "stale-fence", f"fence {fence} is behind {self.fences[who]}")
        self.fences[who] = max(fence, self.fences.get(who, 0))

    def _check_preconditions(self, there: Deployment | None, headers: Document) -> None:
        if self.careless:
            return
        if headers.get("if-none-match") == "*" and there is not None:
            raise Refusal(412, "precondition-failed", f"deployment {there.name} exists")
        wanted = headers.get("if-match")
        if wanted is not None and (there is None or there.etag != wanted):
            raise Refusal(412, "precondition-failed", "the ETag is another by now")

    def _take_place_of(self, there: Deployment) -> None:
        if there.running is None:
            return
        if not self.supersedes:
            raise Refusal(409, "operation-under-way", f"deployment {there.name} is being changed", 1.0)
        there.running.message, there.running.status = "another took its place", "failed"

    def _begin(self, there: Deployment, operation: Operation) -> None:
        operation.message = "going away" if operation.content is None else "starting the servers"
        there.operation = self.operations[operation.id] = operation
        there.etag, there.encoded = f'"{operation.id}"', None

    def _id(self) -> str:
        return hashlib.sha256(str(next(self.numbers)).encode()).hexdigest()[:12]

    def _pass_time(self, there: Deployment) -> None:
        operation = there.running
        if operation is None or not operation.is_due:
            return
        there.encoded = None
        if operation.fate.outcome == "succeeds":
            operation.status, operation.message = "succeeded", ""
            if operation.content is None:
                del self.deployments[there.name]
                self.names.remove(there.name)
                return
            there.status, there.content, there.spec = "serving", operation.content, operation.spec or {}
        else:
            operation.status, operation.message = "failed", operation.fate.message
            back = operation.fate.outcome == "rolls_back" and there.content is not None
            there.status = "serving" if back else "failed"


def _validate(body: Any) -> None:
    try:
        names = [variant["name"] for variant in body["variants"]]
        sound = (
            names
            and isinstance(body["content"], str)
            and set(body["owner"]) == {"installation", "uid"}
            and set(body["traffic"]) <= set(names)
            and sum(body["traffic"].values()) == 100
        )
    except (KeyError, TypeError) as error:
        raise Refusal(422, "invalid", f"the document lacks {error}") from error
    if not sound:
        raise Refusal(422, "invalid", "the traffic of the variants must sum to 100, and content and owner be there")
