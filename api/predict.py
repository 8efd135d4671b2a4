"""Predictions: passed through to the model's server at once, bytes untouched; its answer kept apart from ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from adapters import registry
from adapters.contract import JSON, AdapterError, Answer, Chunks, Place, Unreachable
from adapters.contract import Request as Prediction
from adapters.description import Capabilities
from api.body import StrictRoute
from api.problems import ORIGIN, responses
from api.requests import Who
from api.submitting import PathName, description_of
from operations import queries, targets
from operations.access import Permission, Principal
from operations.database import database
from operations.problems import (
    BodyTooLarge,
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

router = APIRouter(prefix="/v1/deployments", tags=["predictions"], route_class=StrictRoute)

SHAPES = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})
# of models that talk, with whatever else their interfaces know: temperature, max_tokens, tools ...
TALKS = frozenset({"messages", "prompt", "input"})
BESIDE = frozenset({"params", "stream"})
EVENTS = "text/event-stream"
MEDIA_TYPES = frozenset({"application/json", "text/csv"})
PASSED_ON = ("accept", "traceparent", "tracestate")
ANSWERED = {
    "description": "The model's own answer, with Modelport-Origin: model; its errors come with their own status",
    "content": {
        "application/json": {"schema": {"description": "whatever the model answers"}},
        EVENTS: {"schema": {"description": "where the model streams, as it comes; a break ends it with event: error"}},
    },
    "headers": {
        ORIGIN: {"schema": {"enum": ["model", "modelport"]}, "description": "who wrote this answer"},
        "Modelport-Revision": {"schema": {"type": "integer"}, "description": "the revision that serves"},
        "Modelport-Variant": {"schema": {"type": "string"}, "description": "the variant that answered, where known"},
    },
}
INPUT = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "description": "exactly one of the four shapes, with params and stream; or messages, prompt or input, "
                "with whatever the model knows beside it",
            },
            "example": {"dataframe_split": {"columns": ["x"], "data": [[1.0]]}},
        },
        "text/csv": {"schema": {"type": "string"}},
    },
}


@dataclass(frozen=True)
class Way:
    """Where a prediction goes: read in one short transaction that ends before the call."""

    place: Place
    route: JSON
    revision: int
    variants: list[str]
    capabilities: Capabilities


@router.post(
    "/{target}/{name}/predict",
    response_class=Response,
    responses={200: ANSWERED, **responses(400, 404, 409, 413, 415, 422, 502, 504)},
    openapi_extra={"requestBody": INPUT},
)
async def predict(
    target: PathName,
    name: PathName,
    request: Request,
    who: Who,
    variant: Annotated[str | None, Query(max_length=253, description="pin this variant")] = None,
) -> Response:
    """Predict. The model's status, body and type come back as they are; problems of ours are problem+json."""
    body = await request.body()
    headers = {key: request.headers[key] for key in PASSED_ON if key in request.headers}
    headers["x-request-id"] = request.state.request_id
    prediction = Prediction(body, request.headers.get("content-type", ""), variant, headers)
    # threads of their own, so that slow models keep nobody from submitting
    threads = request.app.state.predict_threads
    answer, headers = await to_thread.run_sync(_predict, who, target, name, prediction, limiter=threads)
    if answer.chunks is None:
        return Response(answer.body, answer.status, headers=headers)
    passed_on = _passed_on(answer.chunks, answer.content_type, threads)
    return StreamingResponse(passed_on, answer.status, headers={**headers, "Cache-Control": "no-cache"})


async def _passed_on(chunks: Chunks, content_type: str, threads: CapacityLimiter) -> AsyncIterator[bytes]:
    """The bytes as they come, each waited for in a thread; at the end, or when the caller goes, they are closed."""
    try:
        while (chunk := await to_thread.run_sync(next, chunks, None, limiter=threads)) is not None:
            yield chunk
    except Unreachable as error:
        if not content_type.startswith(EVENTS):
            raise
        # a stream of events that merely stopped would look like a whole one
        broken = (ModelTimeout if error.timed_out else ModelUnreachable)(str(error))
        document = {"type": broken.type, "title": broken.title, "detail": broken.detail, "remedy": broken.remedy}
        yield f"event: error\ndata: {json.dumps(document)}\n\n".encode()
    finally:
        chunks.close()


def _predict(who: Principal, target: str, name: str, prediction: Prediction) -> tuple[Answer, dict[str, str]]:
    _check_input(prediction.body, prediction.content_type)
    way = _way(who, target, name)
    _check_limits(way, prediction)
    try:
        invoke = registry.invoker(way.place.uri)
        answer = invoke(way.place, way.route, prediction, settings().predict_timeout_seconds)
    except Unreachable as error:
        raise (ModelTimeout if error.timed_out else ModelUnreachable)(str(error)) from error
    except AdapterError as error:
        raise ModelUnreachable(error.message) from error
    headers = {ORIGIN: "model", "Modelport-Revision": str(way.revision), "Content-Type": answer.content_type}
    if answer.variant is not None:
        headers["Modelport-Variant"] = answer.variant
    return answer, headers


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
    keys = set(document) if isinstance(document, dict) else set()
    if not keys & SHAPES and len(keys & TALKS) == 1:
        return
    if len(keys & SHAPES) != 1:
        found = ", ".join(sorted(keys & SHAPES)) or "none"
        raise InvalidPredictionInput.one("body", f"has {found} of the four shapes", InvalidPredictionInput.remedy)
    for key in sorted(keys - SHAPES - BESIDE):
        remedy = "Beside the input there may be params and stream only."
        raise InvalidPredictionInput.one(key[:80], "is not known here", remedy)
    if not isinstance(document.get("stream", False), bool):
        raise InvalidPredictionInput.one("stream", "is neither true nor false", "Send true, false, or leave it out.")


def _check_limits(way: Way, prediction: Prediction) -> None:
    if len(prediction.body) > way.capabilities.max_body_bytes:
        raise BodyTooLarge(f"this target takes {way.capabilities.max_body_bytes} bytes, not {len(prediction.body)}")
    if prediction.variant is None:
        return
    if not way.capabilities.can_pin:
        raise NotSupportedByTarget.one("variant", "this target cannot pin a variant", "Leave it out.")
    if prediction.variant not in way.variants:
        known = ", ".join(way.variants)
        raise InvalidField.one("variant", f"{prediction.variant[:80]!r} is no variant", f"The variants are: {known}.")


def _way(who: Principal, target: str, name: str) -> Way:
    with database().read() as session:
        row = targets.get(session, target)
        deployment = queries.get_deployment(session, row, name, who, Permission.PREDICT)
        if deployment.current is None or deployment.route is None:
            raise NotServing(f"{target}/{name} serves nothing yet")
        place = Place(
            name=row.name,
            uri=row.uri,
            installation=settings().installation,
            folder=str(settings().folder.absolute()),
            settings=targets.adapter_settings(row.settings),
            credentials=row.credentials,
            call_timeout_seconds=settings().call_timeout_seconds,
        )
        return Way(
            place=place,
            route=deployment.route,
            revision=deployment.current.number,
            variants=[variant["name"] for variant in deployment.current.spec["variants"]],
            capabilities=description_of(row).capabilities,
        )
