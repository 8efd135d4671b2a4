"""Why a request is refused. The API renders each as an RFC 9457 problem; the tree mirrors its ``type``::

Refused
├── InvalidBody, BodyTooLarge, UnsupportedMediaType, MethodNotAllowed
├── Invalid                     one or more fields, each named with its remedy
│   ├── UnknownField, InvalidField, InvalidName, InvalidModelUri, InvalidTraffic
│   ├── InvalidConfig, SecretInConfig, InvalidSettings, InvalidPageToken, InvalidPredictionInput
│   └── NotSupportedByTarget, UnknownTargetKind
├── Unauthorized, Forbidden, TooManyRequests, TooSlow
├── KeyExists, KeyNotFound
├── NotFound, UnknownTarget, DeploymentNotFound, RevisionNotFound, OperationNotFound
├── DeploymentExists, Busy, QueueFull, TooLate, NotRetryable, NoPreviousRevision, NotServing, TargetInUse
├── BatchNotFound, BatchState, PlanStale, EmptyBatch
├── StaleGeneration, PreconditionRequired, IdempotencyKeyReuse
├── ModelUnreachable, ModelTimeout, CheckUnanswered, LogsUnavailable, TargetNotServed
└── NotReady, SignOnUnavailable, DatabaseUnavailable, Unexpected
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldError:
    """One field at fault, by its path in the body (``variants[0].config.size``), and what to do about it."""

    field: str
    message: str
    remedy: str


class Refused(Exception):
    """The request is refused; nothing was stored."""

    slug: ClassVar[str] = "refused"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "The request is refused"
    remedy: ClassVar[str] = "Read the detail and change the request."

    def __init__(self, detail: str, errors: Sequence[FieldError] = (), retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after

    @property
    def type(self) -> str:
        """The stable reference of this kind of problem; a GET on it explains it."""
        return f"/problems/{self.slug}"


class InvalidBody(Refused):
    """The body is not what the media type says."""

    slug, status, title = "invalid-body", 400, "The body cannot be read"
    remedy = "Send a JSON object with Content-Type: application/json."


class BodyTooLarge(Refused):
    """The body is larger than allowed."""

    slug, status, title = "body-too-large", 413, "The body is too large"
    remedy = "Send less, or ask the operator to raise MODELPORT_BODY_BYTES."


class UnsupportedMediaType(Refused):
    """The body's media type is not one that is read here."""

    slug, status, title = "unsupported-media-type", 415, "The media type is not supported"
    remedy = "Send application/json (predictions also text/csv)."


class MethodNotAllowed(Refused):
    """The path does not take this method."""

    slug, status, title = "method-not-allowed", 405, "The method is not allowed here"
    remedy = "Use one of the methods that the Allow header names."


class Invalid(Refused):
    """One or more fields are wrong."""

    slug, status, title = "invalid", 422, "The request is invalid"
    remedy = "Correct the fields that are named."

    @classmethod
    def one(cls, field: str, message: str, remedy: str) -> Invalid:
        """The problem of a single field."""
        return cls(f"{field}: {message}", [FieldError(field, message, remedy)])


class UnknownField(Invalid):
    """A field that is not known; nothing is ignored silently."""

    slug, title = "unknown-field", "A field is not known"
    remedy = "Remove the field or correct its spelling."


class InvalidField(Invalid):
    """A field has a value that it cannot have."""

    slug, title = "invalid-field", "A field is invalid"


class InvalidName(Invalid):
    """The deployment's or a variant's name is outside the allowed pattern."""

    slug, title = "invalid-name", "The name is not allowed"


class InvalidModelUri(Invalid):
    """The model URI cannot name a model."""

    slug, title = "invalid-model-uri", "The model URI is not valid"


class InvalidTraffic(Invalid):
    """The traffic does not add up, or names no variant."""

    slug, title = "invalid-traffic", "The traffic split is not valid"
    remedy = "Give each variant a whole percentage; together they are 100."


class InvalidConfig(Invalid):
    """The target does not know this config key, or not this value."""

    slug, title = "invalid-config", "The target's config is not valid"
    remedy = "Ask GET /v1/targets/{name}/help for the keys and their types."


class SecretInConfig(Invalid):
    """A value looks like a secret; what is sent here is recorded and shown, so secrets are passed by reference."""

    slug, title = "secret-in-config", "A secret stands where it would be shown"


class InvalidSettings(Invalid):
    """This kind of target does not know this setting, or not this value."""

    slug, title = "invalid-settings", "The target's settings are not valid"
    remedy = "Ask GET /v1/targets/{name}/help of a target of this kind for the settings and their types."


class UnknownTargetKind(Invalid):
    """The URI names no kind of target that is installed here."""

    slug, title = "unknown-target-kind", "There is no such kind of target"
    remedy = "Use one of the kinds that the detail lists, or install the package that brings it."


class InvalidPageToken(Invalid):
    """The page token was not given out for this list."""

    slug, title, status = "invalid-page-token", "The page token is not valid", 400
    remedy = "Use next_page_token as it was given, with the same filters, or leave it out to begin anew."


class InvalidPredictionInput(Invalid):
    """The body is in none of the shapes that MLflow models take."""

    slug, title = "invalid-prediction-input", "The prediction's input is not valid"
    remedy = (
        "Send exactly one of dataframe_split, dataframe_records, instances, inputs; or, to a model that talks, "
        "exactly one of messages, prompt, input."
    )


class NotSupportedByTarget(Invalid):
    """The target cannot do this."""

    slug, title = "not-supported-by-target", "The target cannot do this"
    remedy = "GET /v1/targets/{name} lists what the target can do."


class Unauthorized(Refused):
    """The request says not, or not truly, who sends it."""

    slug, status, title = "unauthorized", 401, "Who asks is not known"
    remedy = "Send Authorization: Bearer with an API key that is alive, or with a token of the sign-on service."


class Forbidden(Refused):
    """Who asks is known and may not do this."""

    slug, status, title = "forbidden", 403, "This is not allowed"
    remedy = "Ask an administrator for a role that covers it; GET /v1/me lists what you have."


class TooManyRequests(Refused):
    """More at once, or in a short time, than one principal may."""

    slug, status, title = "too-many-requests", 429, "Too much at once"
    remedy = "Wait as long as Retry-After says, then send the same request again."


class TooSlow(Refused):
    """The request's body did not come in time."""

    slug, status, title = "too-slow", 408, "The body did not come in time"
    remedy = "Send it again over a faster way, or ask the operator to raise MODELPORT_BODY_SECONDS."


class KeyExists(Refused):
    """A key of this name is there, or was."""

    slug, status, title = "key-exists", 409, "There is a key of this name"
    remedy = "Rotate it with POST /v1/keys/{name}/rotate, or choose another name."


class KeyNotFound(Refused):
    """No key of this name is alive."""

    slug, status, title = "key-not-found", 404, "There is no such key"
    remedy = "GET /v1/keys lists the keys."


class NotFound(Refused):
    """Nothing answers under this path."""

    slug, status, title = "not-found", 404, "There is nothing here"
    remedy = "GET /openapi.json lists the paths."


class UnknownTarget(Refused):
    """No target has this name."""

    slug, status, title = "unknown-target", 404, "There is no such target"
    remedy = "GET /v1/targets lists the targets; an administrator adds one with PUT /v1/targets/{name}."


class DeploymentNotFound(Refused):
    """No deployment has this name on this target."""

    slug, status, title = "deployment-not-found", 404, "There is no such deployment"
    remedy = "Create it with POST /v1/deployments, or PUT it."


class RevisionNotFound(Refused):
    """The deployment has no revision of this number."""

    slug, status, title = "revision-not-found", 404, "There is no such revision"
    remedy = "GET .../revisions lists them."


class OperationNotFound(Refused):
    """No operation has this id."""

    slug, status, title = "operation-not-found", 404, "There is no such operation"
    remedy = "GET /v1/operations lists them; old ones are removed after a time."


class BatchNotFound(Refused):
    """No batch has this id."""

    slug, status, title = "batch-not-found", 404, "There is no such batch"
    remedy = "GET /v1/batches lists them; old ones are removed after a time."


class BatchState(Refused):
    """The batch is not in a state in which this can be done."""

    slug, status, title = "batch-state", 409, "The batch is in another state"
    remedy = "Look at its state: GET /v1/batches/{id}."


class PlanStale(Refused):
    """What was planned is not what would be done now."""

    slug, status, title = "plan-stale", 409, "The world changed since the plan was made"
    remedy = "Make a new plan, look at it, and start that one."


class EmptyBatch(Refused):
    """The selection finds nothing."""

    slug, status, title = "empty-batch", 422, "There is nothing to do"
    remedy = "Widen the selection; GET /v1/deployments lists what there is."


class DeploymentExists(Refused):
    """A deployment of this name is there or on its way."""

    slug, status, title = "deployment-exists", 409, "The deployment exists"
    remedy = "Change it with PUT or PATCH, or choose another name."


class Busy(Refused):
    """An operation is under way and the request asked to be refused then."""

    slug, status, title = "busy", 409, "An operation is under way"
    remedy = "Wait for it, or send on_conflict=queue or on_conflict=supersede."


class QueueFull(Refused):
    """The deployment has as many unfinished operations as it may."""

    slug, status, title = "queue-full", 409, "Too many operations wait for this deployment"
    remedy = "Wait until some have ended, or cancel them."


class TooLate(Refused):
    """The operation has ended, or its change already serves."""

    slug, status, title = "too-late", 409, "It is too late to cancel"
    remedy = "Roll back with POST .../rollback if the change is not wanted."


class NotRetryable(Refused):
    """Only a failed or cancelled operation can be asked for again."""

    slug, status, title = "not-retryable", 409, "The operation cannot be retried"
    remedy = "Wait for its end; what succeeded needs no retry."


class NoPreviousRevision(Refused):
    """There is no revision before the one that serves."""

    slug, status, title = "no-previous-revision", 409, "There is nothing to go back to"
    remedy = "Name a revision, or PUT the specification that is wanted."


class NotServing(Refused):
    """The deployment is known but serves nothing yet."""

    slug, status, title = "deployment-not-serving", 409, "The deployment does not serve yet"
    remedy = "Wait for its operation: GET /v1/operations/{id} with Prefer: wait=60."


class TargetInUse(Refused):
    """The target has deployments."""

    slug, status, title = "target-in-use", 409, "The target is in use"
    remedy = "Delete its deployments first."


class StaleGeneration(Refused):
    """If-Match names a generation that is no longer the newest."""

    slug, status, title = "stale-generation", 412, "The deployment has changed meanwhile"
    remedy = "GET it again, look at the difference, and send its new ETag."


class PreconditionRequired(Refused):
    """The target demands If-Match."""

    slug, status, title = "precondition-required", 428, "If-Match is required here"
    remedy = "Send If-Match with the ETag that GET gave."


class IdempotencyKeyReuse(Refused):
    """The key was used for another body."""

    slug, status, title = "idempotency-key-reuse", 422, "The idempotency key was used for another request"
    remedy = "Use a new key for a new request, or send the first body again."


class ModelUnreachable(Refused):
    """The model's server did not answer."""

    slug, status, title = "model-unreachable", 502, "The model's server cannot be reached"
    remedy = "Look at the deployment's status and logs; try again."


class ModelTimeout(Refused):
    """The model's server took too long."""

    slug, status, title = "model-timeout", 504, "The model took too long"
    remedy = "Send a smaller batch, or ask the operator to raise MODELPORT_PREDICT_TIMEOUT_SECONDS."


class CheckUnanswered(Refused):
    """No worker answered in time."""

    slug, status, title = "check-unanswered", 504, "No worker answered"
    remedy = "See /readyz for live workers; ask again."


class LogsUnavailable(Refused):
    """A worker asked the target for the logs and was refused, or had no answer."""

    slug, status, title = "logs-unavailable", 502, "The target did not give the logs"
    remedy = "Read in the detail what the target said; POST /v1/targets/{name}/check tells whether it answers at all."


class TargetNotServed(Refused):
    """No live worker can serve this target."""

    slug, status, title = "target-not-served", 503, "No worker can serve this target"
    remedy = "Start a worker with the extra that the detail names."


class SignOnUnavailable(Refused):
    """The sign-on service's keys cannot be fetched, so no token of it can be judged."""

    slug, status, title = "sign-on-unavailable", 503, "The sign-on service cannot be reached"
    remedy = "Try again later; API keys go on working."


class NotReady(Refused):
    """A part that the service needs is missing; each is named."""

    slug, status, title = "not-ready", 503, "The service is not ready"
    remedy = "Start or reach the parts that are named, and ask again."


class DatabaseUnavailable(Refused):
    """The database did not answer."""

    slug, status, title = "database-unavailable", 503, "The database cannot be reached"
    remedy = "Send the same request again, with the same Idempotency-Key if it had one."


class Unexpected(Refused):
    """A defect of the service; the log has it under the instance of this problem."""

    slug, status, title = "internal-error", 500, "The service failed"
    remedy = "Send the same request again; if it fails again, report the instance to the operator."


def kinds() -> dict[str, type[Refused]]:
    """Every kind of problem by its slug."""
    found: dict[str, type[Refused]] = {}
    waiting: list[type[Refused]] = [Refused]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        found[kind.slug] = kind
    return found
