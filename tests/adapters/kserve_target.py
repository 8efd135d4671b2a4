"""A target on the fake cluster, as the conformance suite and the other tests of KServe need it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adapters.contract import Fence, Handle, Place, Progress, Request, Seen, Spec, Toward, Variant
from adapters.kserve.adapter import KServeAdapter, open_adapter
from adapters.kserve.describe import DESCRIPTION
from adapters.kserve.invoke import invoke
from tests.adapters.harness import INSTALLATION, Count, change, drive, look, new_name, through_json
from tests.fakes.kubernetes import NAMESPACE, TOKEN, Kubernetes

VARIABLE = "FAKE_CLUSTER_TOKEN"


class KServeHarness:
    """A fake cluster's state of this test's own, in one process for all of them. ``VARIABLE`` holds its token."""

    capabilities = DESCRIPTION.capabilities
    failure_words = "no weights in the cellar"
    deadline_seconds = 30.0

    def __init__(self, cluster: Kubernetes, settings: dict[str, Any] | None = None, **place: Any) -> None:
        self.cluster = cluster
        self.place = Place(
            **{
                "name": "cluster",
                "uri": f"kserve:/{NAMESPACE}",
                "installation": INSTALLATION,
                "folder": "",
                "settings": {**cluster.settings, "gateway_url": cluster.url, **(settings or {})},
                "credentials": f"env:{VARIABLE}",
                "call_timeout_seconds": 5.0,
                **place,
            }
        )
        self._opened: list[KServeAdapter] = []

    def open(self) -> KServeAdapter:
        self._opened.append(open_adapter(self.place))
        return self._opened[-1]

    def close(self) -> None:
        for adapter in self._opened:
            adapter.close()

    def spec(self, which: str, **config: Any) -> Spec:
        return Spec((variant("main", which, **config),), {"main": 100})

    def split(self, a: int, b: int) -> Spec:
        return Spec((variant("a", "a"), variant("b", "b")), {"a": a, "b": b})

    def broken(self) -> Spec:
        return self.spec("broken")

    def answering(self, route: dict[str, Any], variant: str | None = None) -> str:
        answer = invoke(self.place, route, Request(b'{"inputs": [1]}', "application/json", variant), 10.0)
        return str(json.loads(answer.body)["predictions"][0])

    def count(self) -> Count:
        return Count(*self.cluster.tally())

    def things(self, name: str) -> set[str]:
        found = {name} & self.cluster.objects("inferenceservices").keys()
        label = f"serving.kserve.io/inferenceservice={name}"
        return found | self.cluster.objects("deployments", label).keys()

    def models(self, name: str) -> dict[str, int]:
        """By model its share, as the cluster's routes and pods really have it."""
        serving: dict[str, int] = self.cluster.serving(name)
        return serving

    def occupy(self, name: str) -> Any:
        self.cluster.plant("inferenceservices", name, theirs(), annotations=THEIR_MARKS)
        return self.occupant(name)

    def occupant(self, name: str) -> Any:
        return self.cluster.objects("inferenceservices").get(name)

    @contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.cluster.faults({"kind": "drop_after", "verb": "WRITE", "count": None})
        try:
            yield
        finally:
            self.cluster.faults()


THEIR_MARKS = {"modelport/installation": "another", "modelport/uid": "x"}


def variant(name: str, model: str, **config: Any) -> Variant:
    return Variant(name, f"s3://models/{model}", None, {"min_replicas": 1, **config})


def theirs(model: str = "theirs") -> dict[str, Any]:
    """The specification of somebody else's InferenceService."""
    predictor = {
        "model": {"modelFormat": {"name": "mlflow"}, "protocolVersion": "v2", "storageUri": f"s3://models/{model}"},
        "minReplicas": 2,
    }
    return {"predictor": predictor}


class Life:
    """One deployment and what the core would have on record of it."""

    def __init__(self, target: Any) -> None:
        self.target, self.adapter = target, target.open()
        self.name, self.fence = new_name(), 1
        self.current: Spec | None = None
        self.placed: Handle = {}

    @property
    def uid(self) -> str:
        return f"uid-{self.name}"

    def plan(self, desired: Spec | None) -> Handle:
        return through_json(self.adapter.plan(change(self.name, self.current, desired, self.placed)))

    def step(self, handle: Handle, toward: Toward = "forward", seen: Seen | None = None) -> Progress:
        """One look and one step."""
        return self.adapter.step(handle, seen or look(self.target, self.adapter, handle), toward, Fence(self.fence))

    def bring(self, handle: Handle, toward: Toward = "forward") -> Progress:
        """Look and step until it ends."""
        ended = drive(self.target, handle, toward, adapter=self.adapter).progress
        assert ended is not None
        return ended

    def settle(self, desired: Spec | None) -> Progress:
        """Bring it about; it must succeed."""
        progress = self.bring(self.plan(desired))
        assert progress.outcome == "done", progress.message
        self.current, self.placed = desired, progress.handle
        return progress

    def effects(self) -> dict[str, int]:
        return dict(self.target.cluster.counts()["effects"].get(self.name, {}))


__all__ = ["TOKEN", "VARIABLE", "KServeHarness", "Life", "theirs", "variant"]
