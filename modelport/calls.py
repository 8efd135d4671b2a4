"""Every call of the HTTP interface: how it is asked and how its answer is read. Nothing here sends anything.

The clients differ only in how they send, wait and iterate, so a route is written down once.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote

from modelport import answers
from modelport.answers import Response
from modelport.types import JSON, Check, Deployment, Event, Operation, Page, Prediction, Revision, Target

T = TypeVar("T")
D = TypeVar("D", bound=Deployment)
O = TypeVar("O", bound=Operation)  # noqa: E741 - beside D it reads as what it is

Query = Mapping[str, str | int | Sequence[str] | None]
Match = str | int | Deployment | None


class Specification(TypedDict, total=False):
    """What a deployment shall be: either one model (``model_uri``, ``flavor``, ``config``) or ``variants``.

    Variants are documents, or ``{name: model URI}`` where they need nothing else; ``traffic`` is in whole percent by
    variant and sums to 100. ``deadline_seconds`` is the time that the operation may take once it has started.
    """

    model_uri: str | None
    flavor: str | None
    config: Mapping[str, Any] | None
    variants: Sequence[Mapping[str, Any]] | Mapping[str, str] | None
    traffic: Mapping[str, int] | None
    labels: Mapping[str, str | None] | None
    deadline_seconds: float | None


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and the reading of its answer.

    ``repeatable`` means that twice is the same as once: a read, or a submission with its own idempotency key.
    ``held_seconds`` is how long the server may hold the answer back on top of the usual time.
    """

    method: str
    path: str
    read: Callable[[Response], T]
    query: tuple[tuple[str, str], ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    repeatable: bool = True
    held_seconds: float = 0.0


class Calls(Generic[D, O]):
    """The routes; deployments and operations are read into the classes that the client was made with."""

    def __init__(self, deployment: type[D], operation: type[O]) -> None:
        self._deployment = answers.one(deployment)
        self._deployments = answers.page(deployment)
        self._operation = answers.one(operation)
        self._operations = answers.page(operation)
        self._either = answers.operation_or_deployment(operation, deployment)

    def create(self, target: str, name: str, body: JSON, *, on_conflict: str | None, key: str | None) -> Call[O]:
        """POST /v1/deployments."""
        return _submit(
            "POST",
            "/v1/deployments",
            self._operation,
            body={"target": target, "name": name, **body},
            query={"on_conflict": on_conflict},
            key=key,
        )

    def apply(self, target: str, name: str, body: JSON, *, if_match: Match, key: str | None) -> Call[O | D]:
        """PUT a deployment: create or change."""
        return _submit("PUT", _path(target, name), self._either, body=body, if_match=if_match, key=key)

    def update(self, target: str, name: str, body: JSON, *, if_match: Match, key: str | None) -> Call[O | D]:
        """PATCH a deployment."""
        return _submit("PATCH", _path(target, name), self._either, body=body, if_match=if_match, key=key)

    def delete(self, target: str, name: str, *, cancel_pending: bool, if_match: Match, key: str | None) -> Call[O]:
        """DELETE a deployment."""
        return _submit(
            "DELETE",
            _path(target, name),
            self._operation,
            query={"cancel_pending": "true" if cancel_pending else None},
            if_match=if_match,
            key=key,
        )

    def rollback(
        self, target: str, name: str, *, revision: int | None, if_match: Match, key: str | None
    ) -> Call[O | D]:
        """POST a rollback; without a revision, to the one that served before."""
        body = {} if revision is None else {"revision": revision}
        path = _path(target, name, "rollback")
        return _submit("POST", path, self._either, body=body, if_match=if_match, key=key)

    def traffic(
        self, target: str, name: str, traffic: Mapping[str, int], *, if_match: Match, key: str | None
    ) -> Call[O | D]:
        """PUT the traffic."""
        body = {"traffic": dict(traffic)}
        path = _path(target, name, "traffic")
        return _submit("PUT", path, self._either, body=body, if_match=if_match, key=key)

    def get(self, target: str, name: str) -> Call[D]:
        """GET a deployment."""
        return _get(_path(target, name), self._deployment)

    def list(self, query: Query, token: str | None) -> Call[Page[D]]:
        """GET one page of deployments."""
        return _get("/v1/deployments", self._deployments, {**query, "page_token": token})

    def revision(self, target: str, name: str, number: int) -> Call[Revision]:
        """GET a revision."""
        return _get(_path(target, name, "revisions", str(number)), answers.one(Revision))

    def revisions(self, target: str, name: str, query: Query, token: str | None) -> Call[Page[Revision]]:
        """GET one page of revisions."""
        return _get(_path(target, name, "revisions"), answers.page(Revision), {**query, "page_token": token})

    def predict(
        self, target: str, name: str, data: Any, *, variant: str | None, content_type: str | None
    ) -> Call[Prediction]:
        """``data``: bytes and text are passed on untouched, anything else as JSON. Not repeatable: models may count."""
        if isinstance(data, bytes | str):
            content = data.encode() if isinstance(data, str) else data
        else:
            content = json.dumps(data).encode()
        return Call(
            "POST",
            _path(target, name, "predict"),
            answers.prediction,
            query=_pairs({"variant": variant}),
            headers={"Content-Type": content_type or "application/json"},
            content=content,
            repeatable=False,
        )

    def predict_stream(
        self, target: str, name: str, data: Any, *, variant: str | None, content_type: str | None
    ) -> Call[None]:
        """As ``predict``, for an answer that is read while it comes; reading it only tells whether there is one."""
        call = self.predict(target, name, data, variant=variant, content_type=content_type)
        headers = {**call.headers, "Accept": "text/event-stream, application/json;q=0.5"}
        return Call(
            call.method,
            call.path,
            answers.stream_of_model,
            query=call.query,
            headers=headers,
            content=call.content,
            repeatable=False,
        )

    def operation(self, operation_id: str, *, wait_seconds: float = 0.0) -> Call[O]:
        """GET an operation, held back by the server for up to ``wait_seconds`` until it has ended."""
        headers = {"Prefer": f"wait={round(wait_seconds)}"} if wait_seconds >= 1 else {}
        path = f"/v1/operations/{_quoted(operation_id)}"
        return Call("GET", path, self._operation, headers=headers, held_seconds=wait_seconds)

    def operations(self, query: Query, token: str | None) -> Call[Page[O]]:
        """GET one page of operations."""
        return _get("/v1/operations", self._operations, {**query, "page_token": token})

    def cancel(self, operation_id: str, *, key: str | None) -> Call[O]:
        """POST a cancel."""
        return _submit("POST", f"/v1/operations/{_quoted(operation_id)}/cancel", self._operation, key=key)

    def retry(self, operation_id: str, *, key: str | None) -> Call[O]:
        """POST a retry."""
        return _submit("POST", f"/v1/operations/{_quoted(operation_id)}/retry", self._operation, key=key)

    def undo(self, operation_id: str, *, key: str | None) -> Call[O]:
        """POST an undo."""
        return _submit("POST", f"/v1/operations/{_quoted(operation_id)}/undo", self._operation, key=key)

    def reconcile(self, target: str, name: str, *, key: str | None) -> Call[O]:
        """POST a reconcile."""
        return _submit("POST", _path(target, name, "reconcile"), self._operation, key=key)

    def adopt(self, target: str, name: str, labels: Mapping[str, str] | None, *, key: str | None) -> Call[O]:
        """POST an adopt."""
        body = {"name": name, "labels": dict(labels or {})}
        return _submit("POST", f"/v1/targets/{_quoted(target)}/adopt", self._operation, body=body, key=key)

    def events(self, operation_id: str, token: str | None) -> Call[Page[Event]]:
        """GET one page of an operation's events."""
        return _get(f"/v1/operations/{_quoted(operation_id)}/events", answers.page(Event), {"page_token": token})

    def event_stream(self, operation_id: str, after: int) -> Call[None]:
        """GET the events after number ``after`` as a stream; reading it only tells whether the stream was opened."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if after:
            headers["Last-Event-ID"] = f"{operation_id}:{after}"
        path = f"/v1/operations/{_quoted(operation_id)}/events"
        return Call("GET", path, answers.nothing, headers=headers)

    def targets(self, token: str | None) -> Call[Page[Target]]:
        """GET one page of targets."""
        return _get("/v1/targets", answers.page(Target), {"page_token": token})

    def target(self, name: str) -> Call[Target]:
        """GET a target."""
        return _get(f"/v1/targets/{_quoted(name)}", answers.one(Target))

    def put_target(self, name: str, body: JSON, *, key: str | None) -> Call[Target]:
        """PUT a target: register or change."""
        return _submit("PUT", f"/v1/targets/{_quoted(name)}", answers.one(Target), body=body, key=key)

    def delete_target(self, name: str, *, key: str | None) -> Call[None]:
        """DELETE a target."""
        return _submit("DELETE", f"/v1/targets/{_quoted(name)}", answers.nothing, key=key)

    def check_target(self, name: str, *, key: str | None) -> Call[Check]:
        """POST a check of a target."""
        return _submit("POST", f"/v1/targets/{_quoted(name)}/check", answers.one(Check), key=key)

    def target_help(self, name: str) -> Call[str]:
        """GET a target's help."""
        return _get(f"/v1/targets/{_quoted(name)}/help", answers.text)


def specification(given: Specification) -> JSON:
    """The body of a submission: what was given and is not None. Raises TypeError for what is no part of it."""
    unknown = given.keys() - Specification.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
    body: JSON = {name: value for name, value in given.items() if value is not None}
    if isinstance(body.get("variants"), Mapping):
        body["variants"] = [{"name": name, "model_uri": uri} for name, uri in body["variants"].items()]
    return body


def _get(path: str, read: Callable[[Response], T], query: Query | None = None) -> Call[T]:
    return Call("GET", path, read, query=_pairs(query or {}))


def _submit(
    method: str,
    path: str,
    read: Callable[[Response], T],
    *,
    body: JSON | None = None,
    query: Query | None = None,
    if_match: Match = None,
    key: str | None = None,
) -> Call[T]:
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    if if_match is not None:
        headers["If-Match"] = _entity_tag(if_match)
    content = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        content = json.dumps(body).encode()
    return Call(method, path, read, query=_pairs(query or {}), headers=headers, content=content)


def _entity_tag(match: str | int | Deployment) -> str:
    if isinstance(match, Deployment):
        return match.etag
    text = str(match)
    return text if text == "*" or text.endswith('"') else f'"{text}"'


def _pairs(query: Query) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        several = [value] if isinstance(value, str | int) else value or ()
        pairs += [(name, str(one)) for one in several]
    return tuple(pairs)


def _path(target: str, name: str, *rest: str) -> str:
    return "/v1/deployments/" + "/".join(_quoted(part) for part in (target, name, *rest))


def _quoted(part: str) -> str:
    return quote(part, safe="")
