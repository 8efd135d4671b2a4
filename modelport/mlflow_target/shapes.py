"""The documents that the MLflow plugin returns. Each has ``name``, and those of deployments have ``flavor``."""

from __future__ import annotations

from typing import Any

from modelport.types import Deployment, Operation, Revision

JSON = dict[str, Any]

DEFAULT_FLAVOR = "python_function"
"""What MLflow's own clients say where nobody named a flavor; every MLflow model has it."""


def deployment(found: Deployment) -> JSON:
    """A deployment by itself; with one variant, its model, flavor and config too."""
    now = found.current or found.tip
    variants = now.variants if now else []
    alone = variants[0] if len(variants) == 1 else None
    return {
        "name": found.name,
        "flavor": _flavor(alone.flavor if alone else None),
        "model_uri": alone.model_uri if alone else None,
        "config": dict(alone.config) if alone else {},
        **_standing(found),
    }


def inside(found: Deployment, variant: str) -> JSON:
    """A deployment inside of an endpoint: one variant. Raises KeyError where it has none of this name."""
    for revision in (found.current, found.tip):
        for each in revision.variants if revision else []:
            if each.name == variant and revision is not None:
                return {
                    "name": variant,
                    "endpoint": found.name,
                    "flavor": _flavor(each.flavor),
                    "model_uri": each.model_uri,
                    "config": dict(each.config),
                    "traffic": revision.traffic.get(variant, 0),
                    "status": found.status,
                    "revision": revision.number,
                    "operation": found.operation,
                }
    raise KeyError(variant)


def all_inside(found: Deployment) -> list[JSON]:
    """Every deployment inside of an endpoint, those on their way too."""
    revisions: list[Revision] = [revision for revision in (found.current, found.tip) if revision]
    names = dict.fromkeys(each.name for revision in revisions for each in revision.variants)
    return [inside(found, name) for name in names]


def endpoint(found: Deployment) -> JSON:
    """An endpoint: a deployment with its variants."""
    return {"name": found.name, "deployments": [each["name"] for each in all_inside(found)], **_standing(found)}


def empty_endpoint(name: str, labels: dict[str, str | None] | None) -> JSON:
    """An endpoint that was announced here and has no deployment yet."""
    return {"name": name, "deployments": [], "status": "empty", "traffic": {}, "labels": dict(labels or {})}


def begun(name: str, flavor: str | None, operation: Operation, endpoint: str | None) -> JSON:
    """What is told of an operation that is not waited for."""
    inside = {} if endpoint is None else {"endpoint": endpoint}
    return {"name": name, "flavor": _flavor(flavor), **inside, "operation": operation.id, "status": operation.state}


def _flavor(named: str | None) -> str:
    return named or DEFAULT_FLAVOR


def _standing(found: Deployment) -> JSON:
    now = found.current or found.tip
    return {
        "status": found.status,
        "revision": now.number if now else None,
        "traffic": dict(now.traffic) if now else {},
        "variants": [each.document for each in now.variants] if now else [],
        "labels": dict(found.labels),
        "operation": found.operation,
        "created_at": found.created_at.isoformat(),
        "updated_at": found.updated_at.isoformat(),
    }
