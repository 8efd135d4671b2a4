"""The one place where a refusal becomes an answer: RFC 9457 problem documents, and a page that explains each type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy import exc
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import Scope

from operations.problems import (
    BodyTooLarge,
    DatabaseUnavailable,
    DeploymentExists,
    DeploymentNotFound,
    FieldError,
    IdempotencyKeyReuse,
    Invalid,
    InvalidBody,
    InvalidField,
    InvalidModelUri,
    InvalidName,
    InvalidTraffic,
    MethodNotAllowed,
    NotFound,
    OperationNotFound,
    PreconditionRequired,
    Refused,
    RevisionNotFound,
    StaleGeneration,
    Unauthorized,
    Unexpected,
    UnknownField,
    UnknownTarget,
    UnsupportedMediaType,
    kinds,
)

log = structlog.get_logger(__name__)
router = APIRouter(tags=["problems"])

ORIGIN = "Modelport-Origin"
MEDIA_TYPE = "application/problem+json"
DATABASE_RETRY_SECONDS = 2.0
ALWAYS = (401, 403, 408, 429, 500, 503)
"""The problems that any route can have."""
FIELDS: dict[type[Refused], str] = {
    InvalidBody: "body",
    BodyTooLarge: "body",
    UnsupportedMediaType: "Content-Type",
    Unauthorized: "Authorization",
    UnknownTarget: "target",
    DeploymentExists: "name",
    DeploymentNotFound: "name",
    RevisionNotFound: "revision",
    OperationNotFound: "operation_id",
    StaleGeneration: "If-Match",
    PreconditionRequired: "If-Match",
    IdempotencyKeyReuse: "Idempotency-Key",
}
"""What is at fault where a refusal leaves no doubt about it."""
EVENT_STREAM = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "one server-sent event; its data is a JSON document",
            "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
        }
    }
}
"""What a route answers that streams events."""
SCHEMA = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail", "remedy", "errors", "instance"],
    "properties": {
        "type": {"type": "string", "description": "stable reference; GET it for what it means and what to do"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what happened, on which thing"},
        "remedy": {"type": "string", "description": "what to do next"},
        "errors": {
            "type": "array",
            "description": "the fields at fault",
            "items": {
                "type": "object",
                "required": ["field", "message", "remedy"],
                "properties": {
                    "field": {"type": "string", "examples": ["variants[0].config.size"]},
                    "message": {"type": "string"},
                    "remedy": {"type": "string"},
                },
            },
        },
        "instance": {"type": "string", "description": "the request's id, as in the header X-Request-Id and the log"},
    },
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route for its OpenAPI entry, with those that every route can have."""
    return {status: _documented(status) for status in sorted({*statuses, *ALWAYS})}


def install(app: FastAPI) -> None:
    """Have every refusal of ``app`` answered from here. What is no refusal is answered by ``RequestIds``."""

    @app.exception_handler(Refused)
    def _refused(request: Request, error: Refused) -> JSONResponse:
        return respond(request.scope, error)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return respond(request.scope, from_validation(error.errors()))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        path = request.scope["path"][:200]
        if error.status_code == 404:
            return respond(request.scope, NotFound(f"nothing answers under {path}"))
        if error.status_code == 405:
            allowed = ", ".join(_methods(request))
            refused = MethodNotAllowed(f"{path} takes {allowed}, not {request.method}")
            return respond(request.scope, refused, headers={"Allow": allowed})
        return respond(request.scope, InvalidBody(str(error.detail)))


def respond(
    scope: Scope, error: Refused, *, headers: Mapping[str, str] | None = None, more: Mapping[str, Any] | None = None
) -> JSONResponse:
    """The answer to a refused request; ``more`` are members beside those of every problem."""
    errors = error.errors
    if not errors and type(error) in FIELDS:
        errors = (FieldError(FIELDS[type(error)], error.detail, error.remedy),)
    retry = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
    scope.setdefault("state", {})["problem"] = {"problem": error.slug, "fields": [fault.field for fault in errors]}
    document = {
        "type": error.type,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "remedy": error.remedy,
        "errors": [vars(fault) for fault in errors],
        "instance": scope.get("state", {}).get("request_id", ""),
        **(more or {}),
    }
    return JSONResponse(
        document, error.status, media_type=MEDIA_TYPE, headers={ORIGIN: "modelport", **retry, **(headers or {})}
    )


def from_failure(error: Exception) -> Refused:
    """What to say about a failure that is no refusal; what it really was goes to the log alone."""
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if lost or isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError):
        log.error("database_unavailable", error=type(error).__name__, reason=str(getattr(error, "orig", error))[:500])
        return DatabaseUnavailable("the database did not answer", retry_after=DATABASE_RETRY_SECONDS)
    log.error("request_failed", exc_info=error)
    return Unexpected("this is a defect of the server; its log has the details under the instance of this problem")


def from_validation(faults: Sequence[Any]) -> Refused:
    """What pydantic found wrong, by field, with what to do."""
    errors, found = [], set()
    for fault in faults:
        where, *place = fault["loc"]
        if where == "body" and not place:
            return InvalidBody("a JSON object is required here")
        names = [part for part in place if part != "[key]"]
        errors.append(FieldError(path_of(names), _message(fault), _remedy(fault)))
        found.add(_kind(fault, names))
    kind = UnknownField if UnknownField in found else found.pop() if len(found) == 1 else InvalidField
    return kind(f"{errors[0].field}: {errors[0].message}", errors)


def path_of(place: Sequence[int | str]) -> str:
    """A field's path as people write it: ``variants[0].config.size``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _kind(fault: Any, names: Sequence[int | str]) -> type[Invalid]:
    if fault["type"] == "extra_forbidden":
        return UnknownField
    if fault["type"] == "missing":
        return InvalidField
    if "traffic" in names:
        return InvalidTraffic
    return {"name": InvalidName, "model_uri": InvalidModelUri}.get(str(names[-1]), InvalidField)


def _message(fault: Any) -> str:
    known = {"extra_forbidden": "is not known here", "missing": "is missing"}
    return known.get(fault["type"]) or str(fault["msg"])


def _remedy(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return UnknownField.remedy
    if fault["type"] == "missing":
        return "Add it."
    if "pattern" in (fault.get("ctx") or {}):
        return f"It must match {fault['ctx']['pattern']}."
    return "Correct the value."


def _methods(request: Request) -> list[str]:
    """What the path takes; the framework tells of the first route alone."""
    found = set()
    for path, methods in request.app.openapi()["paths"].items():
        if compile_path(path)[0].match(request.scope["path"]):
            found |= {method.upper() for method in methods}
    return sorted(found) or ["GET"]


def _documented(status: int) -> dict[str, Any]:
    here = [kind for kind in kinds().values() if kind.status == status]
    return {
        "description": "A problem (RFC 9457), one of: " + ", ".join(sorted(kind.slug for kind in here)),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": {
                    "type": f"/problems/{here[0].slug}",
                    "title": here[0].title,
                    "status": status,
                    "detail": here[0].__doc__,
                    "remedy": here[0].remedy,
                    "errors": [],
                    "instance": "0199f0a2-6e3c-7c4e-9a53-0d6b1c4d2f11",
                },
            }
        },
    }


# at the end, because documenting a route asks for what is above
@router.get("/problems/{slug}", response_class=PlainTextResponse, responses=responses(404, 422))
def explain(slug: str) -> str:
    """What a problem type means and what to do about it."""
    kind = kinds().get(slug)
    if kind is None:
        raise NotFound(f"there is no problem type {slug[:80]!r}")
    return f"{kind.title} (HTTP status {kind.status})\n\n{(kind.__doc__ or '').strip()}\n\n{kind.remedy}\n"
