"""MLflow's verbs for endpoints, which are deployments here.

MLflow's endpoints can be empty and ours cannot: an empty one is announced, and remembered by this client alone until
its first deployment makes it.
"""

from __future__ import annotations

from modelport.mlflow_target import shapes
from modelport.mlflow_target.changes import JSON, Changes, Config
from modelport.mlflow_target.codes import Exists
from modelport.mlflow_target.config import CHANGE, ENDPOINT, Given, Unfit, nothing_else
from modelport.mlflow_target.variants import Next, documents

Announced = dict[str, Given]

ALONE = "main"


class Endpoints:
    """Raises ModelportError and Unfit. Blocks until operations have ended unless config or URI say ``wait=false``."""

    def __init__(self, changes: Changes, announced: Announced) -> None:
        self._changes = changes
        self._client = changes.client
        self._target = changes.target
        self._announced = announced

    def create(self, name: str, config: Config) -> JSON:
        """Deploy the ``variants`` or the ``model_uri`` of the config; without either, announce it. Raises Exists."""
        given = self._changes.read(config, ENDPOINT)
        if name in self._announced or self._changes.find(name) is not None:
            raise Exists(f"endpoint {name!r} exists already")
        if given.variants is None and given.model_uri is None:
            nothing_else(given, "an endpoint without model_uri or variants")
            self._announced[name] = given
            return shapes.empty_endpoint(name, given.labels)
        if given.variants is not None:
            nothing_else(given, "an endpoint with variants, which have their own,")
        alone = {"name": ALONE, "model_uri": given.model_uri, "flavor": given.flavor, "config": given.target}
        begun = self._client.create(
            self._target,
            name,
            variants=[alone] if given.variants is None else given.variants,
            traffic=given.traffic,
            labels=given.labels,
            deadline_seconds=given.deadline_seconds,
        )
        waiting = self._changes.unended(begun, given)
        return shapes.begun(name, given.flavor, waiting, None) if waiting else self.get(name)

    def update(self, name: str, config: Config) -> JSON:
        """Change ``traffic``, ``labels`` or all ``variants``. Raises Missing."""
        given = self._changes.read(config, CHANGE | {"variants"})
        nothing_else(given, "update_endpoint")
        if given.share is not None:
            raise Unfit("the traffic of an endpoint is given by variant, as in a=80,b=20")
        if name in self._announced:
            self._announced[name] = given
            return shapes.empty_endpoint(name, given.labels)
        begun = self._changes.change(
            name, given, lambda tip: Next(given.variants or documents(tip), given.traffic or dict(tip.traffic))
        )
        waiting = self._changes.unended(begun, given)
        return shapes.begun(name, None, waiting, None) if waiting else self.get(name)

    def delete(self, name: str) -> JSON | None:
        """Delete it with all deployments inside of it; what is not there counts as deleted."""
        if self._announced.pop(name, None) is not None:
            return None
        return self._changes.delete(name, Given())

    def all(self) -> list[JSON]:
        """All deployments as endpoints, and what is announced."""
        there = [shapes.endpoint(found) for found in self._client.list(target=self._target)]
        return [*there, *(shapes.empty_endpoint(name, given.labels) for name, given in self._announced.items())]

    def get(self, name: str) -> JSON:
        """One endpoint. Raises NotFound."""
        if name in self._announced:
            return shapes.empty_endpoint(name, self._announced[name].labels)
        return shapes.endpoint(self._client.get(self._target, name))
