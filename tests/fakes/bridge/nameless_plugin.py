"""A plugin that returns odd shapes: None from create, documents without a name, a dict around one page of a list."""

from __future__ import annotations

import datetime

from mlflow.deployments import BaseDeploymentClient
from shelf_plugin import note, obey, shelf

PAGE = 2


def run_local(name, model_uri, flavor=None, config=None):
    raise NotImplementedError


def target_help():
    raise RuntimeError("no help today")


class NamelessClient(BaseDeploymentClient):
    def create_deployment(self, name, model_uri, flavor=None, config=None, **more):
        note("create", name)
        obey("create", model_uri)
        self._path(name).write_text(model_uri)

    update_deployment = create_deployment

    def delete_deployment(self, name, **more):
        note("delete", name)
        self._path(name).unlink()

    def list_deployments(self, **more):
        listed = sorted(shelf().glob("*.nameless"))[:PAGE]
        return {"Endpoints": [self._shown(path) for path in listed], "NextToken": "more"}

    def get_deployment(self, name, **more):
        if not self._path(name).exists():
            raise ValueError(f"could not find {name}")
        return {key: value for key, value in self._shown(self._path(name)).items() if key != "EndpointName"}

    def predict(self, deployment_name=None, inputs=None, endpoint=None):
        return [self._path(deployment_name).read_text(), float("nan")]

    def _path(self, name):
        return shelf() / f"{name}.nameless"

    def _shown(self, path):
        at = datetime.datetime.fromtimestamp(path.stat().st_mtime, tz=datetime.UTC)
        return {"EndpointName": path.stem, "EndpointStatus": "InService", "CreationTime": at, "ApiToken": "hush"}
