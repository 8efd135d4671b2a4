"""What the plugin raises of its own, and MLflow's error codes, by name, for it and for all that the client raises."""

from __future__ import annotations

from modelport import errors
from modelport.errors import ModelportError


class Exists(ModelportError):
    """There is one of this name already."""


class Missing(ModelportError):
    """There is none of this name."""


BY_CLASS: tuple[tuple[type[ModelportError], str], ...] = (
    (Exists, "RESOURCE_ALREADY_EXISTS"),
    (Missing, "RESOURCE_DOES_NOT_EXIST"),
    (errors.AlreadyExists, "RESOURCE_ALREADY_EXISTS"),
    (errors.NotServing, "TEMPORARILY_UNAVAILABLE"),
    (errors.Conflict, "RESOURCE_CONFLICT"),
    (errors.Stale, "RESOURCE_CONFLICT"),
    (errors.NotFound, "RESOURCE_DOES_NOT_EXIST"),
    (errors.Unauthorized, "UNAUTHENTICATED"),
    (errors.Forbidden, "PERMISSION_DENIED"),
    (errors.Invalid, "INVALID_PARAMETER_VALUE"),
    (errors.MatchRequired, "INVALID_PARAMETER_VALUE"),
    (errors.Throttled, "REQUEST_LIMIT_EXCEEDED"),
    (errors.TooSlow, "TEMPORARILY_UNAVAILABLE"),
    (errors.ModelTimeout, "DEADLINE_EXCEEDED"),
    (errors.WaitTimeout, "DEADLINE_EXCEEDED"),
    (errors.ServerError, "TEMPORARILY_UNAVAILABLE"),
    (errors.Unreachable, "TEMPORARILY_UNAVAILABLE"),
    (errors.OperationCancelled, "CANCELLED"),
)

BY_REASON = {
    "conflict-on-target": "RESOURCE_CONFLICT",
    "denied-by-target": "PERMISSION_DENIED",
    "deadline-exceeded": "DEADLINE_EXCEEDED",
}
"""Why an operation failed, by the last part of its error's type."""

BY_STATUS = {400: "BAD_REQUEST", 404: "RESOURCE_DOES_NOT_EXIST", 429: "REQUEST_LIMIT_EXCEEDED"}
"""What the model itself answered with; above 499 it is TEMPORARILY_UNAVAILABLE for 503, else INTERNAL_ERROR."""


def code_of(error: ModelportError) -> str:
    """The name of the code that fits; INTERNAL_ERROR where none does."""
    for kind, code in BY_CLASS:
        if isinstance(error, kind):
            return code
    if isinstance(error, errors.ModelFailed):
        return code_of_model(error.status)
    if isinstance(error, errors.OperationFailed) and error.operation.error is not None:
        return BY_REASON.get(error.operation.error.type.rpartition("/")[2], "INTERNAL_ERROR")
    return "INTERNAL_ERROR"


def code_of_model(status: int) -> str:
    """The name of the code for an HTTP status of the model's own."""
    if status >= 500:
        return "TEMPORARILY_UNAVAILABLE" if status == 503 else "INTERNAL_ERROR"
    return BY_STATUS.get(status, "BAD_REQUEST")
