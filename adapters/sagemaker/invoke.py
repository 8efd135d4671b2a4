"""Predictions through SageMaker's runtime: one signed request, without boto3, whose clients load whole service models.

Real-time, serverless and multi-model endpoints answer at once. An asynchronous endpoint takes the request and answers
202 with the S3 addresses that the prediction, or its failure, will be written to.
"""

from __future__ import annotations

import json
import threading
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx

from adapters.contract import JSON, Answer, Place, Request, Temporary, Unreachable
from adapters.http.connection import open_client, send
from adapters.sagemaker.account import Account

SERVICE = "sagemaker"  # the name that requests are signed for
RUNTIME = "runtime.sagemaker"
VARIANT_HEADER = "x-Amzn-Invoked-Production-Variant"
TARGET_HEADER = "X-Amzn-SageMaker-Target-Variant"
# What a caller may say to SageMaker itself: which of many models, a session, attributes
PASSED_ON = "x-amzn-sagemaker-"
INPUT_LOCATION = "x-amzn-sagemaker-inputlocation"
QUOTED_LENGTH = 500

_accounts: dict[str, Account] = {}
_lock = threading.Lock()


def invoke(place: Place, route: JSON, request: Request, timeout_seconds: float) -> Answer:
    """Send one prediction and return what the model said, whatever that is, within ``timeout_seconds``.

    Safe from many threads at once; never repeated. A model's error comes with the model's own status and words. Raises
    ``Unreachable`` when no model answered, and ``Denied`` when there are no credentials here.
    """
    asynchronous = bool(route.get("asynchronous"))
    if asynchronous and request.variant is not None:
        raise Unreachable(f"deployment {route['name']} is asynchronous, and SageMaker pins no variant of such a one")
    account = _account(place)
    what = "async-invocations" if asynchronous else "invocations"
    url = f"{account.address.host(RUNTIME)}/endpoints/{quote(route['name'], safe='')}/{what}"
    headers = _headers(request, asynchronous=asynchronous)
    body = b"" if INPUT_LOCATION in {name.lower() for name in headers} else request.body
    try:
        signed = _signed(account, url, headers, body)
    except Temporary as error:
        raise Unreachable(f"target {place.name}: {account.redact(error.message)}") from error
    try:
        response = send(_client(), "POST", url, seconds=timeout_seconds, headers=signed, content=body)
    except httpx.TimeoutException as error:
        message = f"target {place.name} gave no answer within {timeout_seconds:g} s"
        raise Unreachable(message, timed_out=True) from error
    except httpx.HTTPError as error:
        reason = account.redact(str(error)) or type(error).__name__
        raise Unreachable(f"target {place.name} could not be reached: {reason}") from error
    if response.is_success:
        return _queued(response) if asynchronous else _answer(response)
    return _refused(place, account, route, response)


def _account(place: Place) -> Account:
    """One for each target, which keeps a role that was taken until it expires."""
    key = json.dumps([place.name, place.uri, place.settings, place.credentials], sort_keys=True)
    with _lock:
        if key not in _accounts:
            _accounts[key] = Account(place)
        return _accounts[key]


def _headers(request: Request, *, asynchronous: bool) -> dict[str, str]:
    headers = {name: value for name, value in request.headers.items() if name.lower().startswith(PASSED_ON)}
    about = "X-Amzn-SageMaker-" if asynchronous else ""
    headers[f"{about}Content-Type"] = request.content_type
    accept = next((value for name, value in request.headers.items() if name.lower() == "accept"), None)
    if accept is not None:
        headers[f"{about}Accept"] = accept
    if request.variant is not None:
        headers[TARGET_HEADER] = request.variant
    return headers


def _signed(account: Account, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest("POST", url, headers=headers, data=body)
    SigV4Auth(account.signer(), SERVICE, account.address.region).add_auth(request)
    return dict(request.headers.items())


def _answer(response: httpx.Response) -> Answer:
    content_type = response.headers.get("Content-Type", "application/octet-stream")
    return Answer(response.status_code, response.content, content_type, response.headers.get(VARIANT_HEADER))


def _queued(response: httpx.Response) -> Answer:
    told = {
        "inference_id": _document(response).get("InferenceId"),
        "output_location": response.headers.get("X-Amzn-SageMaker-OutputLocation"),
        "failure_location": response.headers.get("X-Amzn-SageMaker-FailureLocation"),
    }
    return Answer(202, json.dumps(told).encode(), "application/json")


def _refused(place: Place, account: Account, route: JSON, response: httpx.Response) -> Answer:
    document = _document(response)
    kind = response.headers.get("x-amzn-ErrorType", str(document.get("__type", ""))).partition(":")[0]
    words = " ".join(str(document.get("Message") or document.get("message") or response.reason_phrase).split())
    status = document.get("OriginalStatusCode")
    if kind == "ModelError" and isinstance(status, int) and 400 <= status <= 599:
        said = str(document.get("OriginalMessage") or words)
        return Answer(status, said.encode(), _type_of(said))
    told = account.redact(words)[:QUOTED_LENGTH]
    raise Unreachable(
        f"target {place.name} answered {response.status_code} for deployment {route['name']}: {kind}: {told}",
        timed_out=response.status_code == httpx.codes.GATEWAY_TIMEOUT,
    )


def _type_of(said: str) -> str:
    try:
        json.loads(said)
    except ValueError:
        return "text/plain; charset=utf-8"
    return "application/json"


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        found = json.loads(response.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@cache
def _client() -> httpx.Client:
    return open_client()
