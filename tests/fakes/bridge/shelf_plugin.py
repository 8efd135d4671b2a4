"""A well-behaved plugin: deployments are files on a shelf, and every call is a line in a file beside it.

``SHELF`` names the folder. A model URI with ``broken`` in it fails half-way; ``hang`` blocks until the shelf has a file
``go``, as a file ``hang-VERB`` does for such calls; ``die`` ends the process; a file ``fail-VERB`` has the next such
call raise what it says.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST


def shelf() -> Path:
    return Path(os.environ["SHELF"])


def note(verb: str, name: str) -> None:
    with (shelf() / "calls.log").open("a") as log:
        log.write(f"{verb} {name}\n")


def obey(verb: str, model_uri: str = "") -> None:
    """What a test asked for: wait, die, or raise."""
    if "hang" in model_uri or (shelf() / f"hang-{verb}").exists():
        while not (shelf() / "go").exists():
            time.sleep(0.01)
    if "die" in model_uri:
        os._exit(3)
    order = shelf() / f"fail-{verb}"
    if order.exists():
        words = order.read_text()
        order.unlink()
        raise ConnectionRefusedError(words) if words.startswith("refused") else RuntimeError(words)


def run_local(name, model_uri, flavor=None, config=None):
    print(f"runs {name} of {model_uri} here with {flavor} and {config}")


def target_help():
    return "The shelf takes the config keys size and colour; a target is shelf or shelf:/corner."


class ShelfClient(BaseDeploymentClient):
    def create_deployment(self, name, model_uri, flavor=None, config=None, endpoint=None):
        note("create", name)
        obey("create", model_uri)
        if self._path(name).exists():
            raise MlflowException(f"deployment {name} already exists", RESOURCE_ALREADY_EXISTS)
        self._write(name, model_uri, flavor, config, endpoint)
        if "broken" in model_uri:
            raise MlflowException(f"no weights in the cellar for {model_uri}")
        return {"name": name, "flavor": flavor}

    def update_deployment(self, name, model_uri=None, flavor=None, config=None, endpoint=None):
        note("update", name)
        obey("update", model_uri)
        if not self._path(name).exists():
            raise MlflowException(f"there is no deployment {name}", RESOURCE_DOES_NOT_EXIST)
        self._write(name, model_uri, flavor, config, endpoint)
        if "broken" in model_uri:
            raise MlflowException(f"no weights in the cellar for {model_uri}")
        return {"flavor": flavor}

    def delete_deployment(self, name, config=None, endpoint=None):
        note("delete", name)
        obey("delete")
        self._path(name).unlink(missing_ok=True)

    def list_deployments(self, endpoint=None):
        note("list", "-")
        obey("list")
        return [json.loads(path.read_text()) for path in sorted(shelf().glob("*.json"))]

    def get_deployment(self, name, endpoint=None):
        note("get", name)
        obey("get")
        try:
            return json.loads(self._path(name).read_text())
        except FileNotFoundError:
            raise MlflowException(f"there is no deployment {name}", RESOURCE_DOES_NOT_EXIST) from None

    def predict(self, deployment_name=None, inputs=None, endpoint=None):
        obey("predict")
        model_uri = self.get_deployment(deployment_name)["model_uri"]
        return PredictionsResponse({"predictions": [model_uri], "given": type(inputs).__name__})

    def _path(self, name):
        return shelf() / f"{name}.json"

    def _write(self, name, model_uri, flavor, config, endpoint):
        shown = {"name": name, "model_uri": model_uri, "flavor": flavor, "config": config, "endpoint": endpoint}
        arriving = shelf() / f".{name}.{os.getpid()}"
        arriving.write_text(json.dumps({**shown, "status": "ready"}))
        arriving.replace(self._path(name))
