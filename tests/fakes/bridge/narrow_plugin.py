"""A plugin with narrow signatures that is not idempotent, raises bare exceptions, and cannot update.

Every create adds one more line to ``NAME.made``; whatever is absent raises ``Exception("no")``.
"""

from __future__ import annotations

from mlflow.deployments import BaseDeploymentClient
from shelf_plugin import note, obey, shelf


def run_local(target, name, model_uri, flavor=None, config=None):
    print(f"runs {name} of {model_uri} on {target}")


def target_help():
    return None


class NarrowClient(BaseDeploymentClient):
    def create_deployment(self, name, model_uri):
        note("create", name)
        obey("create", model_uri)
        with (shelf() / f"{name}.made").open("a") as made:
            made.write(f"{model_uri}\n")
        return {"name": name, "flavor": None}

    def update_deployment(self, name, model_uri=None):
        note("update", name)
        raise Exception("Updating deployments is not supported")

    def delete_deployment(self, name):
        note("delete", name)
        obey("delete")
        self._made(name)
        (shelf() / f"{name}.made").unlink()

    def list_deployments(self):
        obey("list")
        return [{"name": path.stem} for path in sorted(shelf().glob("*.made"))]

    def get_deployment(self, name):
        obey("get")
        return {"name": name, "made": self._made(name)}

    def predict(self, deployment_name=None, inputs=None):
        return self._made(deployment_name)[-1]

    def _made(self, name):
        path = shelf() / f"{name}.made"
        if not path.exists():
            raise Exception("no")
        return path.read_text().splitlines()
