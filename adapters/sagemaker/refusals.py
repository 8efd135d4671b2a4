"""What AWS says when it refuses, in the terms of the contract and a few that only this adapter knows.

::

    Temporary
    ├── Lost         whether it was done is not known: the answer was lost
    ├── Busy         the endpoint is under another change
    └── PartMissing  what was just created is not to be seen yet, or was removed
    Permanent
    ├── Exists       it is there already
    └── Absent       it is not there
"""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from adapters.contract import AdapterError, Denied, Permanent, Temporary

QUOTA_SECONDS = 600.0
QUOTED_LENGTH = 500
THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
    }
)
DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "NotAuthorized",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "OptInRequired",
        "403",
    }
)
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})


class Lost(Temporary):
    """No answer came; it may have been done."""


class Busy(Temporary):
    """The endpoint is under another change."""


class PartMissing(Temporary):
    """The model or the configuration that the call names is not to be seen."""


class Exists(Permanent):
    """It is there already."""


class Absent(Permanent):
    """It is not there."""


def translated(error: Exception, action: str) -> AdapterError:
    """The error of the contract for one that botocore raised; its text names the call and quotes AWS."""
    if isinstance(error, ClientError):
        return _refused(error, action)
    told = _quoted(f"{action}: {error}")
    if isinstance(error, (NoCredentialsError, PartialCredentialsError, ProfileNotFound, CredentialRetrievalError)):
        return Denied(told)
    if isinstance(error, ParamValidationError):
        return Permanent(told)
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        return Temporary(told)
    if isinstance(error, (HTTPClientError, BotoCoreError)):
        return Lost(told)
    raise error


def _refused(error: ClientError, action: str) -> AdapterError:
    about = error.response.get("Error", {})
    code, words = str(about.get("Code", "")), str(about.get("Message", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    told = _quoted(f"{action}: {code}: {words}")
    if code in THROTTLED or status == 429:
        return Temporary(told)
    if code == "ResourceLimitExceeded":
        return Temporary(told, retry_in=QUOTA_SECONDS)
    if code in EXPIRED:
        return Temporary(told)
    if code in DENIED or status == 403:
        return Denied(told)
    if code in ("404", "NoSuchKey", "NoSuchBucket", "ResourceNotFound", "ResourceNotFoundException"):
        return Absent(told)
    if status >= 500:
        return Lost(told)
    return _told_by_words(action, words, told)


def _told_by_words(action: str, words: str, told: str) -> AdapterError:
    """Most refusals share one code, ValidationException, and differ in their message alone."""
    if words.startswith("Cannot create already existing"):
        return Exists(told)
    if "in-progress" in words:
        return Busy(told)
    if words.startswith("Could not find model data"):
        return Permanent(told)
    if words.startswith("Could not find"):
        part = words.startswith(("Could not find model", "Could not find endpoint configuration"))
        return PartMissing(told) if part and action.startswith(("Create", "Update")) else Absent(told)
    return Permanent(told)


def _quoted(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= QUOTED_LENGTH else f"{text[:QUOTED_LENGTH]}…"
