"""Predictions: passed through to the model's server at once, bytes untouched; its answer kept apart from ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from adapters import registry
from adapters.contract import JSON, Answer, Place, Unreachable
from adapters.contract import Request as Prediction
from api.problems import ORIGIN, responses
from api.submitting import PathName
from operations import queries, targets
from operations.database import database
from operations.problems import (
    InvalidBody,
    InvalidField,
    InvalidPredictionInput,
    ModelTimeout,
    ModelUnreachable,
    NotServing,
    NotSupportedByTarget,
    UnsupportedMediaType,
)
from operations.settings import settings

router = APIRouter(prefix="/v1/deployments", tags=["predictions"])

SHAPES = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})
MEDIA_TYPES = frozenset({"application/json", "text/csv"})


@dataclass(frozen=True)
class Way:
    """Where a prediction goes: read in one short transaction that ends before the call."""

    place: Place
    route: JSON
    revision: int
    variants: list[str]
    can_pin: bool


@router.post(
    "/{target}/{name}/predict",
    response_class=Response,
    responses={
        200: {
            "description": "The model's own answer, with Modelport-Origin: model",
            "content": {"application/json": {}},
        },
        **responses(400, 404, 409, 413, 415, 422, 502, 504),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": {"dataframe_split": {"columns": ["x"], "data": [[1.0]]}},
                },
                "text/csv": {"schema": {"type": "string"}},
            },
        }
    },
)
async def predict(
    target: PathName,
    name: PathName,
    request: Request,
    variant: Annotated[str | None, Query(max_length=253, description="pin this variant")] = None,
) -> Response:
    """Predict. The model's status, body and type come back as they are; problems of ours are problem+json."""
    body = await request.body()
    return await run_in_threadpool(_predict, target, name, variant, body, request.headers.get("content-type", ""))


def _predict(target: str, name: str, variant: str | None, body: bytes, content_type: str) -> Response:
    _check_input(body, content_type)
    way = _way(target, name)
    if variant is not None:
        if not way.can_pin:
            raise NotSupportedByTarget.one("variant", "this target cannot pin a variant", "leave it out")
        if variant not in way.variants:
            raise InvalidField.one("variant", f"{variant[:80]!r} is no variant", f"one of {', '.join(way.variants)}")
    prediction = Prediction(body=body, content_type=content_type, variant=variant)
    try:
        answer: Answer = registry.invoker(way.place.uri)(
            way.place, way.route, prediction, settings().predict_timeout_seconds
        )
    except Unreachable as error:
        raise (ModelTimeout if error.timed_out else ModelUnreachable)(str(error)) from error
    headers = {ORIGIN: "model", "Modelport-Revision": str(way.revision)}
    if answer.variant is not None:
        headers["Modelport-Variant"] = answer.variant
    headers["Content-Type"] = answer.content_type
    return Response(answer.body, answer.status, headers=headers)


def _check_input(body: bytes, content_type: str) -> None:
    kind = content_type.split(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise UnsupportedMediaType(f"{kind[:80] or 'a body without Content-Type'} is not read here")
    if kind != "application/json":
        return
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidBody(f"the body is not valid JSON: {error}") from None
    shapes = SHAPES & document.keys() if isinstance(document, dict) else set()
    if len(shapes) != 1:
        found = ", ".join(sorted(shapes)) or "none"
        raise InvalidPredictionInput.one("body", f"has {found} of the four shapes", InvalidPredictionInput.remedy)


def _way(target: str, name: str) -> Way:
    with database().read() as session:
        row = targets.get(session, target)
        deployment = queries.get_deployment(session, row, name)
        if deployment.current is None or deployment.route is None:
            raise NotServing(f"{target}/{name} serves nothing yet")
        place = Place(
            name=row.name,
            uri=row.uri,
            installation=settings().installation,
            folder=str(settings().folder.absolute()),
            settings=row.settings,
            credentials=row.credentials,
            call_timeout_seconds=settings().call_timeout_seconds,
        )
        variants = [variant["name"] for variant in deployment.current.spec["variants"]]
        can_pin = registry.describe(row.uri).capabilities.can_pin
        return Way(place, deployment.route, deployment.current.number, variants, can_pin)
