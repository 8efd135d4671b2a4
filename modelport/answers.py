"""Reading of answers: documents where it went well, the exception of ``errors`` where it did not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from modelport import errors
from modelport.sse import Message
from modelport.types import Batch, Deployment, Document, Event, Operation, Page, Prediction

M = TypeVar("M", bound=Document)
D = TypeVar("D", bound=Deployment)
O = TypeVar("O", bound=Operation)  # noqa: E741 - beside D it reads as what it is

SHOWN_OF_A_STRANGE_BODY = 200


class Response(Protocol):
    """What is needed of an HTTP response whose body has been read."""

    @property
    def status_code(self) -> int: ...  # noqa: D102
    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def content(self) -> bytes: ...  # noqa: D102


def one(model: type[M]) -> Callable[[Response], M]:
    """Reads one document."""

    def read(response: Response) -> M:
        return _made(model, document(response))

    return read


def page(model: type[M]) -> Callable[[Response], Page[M]]:
    """Reads one page of a list."""

    def read(response: Response) -> Page[M]:
        found = document(response)
        items = found.get("items")
        if not isinstance(items, list):
            raise errors.UnexpectedAnswer("the answer should be a list and has no 'items'; is this a modelport server?")
        return Page([_made(model, item) for item in items], found.get("next_page_token"))

    return read


def operation_or_deployment(operation: type[O], deployment: type[D]) -> Callable[[Response], O | D]:
    """Reads the operation that was begun, or the deployment where there was nothing to do."""

    def read(response: Response) -> O | D:
        found = document(response)
        return _made(operation, found) if "final" in found else _made(deployment, found)

    return read


def nothing(response: Response) -> None:
    """Reads success."""
    raise_for_problem(response)


def stream_of_model(response: Response) -> None:
    """Reads that the model gives an answer. Raises ModelFailed with what it said otherwise."""
    if response.status_code < 300:
        return  # and its body is still to come
    answer = prediction(response)
    if not answer.ok:
        raise errors.ModelFailed(answer.status, answer.text)


def each_of(key: str, model: type[M]) -> Callable[[Response], list[M]]:
    """Reads a list that stands in a document; an older server may not tell it."""

    def read(response: Response) -> list[M]:
        return [_made(model, each) for each in document(response).get(key) or []]

    return read


def text(response: Response) -> str:
    """Reads plain text."""
    raise_for_problem(response)
    return response.content.decode("utf-8", errors="replace")


def prediction(response: Response) -> Prediction:
    """Reads what the model said, an error of the model included; an error of the server is raised."""
    origin = response.headers.get("Modelport-Origin", "").lower()
    if origin != "model":
        raise_for_problem(response)
    revision = response.headers.get("Modelport-Revision", "")
    return Prediction(
        status=response.status_code,
        body=response.content,
        content_type=response.headers.get("Content-Type", ""),
        variant=response.headers.get("Modelport-Variant"),
        revision=int(revision) if revision.isdecimal() else None,
        origin=origin or "model",
    )


def new_event(message: Message, after: int) -> list[Event]:
    """The event that a message of a stream carries; none where it was seen already or is no event."""
    try:
        found = json.loads(message.data)
    except ValueError:
        return []
    if not isinstance(found, dict) or "number" not in found:
        return []
    event = _made(Event, found)
    return [event] if event.number > after else []


def new_batch(message: Message, after: int | None) -> list[Batch]:
    """The batch that a message of a stream carries; none where it was seen already or is no batch."""
    try:
        found = json.loads(message.data)
    except ValueError:
        return []
    if not isinstance(found, dict) or "version" not in found:
        return []
    batch = _made(Batch, found)
    return [batch] if after is None or batch.version > after else []


def document(response: Response) -> dict[str, Any]:
    """The JSON object of an answer. Raises what the status says, and UnexpectedAnswer where it is no object."""
    raise_for_problem(response)
    found = _parsed(response)
    if not isinstance(found, dict):
        raise errors.UnexpectedAnswer(
            f"the answer should be a JSON object and is {_excerpt(response)!r}; is this a modelport server?"
        )
    return found


def raise_for_problem(response: Response) -> None:
    """Raises the Problem of an answer of 400 and more, whoever wrote it."""
    status = response.status_code
    if status < 300:
        return
    if status < 400:
        where = response.headers.get("Location", "another address")
        raise errors.UnexpectedAnswer(f"the server answers with a redirect to {where}; use that address as the URL")
    found = _parsed(response) if "json" in response.headers.get("Content-Type", "") else None
    if not isinstance(found, dict):
        found = {"detail": _excerpt(response)}
    elif "title" not in found and "type" not in found:
        found = {"detail": _excerpt(response), **found}
    raise errors.problem(status, found, retry_after_seconds(response))


def is_problem(response: Response) -> bool:
    """Whether a modelport server itself refused, rather than something between it and us."""
    return response.headers.get("Content-Type", "").startswith("application/problem+json")


def retry_after_seconds(response: Response) -> float | None:
    """How long the server asks to be left alone, from either form of Retry-After; None where it does not say."""
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _made(model: type[M], found: object) -> M:
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise errors.UnexpectedAnswer(
            f"the server's {model.__name__.lower()} cannot be read: {where or 'document'}: {first['msg']}; "
            "client and server may be of different versions"
        ) from error


def _parsed(response: Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def _excerpt(response: Response) -> str:
    return " ".join(response.content[:SHOWN_OF_A_STRANGE_BODY].decode("utf-8", errors="replace").split())
