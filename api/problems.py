"""The one place where a refusal becomes an answer: RFC 9457 problem documents, and a page that explains each type."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from operations.problems import FieldError, InvalidBody, InvalidField, Refused, UnknownField

log = structlog.get_logger(__name__)
router = APIRouter(tags=["problems"])

ORIGIN = "Modelport-Origin"
PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "errors", "instance"],
    "properties": {
        "type": {"type": "string", "description": "stable reference; GET it for what it means and what to do"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message", "remedy"],
                "properties": {
                    "field": {"type": "string"},
                    "message": {"type": "string"},
                    "remedy": {"type": "string"},
                },
            },
        },
        "instance": {"type": "string", "description": "the request's id"},
    },
}
PROBLEM: dict[str, Any] = {
    "description": "A problem (RFC 9457)",
    "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}},
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route for its OpenAPI entry, beside those that every route can have."""
    return dict.fromkeys((*statuses, 500), PROBLEM)


def install(app: FastAPI) -> None:
    """Have every refusal and failure of ``app`` answered from here."""

    @app.exception_handler(Refused)
    def _refused(request: Request, error: Refused) -> JSONResponse:
        return respond(request.scope, error)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return respond(request.scope, from_validation(error.errors()))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        slug = {404: "no-such-path", 405: "method-not-allowed"}.get(error.status_code, f"http-{error.status_code}")
        document = _document(request.scope, f"/problems/{slug}", str(error.detail), error.status_code, "")
        return _answer(document, dict(error.headers or {}))

    @app.exception_handler(Exception)
    def _failed(request: Request, error: Exception) -> JSONResponse:
        log.error("request_failed", path=request.url.path, exc_info=error)
        detail = "this is a defect of the server, or its database cannot be reached; its log has the request's id"
        return _answer(_document(request.scope, "/problems/internal-error", "The server failed", 500, detail), {})


def respond(scope: Scope, error: Refused) -> JSONResponse:
    """The answer to a refused request."""
    document = _document(scope, error.type, error.title, error.status, error.detail)
    document["errors"] = [vars(fault) for fault in error.errors]
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return _answer(document, headers)


def from_validation(faults: Any) -> Refused:
    """What pydantic found wrong, by field, with what to do."""
    errors = []
    unknown = False
    for fault in faults:
        kind, place = fault["type"], list(fault["loc"])
        if kind in {"json_invalid", "missing"} and place == ["body"]:
            return InvalidBody("a JSON body is required here")
        if place and place[0] in {"body", "query", "path", "header"}:
            place = place[1:]
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
        if kind == "extra_forbidden":
            unknown = True
            errors.append(FieldError(field, "is not known here", UnknownField.remedy))
        else:
            errors.append(FieldError(field or "body", fault["msg"], "correct the value"))
    kind_of = UnknownField if unknown else InvalidField
    return kind_of(f"{errors[0].field}: {errors[0].message}", errors)


@router.get("/problems/{slug}", response_class=PlainTextResponse, responses=responses(404, 422))
def explain(slug: str) -> str:
    """What a problem type means and what to do about it."""
    for kind in _kinds(Refused):
        if kind.slug == slug:
            return f"{kind.title}\n\n{(kind.__doc__ or '').strip()}\n\n{kind.remedy}\n"
    raise HTTPException(404, "There is no such problem type")


def _kinds(kind: type[Refused]) -> Iterator[type[Refused]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from _kinds(inner)


def _document(scope: Scope, kind: str, title: str, status: int, detail: str) -> dict[str, Any]:
    return {
        "type": kind,
        "title": title,
        "status": status,
        "detail": detail,
        "errors": [],
        "instance": scope.get("state", {}).get("request_id", ""),
    }


def _answer(document: dict[str, Any], headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(
        document,
        status_code=document["status"],
        media_type="application/problem+json",
        headers={ORIGIN: "modelport", **headers},
    )
