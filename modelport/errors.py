"""Everything that the client raises, in one tree::

    ModelportError
    ├── Unreachable            no answer came: no connection, or it broke, or took too long
    ├── UnexpectedAnswer       something answered that does not speak modelport's documents
    ├── Problem                the server said no, and why (RFC 9457)
    │   ├── Invalid            400, 413, 415, 422: what was sent is wrong; ``errors`` names the fields
    │   │   └── KeyReused      the idempotency key was used before with another body
    │   ├── Unauthorized       401: no key, or one that is not known
    │   ├── Forbidden          403: the key does not allow this
    │   ├── NotFound           404
    │   ├── TooSlow            408: the body did not come in time
    │   ├── Conflict           409: not possible as things stand
    │   │   ├── AlreadyExists  a create of what exists
    │   │   ├── Busy           an operation is under way and ``on_conflict`` is refuse
    │   │   ├── QueueFull      too many operations wait for this deployment
    │   │   ├── NotServing     a prediction before anything serves
    │   │   ├── TooLate        a cancel of what has ended, or serves already
    │   │   ├── NotRetryable   a retry of what has not failed
    │   │   ├── NoPreviousRevision  a rollback with nothing to go back to
    │   │   └── TargetInUse    a target with deployments cannot be taken off
    │   ├── Stale              412: it changed since it was read
    │   ├── MatchRequired      428: this deployment is changed only with ``if_match``
    │   ├── Throttled          429: too much at once; ``retry_after`` seconds
    │   └── ServerError        5xx: the server, or a part that it needs, failed
    │       ├── ModelUnreachable  502: the model's server did not answer
    │       └── ModelTimeout   504: the model took too long
    ├── ModelFailed            the model itself answered with an error, where its answer is not given back
    ├── OperationFailed        an operation that was waited for ended as failed
    │   └── OperationCancelled it ended as cancelled
    └── WaitTimeout            the operation did not end in time, and goes on (also a TimeoutError)

Programs compare classes, or ``Problem.type`` where they need more; titles and details are for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelport.types import Operation

UNTYPED = "about:blank"


class ModelportError(Exception):
    """Base of all that this package raises on purpose."""


class Unreachable(ModelportError):
    """No answer came from the server. A submission may or may not have been taken."""


class UnexpectedAnswer(ModelportError):
    """What answered is no modelport server, or one of a version that this client cannot read."""


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with what was sent: where (``variants[0].config.x``), what, and what to do."""

    field: str
    message: str
    remedy: str = ""


class Problem(ModelportError):
    """The server said no. ``type`` is stable (``/problems/<slug>``) and is what programs should compare.

    ``request_id`` finds the request in the server's log. ``retry_after`` is in seconds. ``document`` is what the
    server sent, as it sent it.
    """

    def __init__(
        self,
        status: int,
        title: str,
        *,
        type: str = UNTYPED,  # noqa: A002 - the name that RFC 9457 gives it
        detail: str = "",
        errors: Sequence[FieldError] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, title)
        self.status = status
        self.title = title
        self.type = type
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after
        self.document = dict(document or {})

    def __str__(self) -> str:
        told = {
            self.title,
            *(text for error in self.errors for text in (error.message, f"{error.field}: {error.message}")),
        }
        text = self.title if not self.detail or self.detail in told else f"{self.title}: {self.detail}"
        for error in self.errors:
            text += f"; {error.field}: {error.message}" if error.field else f"; {error.message}"
            text += f" ({error.remedy})" if error.remedy else ""
        return text

    @property
    def remedy(self) -> str:
        """What to do about it, where the server says so."""
        return str(self.document.get("remedy") or "")

    @property
    def slug(self) -> str:
        """The last part of ``type``: ``not-found``; empty where the answer had no type."""
        return "" if self.type == UNTYPED else self.type.rstrip("/").rpartition("/")[2]


class Invalid(Problem):
    """What was sent is wrong; sending it again cannot help."""


class KeyReused(Invalid):
    """The idempotency key was used before with another body."""


class Unauthorized(Problem):
    """The server wants an API key, or does not know this one."""


class Forbidden(Problem):
    """The API key does not allow this."""


class NotFound(Problem):
    """There is no such thing."""


class Conflict(Problem):
    """Not possible as things stand."""


class AlreadyExists(Conflict):
    """A deployment of this name exists on the target."""


class Busy(Conflict):
    """An operation is under way, and the request asked to be refused then."""


class QueueFull(Conflict):
    """The deployment has as many unfinished operations as it may."""


class NotServing(Conflict):
    """The deployment serves nothing yet; wait for its operation."""


class TooLate(Conflict):
    """The operation has ended, or what it did serves already."""


class NotRetryable(Conflict):
    """Only what failed or was cancelled can be tried again."""


class NoPreviousRevision(Conflict):
    """There is no revision before the one that serves."""


class TargetInUse(Conflict):
    """The target has deployments."""


class Stale(Problem):
    """The deployment changed since it was read; read it again and decide anew."""


class MatchRequired(Problem):
    """This deployment is changed only by who says which state of it they saw (``if_match``)."""


class TooSlow(Problem):
    """What was sent did not come in time; nothing was done. It may be sent again."""


class Throttled(Problem):
    """Too much at once; try again after ``retry_after`` seconds."""


class ServerError(Problem):
    """The server, or a part that it needs, failed."""


class ModelUnreachable(ServerError):
    """The model's server did not answer."""


class ModelTimeout(ServerError):
    """The model's server took too long."""


class ModelFailed(ModelportError):
    """The model itself answered with an error: ``status`` and ``text`` are its own."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text

    def __str__(self) -> str:
        return f"the model answered with HTTP status {self.status}: {self.text}"


class OperationFailed(ModelportError):
    """The operation ended as failed; ``operation`` is its last state, with ``error`` and ``leftovers``."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation)
        self.operation = operation

    def __str__(self) -> str:
        operation = self.operation
        reason = operation.error.detail or operation.error.title if operation.error else operation.message
        thing = f"{operation.kind} of {operation.target}/{operation.deployment}"
        return f"{thing} {operation.state}: {reason}" if reason else f"{thing} {operation.state}"


class OperationCancelled(OperationFailed):
    """The operation ended as cancelled."""


class WaitTimeout(ModelportError, TimeoutError):
    """The operation did not end within ``timeout`` seconds. It goes on; ``operation`` is how it was last seen."""

    def __init__(self, operation: Operation, timeout: float) -> None:
        super().__init__(operation, timeout)
        self.operation = operation
        self.timeout = timeout

    def __str__(self) -> str:
        return f"operation {self.operation.id} is still {self.operation.state} after {self.timeout:g} s"


def raise_unless_succeeded(operation: Operation) -> None:
    """Raises OperationCancelled or OperationFailed, as it ended."""
    if operation.state == "cancelled":
        raise OperationCancelled(operation)
    if operation.state != "succeeded":
        raise OperationFailed(operation)


_BY_SLUG: dict[str, type[Problem]] = {
    "busy": Busy,
    "deployment-exists": AlreadyExists,
    "deployment-not-serving": NotServing,
    "idempotency-key-reuse": KeyReused,
    "model-timeout": ModelTimeout,
    "model-unreachable": ModelUnreachable,
    "no-previous-revision": NoPreviousRevision,
    "not-retryable": NotRetryable,
    "queue-full": QueueFull,
    "target-in-use": TargetInUse,
    "too-late": TooLate,
}

_BY_STATUS: dict[int, type[Problem]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: TooSlow,
    409: Conflict,
    412: Stale,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    428: MatchRequired,
    429: Throttled,
}


def problem(status: int, document: Mapping[str, Any], retry_after: float | None = None) -> Problem:
    """The exception for a problem document. A type that this version does not know falls back on its status."""
    kind = str(document.get("type") or UNTYPED)
    default = ServerError if status >= 500 else Problem
    slug = kind.rstrip("/").rpartition("/")[2]
    chosen = _BY_SLUG.get(slug) or _BY_STATUS.get(status, default)
    return chosen(
        status,
        str(document.get("title") or f"HTTP status {status}"),
        type=kind,
        detail=str(document.get("detail") or ""),
        errors=[_field_error(error) for error in document.get("errors") or ()],
        request_id=document.get("instance"),
        retry_after=retry_after,
        document=document,
    )


def _field_error(error: object) -> FieldError:
    if not isinstance(error, Mapping):
        return FieldError("", str(error))
    return FieldError(
        str(error.get("field") or ""), str(error.get("message") or ""), remedy=str(error.get("remedy") or "")
    )
