"""What every route asks of who calls it. A route that is not here cannot be served: the application does not start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from operations.access import Permission


@dataclass(frozen=True)
class Rule:
    """``permission`` is asked for on the target of the path parameter ``target``, or without one on any target.

    What lies within a target is judged where its labels are known: ``operations.access``. ``changes``: the request is
    audited, accepted or refused.
    """

    permission: Permission | None
    target: str | None = None
    changes: bool = False


OPEN = Rule(None)
KNOWN = Rule(Permission.KNOWN)
READ = Rule(Permission.READ)
READ_TARGET = Rule(Permission.READ, "target")
CHANGE = Rule(Permission.DEPLOY, changes=True)
CHANGE_TARGET = Rule(Permission.DEPLOY, "target", changes=True)
ADMINISTER = Rule(Permission.ADMINISTER)
CHANGE_ALL = Rule(Permission.ADMINISTER, changes=True)

_ONE = "/v1/deployments/{target}/{name}"
_OPERATION = "/v1/operations/{operation_id}"
_BATCH = "/v1/batches/{batch_id}"
_TARGET = "/v1/targets/{name}"

RULES: Mapping[tuple[str, str], Rule] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/problems/{slug}"): OPEN,
    ("GET", "/v1/me"): KNOWN,
    ("POST", "/v1/deployments"): CHANGE,
    ("GET", "/v1/deployments"): READ,
    ("GET", _ONE): READ_TARGET,
    ("PUT", _ONE): CHANGE_TARGET,
    ("PATCH", _ONE): CHANGE_TARGET,
    ("DELETE", _ONE): CHANGE_TARGET,
    ("POST", f"{_ONE}/rollback"): CHANGE_TARGET,
    ("PUT", f"{_ONE}/traffic"): CHANGE_TARGET,
    ("POST", f"{_ONE}/reconcile"): CHANGE_TARGET,
    ("GET", f"{_ONE}/revisions"): READ_TARGET,
    ("GET", f"{_ONE}/revisions/{{number}}"): READ_TARGET,
    ("GET", f"{_ONE}/logs"): READ_TARGET,
    ("POST", f"{_ONE}/predict"): Rule(Permission.PREDICT, "target"),
    ("GET", "/v1/operations"): READ,
    ("GET", _OPERATION): READ,
    ("GET", f"{_OPERATION}/events"): READ,
    ("POST", f"{_OPERATION}/cancel"): CHANGE,
    ("POST", f"{_OPERATION}/retry"): CHANGE,
    ("POST", f"{_OPERATION}/undo"): CHANGE,
    ("POST", "/v1/batches"): CHANGE,
    ("POST", "/v1/batches/plan"): CHANGE,
    ("GET", "/v1/batches"): READ,
    ("GET", _BATCH): READ,
    ("PATCH", _BATCH): CHANGE,
    ("GET", f"{_BATCH}/items"): READ,
    ("GET", f"{_BATCH}/events"): READ,
    **{
        ("POST", f"{_BATCH}/{verb}"): CHANGE
        for verb in ("start", "pause", "resume", "approve", "reject", "abort", "retry", "rollback")
    },
    ("GET", "/v1/targets"): READ,
    ("GET", _TARGET): Rule(Permission.READ, "name"),
    ("PUT", _TARGET): CHANGE_ALL,
    ("DELETE", _TARGET): CHANGE_ALL,
    ("GET", f"{_TARGET}/help"): Rule(Permission.READ, "name"),
    ("POST", f"{_TARGET}/check"): Rule(Permission.DEPLOY, "name"),
    ("POST", f"{_TARGET}/adopt"): Rule(Permission.DEPLOY, "name", changes=True),
    ("GET", "/v1/audit"): ADMINISTER,
    ("POST", "/v1/audit/verify"): ADMINISTER,
    ("GET", "/v1/keys"): ADMINISTER,
    ("POST", "/v1/keys"): CHANGE_ALL,
    ("DELETE", "/v1/keys/{name}"): CHANGE_ALL,
    ("POST", "/v1/keys/{name}/rotate"): CHANGE_ALL,
}
"""By method and path, as the OpenAPI document has them."""

SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "an API key (mp_...), or a token of the sign-on service",
    }
}


class NoRule(LookupError):
    """A route has no rule, or a rule no route; the message names them."""


def check(routers: Iterable[APIRouter]) -> None:
    """Raises NoRule unless routes and rules are the same."""
    routes = {
        (method, route.path)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    if routes != RULES.keys():
        raise NoRule(f"no rule for {sorted(routes - RULES.keys())}; no route for {sorted(RULES.keys() - routes)}")


def describe(document: dict[str, Any]) -> None:
    """Say in the OpenAPI document what each route asks for."""
    document["components"]["securitySchemes"] = SCHEMES
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            rule = RULES[method.upper(), path]
            operation["security"] = [] if rule.permission is None else [{"bearer": []}]
            if rule.permission is not None:
                operation["x-modelport-permission"] = rule.permission.value
