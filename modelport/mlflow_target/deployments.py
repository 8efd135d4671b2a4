"""MLflow's verbs for deployments, by themselves or inside of an endpoint, with MLflow's documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelport.blocking.handles import Deployment, Operation
from modelport.errors import AlreadyExists, Invalid, ModelFailed
from modelport.mlflow_target import shapes, variants
from modelport.mlflow_target.changes import JSON, TRIES, Changes, Config
from modelport.mlflow_target.codes import Exists, Missing
from modelport.mlflow_target.config import CHANGE, DELETION, Given, Unfit, nothing_new
from modelport.mlflow_target.endpoints import Announced
from modelport.types import Prediction, Revision


class Deployments:
    """Raises ModelportError and Unfit. Blocks until operations have ended unless config or URI say ``wait=false``."""

    def __init__(self, changes: Changes, announced: Announced) -> None:
        self._changes = changes
        self._client = changes.client
        self._target = changes.target
        self._announced = announced

    def create(self, name: str, model_uri: str, flavor: str | None, config: Config, endpoint: str | None) -> JSON:
        """Deploy what is not there yet. Raises AlreadyExists, Exists."""
        given = self._changes.read(config, CHANGE)
        if endpoint is not None:
            begun = self._create_inside(endpoint, name, model_uri, flavor, given)
        elif given.share not in {None, 100} or given.traffic is not None:
            raise Unfit("a deployment without an endpoint has one variant and all of the traffic")
        else:
            begun = self._client.create(
                self._target,
                name,
                model_uri=model_uri,
                flavor=flavor,
                config=given.target,
                labels=given.labels,
                deadline_seconds=given.deadline_seconds,
            )
        waiting = self._changes.unended(begun, given)
        return shapes.begun(name, flavor, waiting, endpoint) if waiting else self.get(name, endpoint)

    def update(
        self, name: str, model_uri: str | None, flavor: str | None, config: Config, endpoint: str | None
    ) -> JSON:
        """Change the model, keys of the config, or the traffic. Raises Missing."""
        given = self._changes.read(config, CHANGE)
        if flavor is not None and model_uri is None:
            raise Unfit("a new flavor needs model_uri too")

        def decide(tip: Revision) -> variants.Next:
            variant = _variant(tip, name, endpoint)
            if variant is None and endpoint is not None:
                raise Missing(f"endpoint {endpoint!r} has no deployment {name!r}")
            if variant is None and (model_uri is not None or given.target or given.share is not None):
                raise Unfit(f"{name!r} has several variants; name one, with {name!r} as its endpoint")
            if variant is None:
                return variants.Next(variants.documents(tip), given.traffic or dict(tip.traffic))
            return variants.changed(tip, variant, model_uri, flavor, given)

        waiting = self._changes.unended(self._changes.change(endpoint or name, given, decide), given)
        return shapes.begun(name, flavor, waiting, endpoint) if waiting else self.get(name, endpoint)

    def delete(self, name: str, config: Config, endpoint: str | None) -> JSON | None:
        """Delete; what is not there counts as deleted. The last deployment takes its endpoint with it."""
        given = self._changes.read(config, DELETION)
        nothing_new(given, self._changes.is_target, "delete_deployment")
        if endpoint is None:
            return self._changes.delete(name, given)
        found = self._changes.find(endpoint)
        names = [each.name for each in found.tip.variants] if found and found.tip else []
        if name not in names:
            return None
        if names == [name]:
            return self._changes.delete(endpoint, given)
        begun = self._changes.change(endpoint, given, lambda tip: variants.removed(tip, name, given))
        waiting = self._changes.unended(begun, given)
        return shapes.begun(name, None, waiting, endpoint) if waiting else None

    def all(self, endpoint: str | None) -> list[JSON]:
        """All deployments, or all inside of an endpoint."""
        if endpoint is None:
            return [shapes.deployment(found) for found in self._client.list(target=self._target)]
        if endpoint in self._announced:
            return []
        return shapes.all_inside(self._client.get(self._target, endpoint))

    def get(self, name: str, endpoint: str | None) -> JSON:
        """One deployment. Raises NotFound, Missing."""
        if endpoint is None:
            return shapes.deployment(self._client.get(self._target, name))
        try:
            return shapes.inside(self._client.get(self._target, endpoint), name)
        except KeyError:
            raise Missing(f"endpoint {endpoint!r} has no deployment {name!r}") from None

    def predict(self, name: str | None, data: bytes | JSON, endpoint: str | None, timeout: float | None) -> Prediction:
        """One prediction: through the endpoint's traffic, or pinned to a deployment inside. Raises ModelFailed."""
        where, variant = _asked(name, endpoint)
        try:
            answer = self._client.predict(self._target, where, data, variant=variant, timeout=timeout)
        except Invalid as error:
            # what has one variant needs no pinning
            if error.slug != "not-supported-by-target" or len(self.all(where)) != 1:
                raise
            self.get(variant or where, where)
            answer = self._client.predict(self._target, where, data, timeout=timeout)
        if not answer.ok:
            raise ModelFailed(answer.status, answer.text)
        return answer

    def predict_stream(self, name: str | None, data: bytes | JSON, endpoint: str | None) -> Iterator[Any]:
        """As ``predict``, piece by piece as the model gives them."""
        where, variant = _asked(name, endpoint)
        return self._client.predict_stream(self._target, where, data, variant=variant)

    def _create_inside(
        self, endpoint: str, name: str, model_uri: str, flavor: str | None, given: Given
    ) -> Operation | Deployment:
        def decide(tip: Revision) -> variants.Next:
            if name in (each.name for each in tip.variants):
                raise Exists(f"endpoint {endpoint!r} has a deployment {name!r} already")
            return variants.added(tip, name, model_uri, flavor, given)

        for left in reversed(range(TRIES)):
            try:
                return self._changes.change(endpoint, given, decide)
            except Missing:
                pass
            try:
                return self._create_first(endpoint, name, model_uri, flavor, given)
            except AlreadyExists:
                if not left:
                    raise
        raise AssertionError("the last try returned or raised")

    def _create_first(self, endpoint: str, name: str, model_uri: str, flavor: str | None, given: Given) -> Operation:
        announced = self._announced.get(endpoint, Given())
        begun = self._client.create(
            self._target,
            endpoint,
            variants=[{"name": name, "model_uri": model_uri, "flavor": flavor, "config": given.target}],
            traffic={name: 100},
            labels=given.labels or announced.labels,
            deadline_seconds=given.deadline_seconds or announced.deadline_seconds,
        )
        self._announced.pop(endpoint, None)
        return begun


def _variant(tip: Revision, name: str, endpoint: str | None) -> str | None:
    names = [each.name for each in tip.variants]
    if endpoint is not None:
        return name if name in names else None
    return names[0] if len(names) == 1 else None


def _asked(name: str | None, endpoint: str | None) -> tuple[str, str | None]:
    """The deployment of ours, and the variant that is pinned."""
    if endpoint is not None:
        return endpoint, name
    if name is None:
        raise Unfit("say which deployment or which endpoint to ask")
    return name, None
