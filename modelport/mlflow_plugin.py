"""modelport as a deployment target of MLflow: ``mlflow.deployments`` through the queue, by the URI alone.

    from mlflow.deployments import get_deploy_client

    client = get_deploy_client("modelport://models.internal:8000/prod")
    client.create_deployment("iris", "models:/iris/3", config={"instance_count": 2})

Calls block until the operation has ended, as MLflow's users expect; it goes on whatever happens to the caller. An
endpoint of MLflow is a deployment here, and the deployments inside of it are its variants. ``docs/mlflow.md`` tells
what is the same and what is different. Works with MLflow 2.22 and 3.x.
"""

from __future__ import annotations

import subprocess
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.environment_variables import MLFLOW_DEPLOYMENT_PREDICT_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE, NOT_IMPLEMENTED, ErrorCode

from modelport.client import Client
from modelport.errors import ModelportError
from modelport.exits import paragraph
from modelport.mlflow_target import help as help_text
from modelport.mlflow_target import inputs as bodies
from modelport.mlflow_target import local
from modelport.mlflow_target.address import Address, address
from modelport.mlflow_target.changes import Changes
from modelport.mlflow_target.codes import code_of
from modelport.mlflow_target.config import Unfit
from modelport.mlflow_target.deployments import Deployments
from modelport.mlflow_target.endpoints import Announced, Endpoints
from modelport.types import Prediction

JSON = dict[str, Any]
Config = Mapping[str, Any] | None


class ModelportDeploymentClient(BaseDeploymentClient):
    """``mlflow.deployments`` on one target of a modelport server. For one or many threads.

    Raises MlflowException with the code that fits, the server's words and what to do about it; ``__cause__`` is the
    exception of ``modelport.errors``.
    """

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)  # type: ignore[no-untyped-call]
        self._options = ""
        with self._translated():
            found = address(target_uri)
            client = _client(found)
        self._options = client.connection.options
        changes = Changes(client, found, self._options)
        announced: Announced = {}
        self._deployments = Deployments(changes, announced)
        self._endpoints = Endpoints(changes, announced)
        weakref.finalize(self, client.close)

    def create_deployment(
        self, name: str, model_uri: str, flavor: str | None = None, config: Config = None, endpoint: str | None = None
    ) -> JSON:
        """Deploy and wait until it serves, or say with ``wait=false`` which operation does. RESOURCE_ALREADY_EXISTS."""
        with self._translated():
            return self._deployments.create(name, model_uri, flavor, config, endpoint)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Config = None,
        endpoint: str | None = None,
    ) -> JSON:
        """Change the model, the config's keys that are given, or both, and wait until that serves.

        What served before a failure serves on. MLflow documents None and its command line needs ``flavor``: this
        gives what ``get_deployment`` gives.
        """
        with self._translated():
            return self._deployments.update(name, model_uri, flavor, config, endpoint)

    def delete_deployment(self, name: str, config: Config = None, endpoint: str | None = None) -> JSON | None:
        """Delete and wait until it is gone; what is not there counts as deleted. None, unless not waited for."""
        with self._translated():
            return self._deployments.delete(name, config, endpoint)

    def list_deployments(self, endpoint: str | None = None) -> list[JSON]:
        """All deployments of the target, or all inside of an endpoint, each as ``get_deployment`` gives it."""
        with self._translated():
            return self._deployments.all(endpoint)

    def get_deployment(self, name: str, endpoint: str | None = None) -> JSON:
        """``name``, ``status``, ``model_uri``, ``flavor``, ``config``, ``traffic``... RESOURCE_DOES_NOT_EXIST."""
        with self._translated():
            return self._deployments.get(name, endpoint)

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """One prediction, through an endpoint's traffic or pinned to one of its deployments, and never sent twice.

        ``inputs``: a DataFrame, an array, a list or a dict, as it is if in one of MLflow's shapes; text and bytes as
        they are. Waits for ``MLFLOW_DEPLOYMENT_PREDICT_TIMEOUT`` seconds.
        """
        with self._translated():
            timeout = MLFLOW_DEPLOYMENT_PREDICT_TIMEOUT.get()  # type: ignore[no-untyped-call]
            return _predictions(self._deployments.predict(deployment_name, _body(inputs), endpoint, timeout))

    def predict_stream(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> Iterator[Any]:
        """As ``predict``, for models that answer piece by piece: the JSON of each piece as it comes.

        As MLflow has it, the model is asked to, with ``"stream": true`` beside the inputs.
        """
        with self._translated():
            body = _body(inputs)
            asked = {**body, "stream": True} if isinstance(body, dict) else body
            yield from self._deployments.predict_stream(deployment_name, asked, endpoint)

    def explain(self, deployment_name: str | None = None, df: Any = None, endpoint: str | None = None) -> Any:  # noqa: ARG002
        """No server explains predictions: raises NOT_IMPLEMENTED."""
        raise MlflowException(
            f"{endpoint or deployment_name}: explaining predictions is not supported; "
            "deploy a model whose predictions carry their explanation",
            NOT_IMPLEMENTED,
        )

    def create_endpoint(self, name: str, config: Config = None) -> JSON:
        """An endpoint with the ``variants``, or the ``model_uri``, of the config.

        Without either it is remembered by this client alone, until its first deployment makes it.
        """
        with self._translated():
            return self._endpoints.create(name, config)

    def update_endpoint(self, endpoint: str, config: Config = None) -> JSON:
        """Change ``traffic``, ``labels`` or all ``variants``, and wait until that serves."""
        with self._translated():
            return self._endpoints.update(endpoint, config)

    def delete_endpoint(self, endpoint: str) -> JSON | None:
        """Delete it with all deployments inside of it; what is not there counts as deleted."""
        with self._translated():
            return self._endpoints.delete(endpoint)

    def list_endpoints(self) -> list[JSON]:
        """All endpoints of the target, each as ``get_endpoint`` gives it."""
        with self._translated():
            return self._endpoints.all()

    def get_endpoint(self, endpoint: str) -> JSON:
        """``name``, ``deployments``, ``traffic``, ``status``, ``labels`` and more. RESOURCE_DOES_NOT_EXIST."""
        with self._translated():
            return self._endpoints.get(endpoint)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Unfit as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error
        except ModelportError as error:
            code = ErrorCode.Value(code_of(error))
            raise MlflowException(paragraph(error, word="", options=self._options), code) from error


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Config = None) -> None:
    """Serve the model with MLflow's own scoring server until Ctrl-C. Config: host, port, workers, env_manager..."""
    try:
        local.serve(name, model_uri, flavor, config)
    except Unfit as error:
        raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error
    except subprocess.CalledProcessError as error:
        raise MlflowException(f"{name}: the scoring server ended with exit code {error.returncode}") from error


def target_help() -> str:
    """What a target URI looks like, and the config keys that are modelport's own."""
    return help_text.TEXT


def _client(found: Address) -> Client:
    try:
        return Client(found.url, profile=found.profile)
    except ValueError as error:
        raise Unfit(str(error)) from error


def _body(inputs: Any) -> bytes | JSON:
    if isinstance(inputs, bytes):
        return inputs
    if isinstance(inputs, str):
        return inputs.encode()
    return bodies.document(inputs)


def _predictions(answer: Prediction) -> PredictionsResponse:
    try:
        found = answer.json()
    except ValueError:
        raise MlflowException(f"the model's answer is no JSON: {answer.text[:200]!r}", BAD_REQUEST) from None
    return PredictionsResponse(found if isinstance(found, dict) else {"predictions": found})


__all__ = ["ModelportDeploymentClient", "run_local", "target_help"]
