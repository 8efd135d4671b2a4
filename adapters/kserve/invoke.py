"""Predictions through KServe. Route: ``{"name", "url", "protocol", "variants", "pins": {variant: address}}``.

Through the split: the ingress gateway with ``Host:`` from ``status.url``. Past it: in Knative mode the address that a
traffic target with a tag has, through the same gateway; in Standard mode the variant's own Service in the cluster.

A body whose ``inputs`` are tensors with a name, a shape, a datatype and data is one of the v2 protocol, for
``/v2/models/NAME/infer``. All others are MLflow's, for ``/invocations``, which MLServer's MLflow runtime has beside it
(``mlserver_mlflow.runtime``, ``custom_handler(rest_path="/invocations")``). With protocol v1 it is
``/v1/models/NAME:predict``.
"""

from __future__ import annotations

import json
from urllib.parse import quote, urlsplit

from adapters.contract import JSON, Answer, Place, Request, Unreachable
from adapters.kserve.describe import KServeSettings
from adapters.kubernetes.invoke import post, service_url

TENSOR = {"name", "shape", "datatype", "data"}


def invoke(place: Place, route: JSON, request: Request, timeout_seconds: float) -> Answer:
    """Send one prediction and return what the model's server said, whatever that is, within ``timeout_seconds``.

    Safe from many threads at once; never repeated. Raises ``Unreachable`` when no model answered, and ``Denied`` when
    the credentials for predictions cannot be read here.
    """
    settings = KServeSettings.model_validate(place.settings)
    address, variant = _address(route, request.variant), request.variant
    if address is None:
        raise Unreachable(f"InferenceService {route['name']} has no address yet")
    if variant is None and len(route["variants"]) == 1:
        variant = route["variants"][0]
    host = None
    if address.startswith("service:"):
        address = service_url(place, settings, "kserve", address.removeprefix("service:"))
    elif settings.gateway_url:
        host, address = urlsplit(address).netloc, settings.gateway_url.rstrip("/") + urlsplit(address).path
    url = address.rstrip("/") + _path(route, request.body)
    return post(place, settings, url, host, request, variant, timeout_seconds)


def _address(route: JSON, variant: str | None) -> str | None:
    if variant is None or route["variants"] == [variant]:
        return str(route["url"]) if route["url"] else None
    if variant not in route["variants"]:
        raise Unreachable(f"there is no variant {variant!r}; there are: {', '.join(route['variants'])}")
    if variant not in route["pins"]:
        raise Unreachable(f"variant {variant!r} has no address of its own")
    return str(route["pins"][variant])


def _path(route: JSON, body: bytes) -> str:
    name = quote(route["name"], safe="")
    if route["protocol"] == "v1":
        return f"/v1/models/{name}:predict"
    return f"/v2/models/{name}/infer" if _is_v2(body) else "/invocations"


def _is_v2(body: bytes) -> bool:
    if b'"datatype"' not in body:
        return False
    try:
        document = json.loads(body)
    except ValueError:
        return False
    inputs = document.get("inputs") if isinstance(document, dict) else None
    return isinstance(inputs, list) and all(isinstance(each, dict) and each.keys() >= TENSOR for each in inputs)
