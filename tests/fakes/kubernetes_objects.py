"""An API server's objects: versions, generations, server-side apply with managed fields, selectors, pages, deletion.

From kubernetes.io, "Kubernetes API Concepts" and "Server-Side Apply". Lists are taken as one value, which is what an
apply that gives all of a list comes to.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]
Path = tuple[str, ...]
Key = tuple[str, str, str]

KEPT_METADATA = ("labels", "annotations", "finalizers")
GROUPS = {
    "inferenceservices": "serving.kserve.io/v1beta1",
    "revisions": "serving.knative.dev/v1",
    "httproutes": "gateway.networking.k8s.io/v1",
    "deployments": "apps/v1",
    "services": "v1",
    "pods": "v1",
}
KINDS = {
    "inferenceservices": "InferenceService",
    "revisions": "Revision",
    "httproutes": "HTTPRoute",
    "deployments": "Deployment",
    "services": "Service",
    "pods": "Pod",
}


class Refusal(Exception):
    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after


class Objects:
    def __init__(self) -> None:
        self.there: dict[Key, Document] = {}
        self.version = 0

    def find(self, plural: str, namespace: str, name: str) -> Document | None:
        return self.there.get((plural, namespace, name))

    def every(self, plural: str, namespace: str | None = None, selector: str = "") -> Iterator[Document]:
        for (kind, space, _), found in sorted(self.there.items()):
            if kind == plural and namespace in (None, space) and matches(found, selector):
                yield found

    def put(self, plural: str, namespace: str, document: Document) -> Document:
        """What a controller makes or replaces; it counts as no user's write."""
        name = document["metadata"]["name"]
        old = self.find(plural, namespace, name)
        there = copy.deepcopy(document)
        there["apiVersion"], there["kind"] = GROUPS[plural], KINDS[plural]
        metadata = there["metadata"]
        metadata["namespace"] = namespace
        kept = old["metadata"] if old else {"uid": str(uuid.uuid4()), "generation": 0, "creationTimestamp": NOW}
        for key in ("uid", "creationTimestamp", "generation"):
            metadata[key] = kept[key]
        if old is None or old.get("spec") != there.get("spec"):
            metadata["generation"] += 1
        if old is None or _plain(old) != _plain(there):
            self.touch(there)
        else:
            metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        self.there[plural, namespace, name] = there
        return there

    def touch(self, there: Document) -> None:
        self.version += 1
        there["metadata"]["resourceVersion"] = str(self.version)

    def remove(self, plural: str, namespace: str, name: str) -> None:
        self.version += 1
        self.there.pop((plural, namespace, name), None)

    def applied(self, old: Document | None, patch: Document, manager: str, *, force: bool, name: str) -> Document:
        """The object once ``patch`` is applied by this manager; the old one is left as it is."""
        patch = copy.deepcopy(patch)
        check_preconditions(old, patch.get("metadata") or {}, name)
        wanted = dict(leaves(_owned_part(patch)))
        there = copy.deepcopy(old) if old else {"metadata": {"name": name, "managedFields": []}}
        owners = _owners(there)
        mine = owners.get((manager, "Apply"), set())
        taken: dict[str, list[str]] = {}
        for path, value in wanted.items():
            for (other, operation), fields in owners.items():
                if (other, operation) != (manager, "Apply") and path in fields and get(there, path) != value:
                    taken.setdefault(other, []).append("." + ".".join(path))
                    if force:
                        fields.discard(path)
        if taken and not force:
            told = "; ".join(f'conflict with "{who}": {", ".join(fields)}' for who, fields in taken.items())
            raise Refusal(409, "Conflict", f"Apply failed with {sum(map(len, taken.values()))} conflicts: {told}")
        for path in mine - wanted.keys():
            if not any(path in fields for who, fields in owners.items() if who != (manager, "Apply")):
                drop(there, path)
        for path, value in wanted.items():
            put_at(there, path, value)
        owners[manager, "Apply"] = set(wanted)
        there["metadata"]["managedFields"] = _managed(owners, patch.get("apiVersion", ""))
        return there

    def updated(self, old: Document | None, new: Document, manager: str, name: str) -> Document:
        """The object replaced by ``new``, or made from it."""
        check_preconditions(old, new.get("metadata") or {}, name)
        there = copy.deepcopy(new)
        before = dict(leaves(_owned_part(old or {})))
        after = dict(leaves(_owned_part(there)))
        owners = _owners(old or {"metadata": {}})
        changed = {path for path, value in after.items() if before.get(path) != value}
        for fields in owners.values():
            fields.difference_update(changed | (before.keys() - after.keys()))
        owners.setdefault((manager, "Update"), set()).update(changed)
        there["metadata"] = {**(old or {}).get("metadata", {}), **there["metadata"]}
        there["metadata"]["managedFields"] = _managed(owners, there.get("apiVersion", ""))
        if old and "status" in old:
            there["status"] = copy.deepcopy(old["status"])
        return there

    def store(self, plural: str, namespace: str, old: Document | None, there: Document) -> tuple[Document, bool]:
        """Keep a user's write; whether it changed anything."""
        if old is not None and _plain(old) == _plain(there):
            if old["metadata"].get("managedFields") != there["metadata"].get("managedFields"):
                old["metadata"]["managedFields"] = there["metadata"].get("managedFields")
                self.touch(old)
            return old, False
        metadata = there["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", NOW)
        metadata["namespace"] = namespace
        metadata["generation"] = (old or {"metadata": {}})["metadata"].get("generation", 0)
        if old is None or old.get("spec") != there.get("spec"):
            metadata["generation"] += 1
        there["apiVersion"], there["kind"] = GROUPS[plural], KINDS[plural]
        self.touch(there)
        self.there[plural, namespace, metadata["name"]] = there
        return there, True


NOW = "2026-01-02T03:04:05Z"


def check_preconditions(old: Document | None, asked: Document, name: str) -> None:
    version, uid = asked.get("resourceVersion"), asked.get("uid")
    there = (old or {"metadata": {}})["metadata"]
    if uid and uid != there.get("uid"):
        raise Refusal(409, "Conflict", f'Operation cannot be fulfilled on "{name}": Precondition failed: UID differs')
    if version and version != there.get("resourceVersion"):
        raise Refusal(
            409,
            "Conflict",
            f'Operation cannot be fulfilled on "{name}": the object has been modified; please apply your changes to '
            "the latest version and try again",
        )


def matches(document: Document, selector: str) -> bool:
    labels = document["metadata"].get("labels") or {}
    for term in filter(None, selector.split(",")):
        key, equal, value = term.partition("=")
        if key not in labels or (equal and labels[key] != value.lstrip("=")):
            return False
    return True


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif path and value != {}:
        yield path, value


def get(value: Any, path: Path) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def put_at(value: Document, path: Path, leaf: Any) -> None:
    for key in path[:-1]:
        if not isinstance(value.get(key), dict):
            value[key] = {}
        value = value[key]
    value[path[-1]] = leaf


def drop(value: Document, path: Path) -> None:
    if len(path) > 1:
        inner = value.get(path[0])
        if isinstance(inner, dict):
            drop(inner, path[1:])
            if not inner:
                del value[path[0]]
    else:
        value.pop(path[0], None)


def _owned_part(document: Document) -> Document:
    metadata = {key: value for key, value in (document.get("metadata") or {}).items() if key in KEPT_METADATA}
    return {"metadata": metadata, **({"spec": document["spec"]} if "spec" in document else {})}


def _plain(document: Document) -> str:
    metadata = {k: v for k, v in document["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    return json.dumps({**document, "metadata": metadata}, sort_keys=True)


def _owners(document: Document) -> dict[tuple[str, str], set[Path]]:
    found = {}
    for entry in document["metadata"].get("managedFields") or []:
        found[entry["manager"], entry["operation"]] = set(_paths(entry["fieldsV1"]))
    return found


def _paths(fields: Document, path: Path = ()) -> Iterator[Path]:
    if not fields:
        yield path
    for key, inner in fields.items():
        yield from _paths(inner, (*path, key.removeprefix("f:")))


def _managed(owners: dict[tuple[str, str], set[Path]], version: str) -> list[Document]:
    entries = []
    for (manager, operation), paths in owners.items():
        fields: Document = {}
        for path in sorted(paths):
            inner = fields
            for key in path:
                inner = inner.setdefault(f"f:{key}", {})
        if fields:
            entries.append(
                {"manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1",
                 "time": NOW, "fieldsV1": fields}
            )  # fmt: skip
    return entries
