"""What an exception of a plugin means. Plugins raise what they like: codes, HTTP statuses and words are all asked.

``denied``       the credentials do not allow it; nothing was changed
``exists``       something of that name is there already
``absent``       nothing of that name is there
``unsupported``  the plugin cannot do this at all; nothing was changed
``temporary``    refused for now: throttled, unavailable, not connected; nothing was changed
``unknown``      no answer: what was asked for may have happened, or may happen yet
``permanent``    anything else; how far it got is for a look to say
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

CODES = {
    "PERMISSION_DENIED": "denied",
    "UNAUTHENTICATED": "denied",
    "CUSTOMER_UNAUTHORIZED": "denied",
    "RESOURCE_ALREADY_EXISTS": "exists",
    "ALREADY_EXISTS": "exists",
    "RESOURCE_DOES_NOT_EXIST": "absent",
    "NOT_FOUND": "absent",
    "NOT_IMPLEMENTED": "unsupported",
    "TEMPORARILY_UNAVAILABLE": "temporary",
    "REQUEST_LIMIT_EXCEEDED": "temporary",
    "RESOURCE_EXHAUSTED": "temporary",
    "RESOURCE_CONFLICT": "temporary",
    "ABORTED": "temporary",
    "DEADLINE_EXCEEDED": "unknown",
}
STATUSES = {401: "denied", 403: "denied", 404: "absent", 409: "temporary", 429: "temporary", 503: "temporary"}
WORDS = (
    (re.compile(r"already[ _]exist", re.IGNORECASE), "exists"),
    (re.compile(r"not[ _]found|does[ _]not[ _]exist|could not find|no such (deployment|endpoint)", re.I), "absent"),
    (re.compile(r"unsupported|unimplemented|(not|n't)( yet)? (been )?(supported|implemented)", re.I), "unsupported"),
)

# by name, so that no HTTP library need be imported to know its exceptions
NOT_CONNECTED = {"ConnectionRefusedError", "ConnectTimeout", "ConnectError", "EndpointConnectionError", "gaierror"}
NO_ANSWER = {"ConnectionError", "Timeout", "TimeoutError", "TransportError", "HTTPClientError", "IncompleteRead"}


def failure(error: BaseException) -> dict[str, str]:
    """``kind`` and ``message`` of an exception that a plugin raised."""
    return {"kind": kind_of(error), "message": message_of(error)}


def message_of(error: BaseException) -> str:
    """The exception's words; its name where it has none, or where the words alone say too little."""
    words = str(error).strip()
    name = type(error).__name__
    return words if len(words.split()) > 1 else f"{name}: {words}" if words else name


def kind_of(error: BaseException) -> str:
    """One of the kinds above."""
    if isinstance(error, NotImplementedError):
        return "unsupported"
    words = str(error)
    by_words = next((kind for pattern, kind in WORDS if pattern.search(words)), None)
    for each in _chain(error):
        known = CODES.get(str(getattr(each, "error_code", "")))
        status = status_of(each)
        if known is None and status is not None:
            known = STATUSES.get(status) or ("unknown" if status >= 500 else None)
            if by_words == "exists" and known in ("temporary", None):
                known = "exists"
        if known is not None:
            return known
    if by_words is not None:
        return by_words
    names = {base.__name__ for each in _chain(error) for base in type(each).__mro__}
    if names & NOT_CONNECTED:
        return "temporary"
    return "unknown" if names & NO_ANSWER else "permanent"


def status_of(error: BaseException) -> int | None:
    """The HTTP status that requests, httpx or botocore kept beside their exception."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        response = getattr(response, "status_code", None)
    return response if isinstance(response, int) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those that it was raised from, or while handling which it was raised."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
