"""What the command's exit code means, and the paragraph that goes with it."""

from __future__ import annotations

from enum import IntEnum

from modelport.errors import (
    ModelportError,
    NotFound,
    OperationFailed,
    Problem,
    ServerError,
    Throttled,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
    WaitTimeout,
)


class Exit(IntEnum):
    """The exit codes; scripts build on them, so they never change."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    TIMED_OUT = 6
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done, or taken on where --no-wait was asked for",
    Exit.FAILED: "the operation failed or was cancelled, the model answered with an error, the check failed",
    Exit.USAGE: "wrong use of the command line",
    Exit.REFUSED: "the server refused; the message says what to change",
    Exit.NOT_FOUND: "no such deployment, operation, revision or target",
    Exit.UNREACHABLE: "the server cannot be reached, or failed",
    Exit.TIMED_OUT: "timed out waiting; the operation goes on",
    Exit.INTERRUPTED: "interrupted by Ctrl-C; the operation goes on",
}


REMEDIES = {
    "busy": "Follow what is under way with: modelport status TARGET/NAME --wait.",
    "check-unanswered": "Is a worker for this target running? modelport targets ls tells how many there are.",
    "deployment-exists": "modelport deploy changes what exists.",
    "deployment-not-found": "See what there is with: modelport ls.",
    "deployment-not-serving": "Wait for it with: modelport status TARGET/NAME --wait.",
    "idempotency-key-reuse": "Give a new request a new key.",
    "model-timeout": "Send less at once, or ask who runs the server for a higher limit.",
    "model-unreachable": "Look at it with: modelport status TARGET/NAME; then try again.",
    "no-previous-revision": "See what there is with: modelport history TARGET/NAME.",
    "not-found": "Is --url or MODELPORT_URL right?",
    "not-retryable": "Only what failed or was cancelled can be tried again.",
    "operation-not-found": "See what there is with: modelport ops ls; old ones are removed after a time.",
    "precondition-required": "Give the generation that modelport show tells with --if-match.",
    "queue-full": "Wait until some have ended, or cancel them; modelport ops ls lists them.",
    "revision-not-found": "See what there is with: modelport history TARGET/NAME.",
    "stale-generation": "Look at it anew with: modelport show TARGET/NAME; then give its generation with --if-match.",
    "target-in-use": "Delete its deployments first; modelport ls --target lists them.",
    "target-not-served": "Start a worker that can serve this target.",
    "too-late": "If the change is not wanted: modelport rollback TARGET/NAME.",
    "unknown-target": "See what there is with: modelport targets ls.",
}


def code_for(error: ModelportError) -> Exit:
    """The exit code of an error."""
    match error:
        case OperationFailed():
            return Exit.FAILED
        case WaitTimeout():
            return Exit.TIMED_OUT
        case NotFound():
            return Exit.NOT_FOUND
        case Unreachable() | UnexpectedAnswer() | ServerError():
            return Exit.UNREACHABLE
        case _:
            return Exit.REFUSED


def paragraph(error: ModelportError, *, word: str = "Error: ", options: str = "") -> str:
    """What happened, to which thing, and what to do next, for a person. ``options`` go with the commands it names."""
    parts = [f"{word}{_sentence(str(error))}", *_remedies(error, options)]
    if isinstance(error, Problem) and error.request_id:
        parts.append(f"(request {error.request_id})")
    return " ".join(parts)


def goes_on(operation_id: str, options: str = "") -> str:
    """How to go on with an operation that is no longer waited for."""
    return (
        f"The operation goes on. Follow it with: modelport status {operation_id} --wait{options}. "
        f"Cancel it with: modelport ops cancel {operation_id}{options}"
    )


def _remedies(error: ModelportError, options: str) -> list[str]:
    match error:
        case WaitTimeout():
            return [goes_on(error.operation.id, options)]
        case OperationFailed():
            left = [f"{it.kind} {it.name} stayed behind on the target: {it.why}." for it in error.operation.leftovers]
            operation_id = error.operation.id
            return [
                *left,
                f"Its history: modelport ops watch {operation_id}{options}.",
                f"Try again with: modelport ops retry {operation_id}{options}",
            ]
        case Unreachable():
            return ["Is the server running, and is --url or MODELPORT_URL right?"]
        case UnexpectedAnswer():
            return ["Is --url or MODELPORT_URL right?"]
        case Problem() if error.slug in REMEDIES:
            return [REMEDIES[error.slug]]
        case Unauthorized():
            return ["Give a valid key with --api-key or MODELPORT_API_KEY."]
        case Throttled() if error.retry_after is not None:
            return [f"Try again in {error.retry_after:g} s."]
        case NotFound() if not error.slug:
            return ["Is --url or MODELPORT_URL right?"]
        case ServerError() if not error.remedy:
            return ["Nothing to correct on your side; try again, or ask who runs the server."]
        case Problem() if error.remedy and not error.errors:
            return [_sentence(error.remedy)]
        case _:
            return []


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?", ")")) else f"{text}."
