"""``mlflow.deployments`` for Databricks Model Serving: MLflow's own client there has endpoints only, and never waits.

``import adapters.databricks.plugin`` imports MLflow; the service never does. Signs in by databricks-sdk's own chain:
``DATABRICKS_HOST`` and ``DATABRICKS_TOKEN``, a profile as in ``databricks://PROFILE``, and all others that it knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from adapters import plugin
from adapters.contract import AdapterError, Observed, Request, Unreachable
from adapters.databricks.adapter import open_adapter
from adapters.databricks.describe import DESCRIPTION
from adapters.databricks.invoke import invoke


class DatabricksDeploymentClient(plugin.AdapterDeploymentClient):
    """A deployment is a serving endpoint with one served entity; ``config`` has its keys and those of the endpoint."""

    def predict_stream(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> Iterator[Any]:
        """The events of one prediction as they come, parsed. ``inputs``: the body, ``stream`` is added to it."""
        self._refuse_endpoint(endpoint)
        if deployment_name is None or not isinstance(inputs, Mapping):
            raise MlflowException("deployment_name and a body as dict are needed", INVALID_PARAMETER_VALUE)
        route = self._found(deployment_name).route or {"name": deployment_name, "entities": {}}
        request = Request(json.dumps({**inputs, "stream": True}).encode(), "application/json")
        try:
            answer = invoke(self._place, route, request, plugin.PREDICT_TIMEOUT_SECONDS)
            chunks = answer.chunks
            if chunks is None:
                raise MlflowException(f"the model answered {answer.status} and no stream: {answer.body.decode()[:500]}")
            try:
                yield from _events(iter(lambda: next(chunks, b""), b""))
            finally:
                chunks.close()
        except Unreachable as error:
            raise MlflowException(str(error), TEMPORARILY_UNAVAILABLE) from error

    def _ours(self) -> list[Observed]:
        """With the specification that each endpoint shows, which the list does not tell."""
        found = [self._find(observed.name) for observed in super()._ours()]
        return [observed for observed in found if observed is not None]

    def _find(self, name: str) -> Observed | None:
        adapter = open_adapter(self._place)
        try:
            found = adapter.observe(name)
        except AdapterError as error:
            raise MlflowException(error.message) from error
        finally:
            adapter.close()
        return found if found is not None and found.uid is not None else None


def run_local(
    name: str,
    model_uri: str,
    flavor: str | None = None,
    config: Mapping[str, Any] | None = None,  # noqa: ARG001  # sizes and secrets of a workspace
) -> None:
    """Serve the model on this machine, as the ``local`` target does; Databricks' own config has no meaning there."""
    from adapters.local.plugin import run_local as on_this_machine

    on_this_machine(name, model_uri, flavor, {})


def target_help() -> str:
    """Every config key and setting, from the models that check them."""
    return DESCRIPTION.help()


def _events(chunks: Iterator[bytes]) -> Iterator[Any]:
    """Server-sent events, as MLflow's own client reads them: one JSON document each, until ``[DONE]``."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            field, _, value = line.decode().strip().partition(":")
            if field == "data" and value.strip() == "[DONE]":
                return
            if field == "data":
                yield json.loads(value)
