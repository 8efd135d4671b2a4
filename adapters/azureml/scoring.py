"""What signs predictions in, and one request to an endpoint; shared by predictions and by the check of a deployment.

An endpoint takes one of its two keys (``listKeys``), a token of Azure ML's own (``token``), or a token of the directory
for ``https://ml.azure.com``, as its ``authMode`` says; all as ``Authorization: Bearer``. Keys and tokens are kept in
this process for a while, and asked for again after a 401, so that keys can be regenerated.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import httpx

from adapters.azureml.arm import Workspace
from adapters.azureml.connection import Access, access, settings_of
from adapters.contract import JSON, Place
from adapters.http.connection import Deadline, open_client

DEPLOYMENT_HEADER = "azureml-model-deployment"
# a model's own status, where Azure answers 424 for it
MODEL_STATUS_HEADER = "ms-azureml-model-error-statuscode"
KEY_SECONDS = 300.0
MOST_KEPT = 4096

_kept: dict[tuple[str, str, str, str], tuple[str, float]] = {}
_keeping = threading.Lock()


def signed_in(place: Place, route: JSON, seconds: float) -> Access:
    """What one prediction of this endpoint signs in with. Raises Denied, Permanent, Temporary."""
    if route["auth"] == "aad_token":
        return access(place, settings_of(place).scoring_scope, seconds)
    where = (place.name, place.uri, route["name"], route["auth"])
    with _keeping:
        secret, until = _kept.get(where, ("", 0.0))
    if not secret or until <= time.monotonic():
        secret, lasts = _asked(place, route)
        with _keeping:
            while len(_kept) >= MOST_KEPT:
                _kept.pop(next(iter(_kept)))
            _kept[where] = (secret, time.monotonic() + lasts)
    return Access(secret, (secret,))


def forget(place: Place, route: JSON) -> bool:
    """Ask for the key anew next time; whether there was one that can be asked for anew."""
    with _keeping:
        return _kept.pop((place.name, place.uri, route["name"], route["auth"]), None) is not None


@contextmanager
def scoring(
    route: JSON, way: Access, body: bytes, headers: Mapping[str, str], deployment: str | None, deadline: Deadline
) -> Iterator[httpx.Response]:
    """One request to the endpoint, pinned where a deployment is given. Never repeated. Raises httpx.HTTPError."""
    sent = {**headers, "accept-encoding": "identity", **way.headers}
    if deployment is not None:
        sent[DEPLOYMENT_HEADER] = deployment
    call = client().stream("POST", route["scoring_uri"], content=body, headers=sent, extensions={"timeout": deadline})
    with call as response:
        yield response


def whole(response: httpx.Response, deadline: Deadline) -> bytes:
    """The body, once all of it is there. Raises httpx.ReadTimeout where it is not there in time."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if deadline.passed:
            raise httpx.ReadTimeout("no whole answer in time", request=response.request)
    return bytes(body)


def model_status(response: httpx.Response) -> int:
    """The status that the model itself gave: Azure answers 424 for whatever is not 200."""
    told = response.headers.get(MODEL_STATUS_HEADER, "")
    return int(told) if response.status_code == 424 and told.isdecimal() else response.status_code


@cache
def client() -> httpx.Client:
    """The connections of all predictions of this process."""
    return open_client()


def _asked(place: Place, route: JSON) -> tuple[str, float]:
    workspace = Workspace(place, client())
    if route["auth"] == "key":
        return str(workspace.keys(route["name"]).get("primaryKey") or ""), KEY_SECONDS
    told = workspace.token(route["name"])
    fresh = (told.get("refreshAfterTimeUtc") or told.get("expiryTimeUtc") or 0) - time.time()
    return str(told.get("accessToken") or ""), max(fresh, 0.0)
