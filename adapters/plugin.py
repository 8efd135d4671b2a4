"""The base of the MLflow faces: ``mlflow.deployments`` with its blocking methods, straight on an adapter's verbs.

For scripts and notebooks that run without the service. Nothing is recorded outside the target: what is there is what
the target shows, under an installation of its own, so that it never touches what the service manages. Who needs an
operation to survive a crash, or two callers at once, asks the service.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)
from mlflow.utils.proto_json_utils import dump_input_data
from pydantic import ValidationError

from adapters import registry
from adapters.blocking import bring_about
from adapters.contract import (
    JSON,
    AdapterError,
    Answer,
    Change,
    Observed,
    Place,
    Progress,
    Request,
    Spec,
    Unreachable,
    Variant,
)
from adapters.description import Description

INSTALLATION = "mlflow"
VARIANT = "main"
PREDICT_TIMEOUT_SECONDS = 60.0
SHAPES = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})
# of models that talk, with whatever else their interfaces know
TALKS = frozenset({"messages", "prompt", "input"})
EVENTS = "text/event-stream"


class AdapterDeploymentClient(BaseDeploymentClient):
    """A deployment here has one variant at 100 %. Every method blocks until the target has settled."""

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)  # type: ignore[no-untyped-call]
        self._description: Description = registry.describe(target_uri)
        self._place = Place(
            name=f"{INSTALLATION}-{self._description.scheme}",
            uri=target_uri,
            installation=INSTALLATION,
            folder=os.environ.get("MODELPORT_FOLDER", ".modelport"),
            settings=self.target_settings(),
        )
        self._adapter = registry.open_adapter(self._place)

    def target_settings(self) -> JSON:
        """Settings of the target, which has no registration here to keep them."""
        return {}

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> JSON:
        """Deploy and wait until it serves. A failure is taken back before it is raised.

        Raises MlflowException: RESOURCE_ALREADY_EXISTS, or with the target's own words.
        """
        self._refuse_endpoint(endpoint)
        if self._find(name) is not None:
            raise MlflowException(f"deployment {name!r} exists already", RESOURCE_ALREADY_EXISTS)
        self._apply(name, None, self._spec(model_uri, flavor, config or {}))
        return {"name": name, "flavor": flavor, **self.get_deployment(name)}

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> JSON:
        """Replace the model, the config's keys that are given, or both, and wait until the target serves that.

        Without ``model_uri`` the model stays; ``flavor`` needs ``model_uri``. What served before a failure serves on.
        """
        self._refuse_endpoint(endpoint)
        there = self._found(name)
        if flavor is not None and model_uri is None:
            raise MlflowException("a new flavor needs model_uri", INVALID_PARAMETER_VALUE)
        if there.spec is None or len(there.spec.variants) != 1:
            raise MlflowException(
                f"deployment {name!r} has not exactly one variant; deploy it anew", INVALID_PARAMETER_VALUE
            )
        before = there.spec.variants[0]
        desired = self._spec(
            model_uri or before.model_uri,
            flavor if model_uri else before.flavor,
            {**before.config, **(config or {})},
        )
        self._apply(name, there, desired)
        return {"name": name, "flavor": flavor, **self.get_deployment(name)}

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Delete and wait until it is gone. One that is not there counts as deleted."""
        self._refuse_endpoint(endpoint)
        if config:
            raise MlflowException(
                f"deleting takes no config, got {', '.join(map(str, config))}", INVALID_PARAMETER_VALUE
            )
        there = self._find(name)
        if there is not None:
            self._apply(name, there, None)

    def list_deployments(self, endpoint: str | None = None) -> list[JSON]:
        """What this client deployed to the target, by name, each in the form of ``get_deployment``."""
        self._refuse_endpoint(endpoint)
        return [_document(observed) for observed in self._ours()]

    def get_deployment(self, name: str, endpoint: str | None = None) -> JSON:
        """``name``, ``status``, ``variants`` and ``traffic`` as the target shows them. RESOURCE_DOES_NOT_EXIST."""
        self._refuse_endpoint(endpoint)
        return _document(self._found(name))

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """One prediction, whole. ``inputs``: a DataFrame, an array, a list, or a dict, which goes as it is if it is in
        one of MLflow's shapes or for a model that talks. What has no ``predictions`` is given as the model gave it.
        """
        self._refuse_endpoint(endpoint)
        if deployment_name is None:
            raise MlflowException("deployment_name is needed", INVALID_PARAMETER_VALUE)
        route = self._found(deployment_name).route
        if route is None:
            raise MlflowException(f"deployment {deployment_name!r} serves nothing yet", TEMPORARILY_UNAVAILABLE)
        request = Request(_body(inputs).encode(), "application/json")
        try:
            answer = registry.invoker(self.target_uri)(self._place, route, request, PREDICT_TIMEOUT_SECONDS)
            return _predictions(answer.status, answer.content_type, _whole(answer))
        except Unreachable as error:
            raise MlflowException(str(error), TEMPORARILY_UNAVAILABLE) from error

    def _apply(self, name: str, there: Observed | None, desired: Spec | None) -> Progress:
        with _translated():
            change = Change(
                installation=INSTALLATION,
                uid=(there.uid if there else None) or str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.target_uri}#{name}")),
                name=name,
                current=there.spec if there else None,
                desired=self._adapter.resolve(desired) if desired else None,
                placed=there.detail.get("placed", {}) if there else {},
            )
            return bring_about(self._adapter, change, self._description.deadline_seconds)

    def _spec(self, model_uri: str, flavor: str | None, config: Mapping[str, Any]) -> Spec:
        try:
            checked = self._description.config_model.model_validate(self._parsed(config))
        except ValidationError as error:
            told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise MlflowException(f"config: {told}", INVALID_PARAMETER_VALUE) from error
        variant = Variant(VARIANT, model_uri, flavor, checked.model_dump(mode="json", exclude_unset=True))
        return Spec((variant,), {VARIANT: 100})

    def _parsed(self, config: Mapping[str, Any]) -> JSON:
        """MLflow's command line hands over every value as text: JSON where the key does not take text."""
        fields = self._description.config_model.model_fields
        return {
            key: _json_or_text(value)
            if isinstance(value, str) and key in fields and fields[key].annotation is not str
            else value
            for key, value in config.items()
        }

    def _ours(self) -> list[Observed]:
        with _translated():
            found = [observed for observed in self._adapter.observe_all() if observed.uid is not None]
        return sorted(found, key=lambda observed: observed.name)

    def _find(self, name: str) -> Observed | None:
        return next((observed for observed in self._ours() if observed.name == name), None)

    def _found(self, name: str) -> Observed:
        there = self._find(name)
        if there is None:
            raise MlflowException(f"there is no deployment {name!r} on {self.target_uri}", RESOURCE_DOES_NOT_EXIST)
        return there

    def _refuse_endpoint(self, endpoint: str | None) -> None:
        if endpoint is not None:
            raise MlflowException(
                f"{self.target_uri} has deployments only: leave endpoint out", error_code=INVALID_PARAMETER_VALUE
            )


def _document(observed: Observed) -> JSON:
    spec = observed.spec.to_json() if observed.spec else {"variants": [], "traffic": {}}
    return {"name": observed.name, "status": observed.status, **spec}


def _body(inputs: Any) -> str:
    if isinstance(inputs, dict):
        return json.dumps(inputs if (SHAPES | TALKS) & inputs.keys() else {"inputs": inputs})
    return str(dump_input_data(inputs))


def _whole(answer: Answer) -> bytes:
    """The body, once all of it is there. Raises Unreachable where a stream breaks."""
    if answer.chunks is None:
        return answer.body
    chunks = answer.chunks
    try:
        body = bytearray()
        while (chunk := next(chunks, None)) is not None:
            body += chunk
        return bytes(body)
    finally:
        chunks.close()


def _predictions(status: int, content_type: str, body: bytes) -> PredictionsResponse:
    text = body.decode(errors="replace")
    if status >= 400:
        raise MlflowException(f"the model answered {status}: {text}")
    if content_type.startswith(EVENTS):
        raise MlflowException(
            "the model answered with a stream of events; leave stream out of the inputs, or use predict_stream where "
            "the target's client has it",
            INVALID_PARAMETER_VALUE,
        )
    try:
        found = json.loads(text)
    except ValueError:
        raise MlflowException(f"the model's answer is no JSON: {text[:500]}") from None
    return PredictionsResponse(found if isinstance(found, dict) else {"predictions": found})


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except AdapterError as error:
        raise MlflowException(error.message) from error
