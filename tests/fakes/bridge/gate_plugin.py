"""A plugin with endpoints only, whose calls return at once: an endpoint is ready when the shelf has ``NAME.open``."""

from __future__ import annotations

import json

from mlflow.deployments import BaseDeploymentClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST
from shelf_plugin import note, obey, shelf


def run_local(name, model_uri, flavor=None, config=None):
    pass


def target_help():
    pass


def _none(*_args, **_kwargs):
    raise NotImplementedError


class GateClient(BaseDeploymentClient):
    create_deployment = update_deployment = delete_deployment = list_deployments = get_deployment = _none

    def create_endpoint(self, name, config=None):
        note("create", name)
        obey("create")
        if self._path(name).exists():
            raise MlflowException(f"{name} already exists", RESOURCE_ALREADY_EXISTS)
        return self._write(name, config)

    def update_endpoint(self, endpoint, config=None):
        note("update", endpoint)
        obey("update")
        self.get_endpoint(endpoint)
        return self._write(endpoint, config)

    def delete_endpoint(self, endpoint):
        note("delete", endpoint)
        self.get_endpoint(endpoint)
        self._path(endpoint).unlink()

    def list_endpoints(self):
        return [self.get_endpoint(path.stem) for path in sorted(shelf().glob("*.gate"))]

    def get_endpoint(self, endpoint):
        if not self._path(endpoint).exists():
            raise MlflowException(f"no endpoint {endpoint}", RESOURCE_DOES_NOT_EXIST)
        config = json.loads(self._path(endpoint).read_text())
        state = "jammed" if "jammed" in json.dumps(config) else "closed"
        state = "open" if (shelf() / f"{endpoint}.open").exists() else state
        return {"name": endpoint, "config": config, "gate": {"state": state}}

    def predict(self, deployment_name=None, inputs=None, endpoint=None):
        return {"endpoint": endpoint, "config": self.get_endpoint(endpoint)["config"], "inputs": inputs}

    def _path(self, name):
        return shelf() / f"{name}.gate"

    def _write(self, name, config):
        self._path(name).write_text(json.dumps(config))
        return self.get_endpoint(name)
