"""A target without KServe on the fake cluster, as the conformance suite and the other tests of it need it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adapters.contract import Place, Request, Spec, Variant
from adapters.kubernetes.adapter import KubernetesAdapter, open_adapter
from adapters.kubernetes.describe import DESCRIPTION
from adapters.kubernetes.invoke import invoke
from tests.adapters.harness import INSTALLATION, Count
from tests.adapters.kserve_target import VARIABLE
from tests.fakes.kubernetes import NAMESPACE, TOKEN, Kubernetes

THEIRS = {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}


class KubernetesHarness:
    """A fake cluster's state of this test's own, in one process for all of them. ``VARIABLE`` holds its token."""

    capabilities = DESCRIPTION.capabilities
    failure_words = "no weights in the cellar"
    deadline_seconds = 30.0

    def __init__(self, cluster: Kubernetes, settings: dict[str, Any] | None = None, **place: Any) -> None:
        self.cluster = cluster
        image = {"image": "ghcr.io/mlflow/mlflow:v3", "drain_seconds": 0.01}
        self.place = Place(
            **{
                "name": "cluster",
                "uri": f"kubernetes:/{NAMESPACE}",
                "installation": INSTALLATION,
                "folder": "",
                "settings": {**cluster.settings, **image, **(settings or {})},
                "credentials": f"env:{VARIABLE}",
                "call_timeout_seconds": 5.0,
                **place,
            }
        )
        self._opened: list[KubernetesAdapter] = []

    def open(self) -> KubernetesAdapter:
        self._opened.append(open_adapter(self.place))
        return self._opened[-1]

    def close(self) -> None:
        for adapter in self._opened:
            adapter.close()

    def spec(self, which: str, **config: Any) -> Spec:
        return Spec((Variant("main", f"s3://models/{which}", None, {"replicas": 2, **config}),), {"main": 100})

    def split(self, a: int, b: int) -> Spec:
        raise NotImplementedError

    def broken(self) -> Spec:
        return self.spec("broken")

    def answering(self, route: dict[str, Any], variant: str | None = None) -> str:
        answer = invoke(self.place, route, Request(b'{"inputs": [1]}', "application/json", variant), 10.0)
        return str(json.loads(answer.body)["predictions"][0])

    def count(self) -> Count:
        return Count(*self.cluster.tally())

    def things(self, name: str) -> set[str]:
        deployments = self.cluster.objects("deployments", f"modelport/name={name}")
        return {f"service {name}"} & {f"service {each}" for each in self.cluster.objects("services")} | set(deployments)

    def models(self, name: str) -> dict[str, int]:
        """The model behind the Service, as the cluster's pods really have it."""
        serving: dict[str, int] = self.cluster.serving(name)
        return serving

    def occupy(self, name: str) -> Any:
        marks = {"modelport/installation": "another", "modelport/uid": "x"}
        self.cluster.plant("services", name, THEIRS, annotations=marks)
        return self.occupant(name)

    def occupant(self, name: str) -> Any:
        return self.cluster.objects("services").get(name)

    @contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.cluster.faults({"kind": "drop_after", "verb": "WRITE", "count": None})
        try:
            yield
        finally:
            self.cluster.faults()


__all__ = ["TOKEN", "VARIABLE", "KubernetesHarness"]
