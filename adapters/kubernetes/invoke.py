"""Predictions through a Service of a cluster. Route: ``{"name": ..., "variants": [...]}``.

The API sends them itself and so has to reach the Service: inside the cluster by its name, from outside through whatever
the setting ``service_url`` says.
"""

from __future__ import annotations

from functools import cache

import httpx

from adapters import credentials
from adapters.contract import JSON, Answer, Place, Request, Unreachable
from adapters.http.connection import open_client, send
from adapters.kubernetes.namespaces import namespace_of
from adapters.kubernetes.settings import ClusterSettings

# What concerns one hop alone, or proves to us who the caller is: none of it is the model's.
NOT_PASSED_ON = frozenset(
    {"accept-encoding", "authorization", "connection", "content-length", "cookie", "host", "keep-alive",
     "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
)  # fmt: skip
# What a gateway or proxy says where it found no pod to ask
GATEWAYS_OWN = frozenset({502, 503, 504})


def invoke(place: Place, route: JSON, request: Request, timeout_seconds: float) -> Answer:
    """Send one prediction to ``/invocations`` of MLflow's scoring server, within ``timeout_seconds``.

    Safe from many threads at once; never repeated. Raises ``Unreachable`` when no model answered, and ``Denied`` when
    the credentials for predictions cannot be read here.
    """
    if request.variant not in (None, *route["variants"]):
        raise Unreachable(f"there is no variant {request.variant!r}; there are: {', '.join(route['variants'])}")
    settings = ClusterSettings.model_validate(
        {k: v for k, v in place.settings.items() if k in ClusterSettings.model_fields}
    )
    url = f"{service_url(place, settings, 'kubernetes', route['name']).rstrip('/')}/invocations"
    return post(place, settings, url, None, request, route["variants"][0], timeout_seconds)


def service_url(place: Place, settings: ClusterSettings, scheme: str, service: str) -> str:
    """Where the API reaches this Service of the target's namespace."""
    namespace = namespace_of(place, scheme)
    return settings.service_url.replace("{service}", service).replace("{namespace}", namespace)


def post(
    place: Place,
    settings: ClusterSettings,
    url: str,
    host: str | None,
    request: Request,
    variant: str | None,
    seconds: float,
) -> Answer:
    """The prediction at this address; ``host`` is what the gateway tells services by. Never repeated."""
    secret = credentials.resolve(settings.predict_credentials) if settings.predict_credentials else None
    headers = httpx.Headers({k: v for k, v in request.headers.items() if k.lower() not in NOT_PASSED_ON})
    headers.update({"Content-Type": request.content_type} | ({"Host": host} if host else {}))
    if secret is not None:
        reference = settings.predict_credentials or ""
        headers.update({"Authorization": f"Bearer {credentials.for_header(reference, secret)}"})
    try:
        response = send(_client(), "POST", url, seconds=seconds, headers=dict(headers), content=request.body)
    except httpx.TimeoutException as error:
        raise Unreachable(f"target {place.name} gave no answer within {seconds:g} s", timed_out=True) from error
    except httpx.HTTPError as error:
        reason = credentials.redact(str(error), secret) or type(error).__name__
        raise Unreachable(f"target {place.name} could not be reached: {reason}") from error
    if response.is_redirect:
        raise Unreachable(f"target {place.name} redirects predictions, which is not followed")
    content_type = response.headers.get("Content-Type", "application/octet-stream")
    if response.status_code in GATEWAYS_OWN or (response.status_code == 404 and "json" not in content_type):
        raise Unreachable(
            f"target {place.name} answered {response.status_code} for {url}: no model was asked",
            timed_out=response.status_code == httpx.codes.GATEWAY_TIMEOUT,
        )
    return Answer(response.status_code, response.content, content_type, variant)


@cache
def _client() -> httpx.Client:
    return open_client()
