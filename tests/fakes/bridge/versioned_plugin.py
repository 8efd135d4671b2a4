"""A plugin that adds a version to the name and afterwards knows the deployment by that name alone."""

from __future__ import annotations

from mlflow.deployments import BaseDeploymentClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from shelf_plugin import note, obey, shelf


def run_local(name, model_uri, flavor=None, config=None):
    raise NotImplementedError


def target_help():
    return "Names get a version."


class VersionedClient(BaseDeploymentClient):
    def create_deployment(self, name, model_uri, flavor=None, config=None):
        note("create", name)
        self._path(f"{name}/1").write_text(model_uri)
        obey("create", model_uri)
        return {"name": f"{name}/1", "flavor": flavor}

    def update_deployment(self, name, model_uri=None, flavor=None, config=None):
        note("update", name)
        self._existing(name).write_text(model_uri)
        return {"flavor": flavor}

    def delete_deployment(self, name):
        note("delete", name)
        self._existing(name).unlink()

    def list_deployments(self):
        return [path.stem.replace("+", "/") for path in sorted(shelf().glob("*.versioned"))]

    def get_deployment(self, name):
        return {"name": name, "model": self._existing(name).read_text()}

    def predict(self, deployment_name=None, inputs=None, endpoint=None):
        return {"predictions": self._existing(deployment_name).read_text()}

    def _path(self, name):
        return shelf() / f"{name.replace('/', '+')}.versioned"

    def _existing(self, name):
        if not self._path(name).exists():
            raise MlflowException(f"no deployment of name {name}", RESOURCE_DOES_NOT_EXIST)
        return self._path(name)
