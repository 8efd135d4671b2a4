"""One request and the reading of its answer; and how requests of each kind are made."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote

from modelport.answers import Response
from modelport.types import JSON, Deployment, Operation, Page

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


Pages = Callable[[str | None], Call[Page[T]]]
"""A list: the call for its page after a token."""


def get(path: str, read: Callable[[Response], T], query: Query | None = None) -> Call[T]:
    """A read."""
    return Call("GET", path, read, query=pairs(query or {}))


def pages(path: str, read: Callable[[Response], Page[T]], query: Query | None = None) -> Pages[T]:
    """The reads of a list."""
    return lambda token: get(path, read, {**(query or {}), "page_token": token})


def submit(
    method: str,
    path: str,
    read: Callable[[Response], T],
    *,
    body: JSON | None = None,
    query: Query | None = None,
    if_match: Match = None,
    key: str | None = None,
) -> Call[T]:
    """A submission, with an idempotency key that is made here unless one is given."""
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    if if_match is not None:
        headers["If-Match"] = _entity_tag(if_match)
    content = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        content = json.dumps(body).encode()
    return Call(method, path, read, query=pairs(query or {}), headers=headers, content=content)


def specification(given: Specification) -> JSON:
    """The body of a submission: what was given and is not None. Raises TypeError for what is no part of it."""
    unknown = given.keys() - Specification.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
    body: JSON = {name: value for name, value in given.items() if value is not None}
    if isinstance(body.get("variants"), Mapping):
        body["variants"] = [{"name": name, "model_uri": uri} for name, uri in body["variants"].items()]
    return body


def pairs(query: Query) -> tuple[tuple[str, str], ...]:
    """A query as it is sent, without what is None."""
    found: list[tuple[str, str]] = []
    for name, value in query.items():
        several = [value] if isinstance(value, str | int) else value or ()
        found += [(name, str(one)) for one in several]
    return tuple(found)


def path(*parts: str) -> str:
    """A path under ``/v1`` whose parts may hold anything."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _entity_tag(match: str | int | Deployment) -> str:
    if isinstance(match, Deployment):
        return match.etag
    text = str(match)
    return text if text == "*" or text.endswith('"') else f'"{text}"'
