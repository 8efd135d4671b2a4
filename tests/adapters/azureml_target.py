"""A target on the fake workspace, as the conformance suite and the other tests of it need it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adapters.azureml.adapter import AzureMlAdapter, open_adapter
from adapters.azureml.describe import DESCRIPTION
from adapters.azureml.goals import endpoint_body
from adapters.azureml.invoke import invoke
from adapters.azureml.scoring import client
from adapters.contract import Change, Fence, Handle, Place, Progress, Request, Seen, Spec, Toward, Variant
from tests.adapters.harness import INSTALLATION, Count, change, drive, look, new_name, through_json
from tests.fakes.azureml import PATH, TOKEN, URI, AzureMl

WRITES = ("ENDPOINT", "TAGS", "DEPLOYMENT", "DROP", "DELETE", "MODEL", "UNREGISTER")
VARIABLE = "FAKE_AZURE_TOKEN"
FILES = "azureml://jobs/train-{}/outputs/artifacts/paths/model"


class AzureMlHarness:
    """A fake workspace's state of this test's own, in one process for all of them. ``VARIABLE`` holds its token.

    ``files``: models are not registered yet, so that the target does it and removes them again.
    """

    capabilities = DESCRIPTION.capabilities
    failure_words = "no weights in the cellar"
    deadline_seconds = 30.0

    def __init__(
        self, workspace: AzureMl, settings: dict[str, Any] | None = None, *, files: bool = False, **place: Any
    ) -> None:
        self.workspace, self.files = workspace, files
        self.place = Place(
            **{
                "name": "ml",
                "uri": URI,
                "installation": INSTALLATION,
                "folder": "",
                "settings": {
                    "resource_manager": workspace.url,
                    "location": "westeurope",
                    "look_seconds": 0.02,
                    **(settings or {}),
                },
                "credentials": f"env:{VARIABLE}",
                "call_timeout_seconds": 5.0,
                **place,
            }
        )
        self._opened: list[AzureMlAdapter] = []
        self._counted: Count | None = None

    def open(self) -> AzureMlAdapter:
        adapter = open_adapter(self.place)
        for sender in (adapter._workspace._client, client()):
            sender.event_hooks = {"request": [self._sends]}
        self._opened.append(adapter)
        return adapter

    def close(self) -> None:
        for adapter in self._opened:
            adapter.close()

    def model(self, which: str) -> str:
        return FILES.format(which) if self.files else f"azureml:{which}:1"

    def spec(self, which: str, **config: Any) -> Spec:
        return Spec((Variant("main", self.model(which), None, config),), {"main": 100})

    def split(self, a: int, b: int, **config: Any) -> Spec:
        variants = tuple(Variant(which, self.model(which), None, config) for which in ("a", "b"))
        return Spec(variants, {"a": a, "b": b})

    def broken(self) -> Spec:
        return self.spec("broken")

    def answering(self, route: dict[str, Any], variant: str | None = None) -> str:
        answer = invoke(self.place, route, Request(b'{"inputs": [1]}', "application/json", variant), 10.0)
        return str(json.loads(answer.body)["predictions"][0])

    def given(self, name: str, spec: Spec) -> Handle:
        """The handle of a deployment that serves this: planted, much faster than bringing it about."""
        handle = through_json(self.open().plan(change(name, None, spec)))
        goal = handle["desired"]
        assert not goal["register"], "models that are to be registered have to be brought about"
        body = endpoint_body(handle, goal, None, None, serving=True)
        self.workspace.plant({"name": name, "endpoint": body, "deployments": goal["bodies"]})
        return handle

    def count(self) -> Count:
        if self._counted is None:  # asked for anew only where something was sent meanwhile
            counts = self.workspace.counts()
            writes = sum(counts["calls"].get(verb, 0) for verb in WRITES)
            effects = sum(sum(each.values()) for each in counts["effects"].values())
            self._counted = Count(sum(counts["calls"].values()), writes, effects)
        return self._counted

    def reset(self) -> None:
        self.workspace.reset()
        self._counted = None

    def _sends(self, request: object) -> None:
        self._counted = None

    def things(self, name: str) -> set[str]:
        image = self.workspace.image(name)
        models = {model for model in self.workspace.models() if model.startswith(f"{name}-")}
        if image is None:
            return models
        return {name, *(each["id"] for each in image["deployments"])} | models

    def occupy(self, name: str) -> Any:
        self._counted = None
        self.workspace.plant(theirs(name, {"modelport_installation": "another", "modelport_uid": "x"}))
        return self.occupant(name)

    def occupant(self, name: str) -> Any:
        return self.workspace.image(name)

    @contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.workspace.faults({"kind": "drop_after", "verb": "WRITE", "count": None})
        try:
            yield
        finally:
            self.workspace.faults()


def theirs(name: str, tags: dict[str, str] | None = None, **traffic: int) -> dict[str, Any]:
    """An endpoint of somebody else's, as the fake plants it."""
    shares = traffic or {"blue": 100}
    model = f"{PATH}/models/theirs/versions"
    deployments = {
        each: {
            "sku": {"name": "Default", "capacity": 2},
            "properties": {
                "endpointComputeType": "Managed",
                "model": f"{model}/{number}",
                "instanceType": "Standard_DS3_v2",
                "environmentVariables": {"MODE": "fast"},
                "livenessProbe": {"initialDelay": "PT1M", "failureThreshold": 30},
                "requestSettings": {"requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 2},
                "scaleSettings": {"scaleType": "Default"},
            },
        }
        for number, each in enumerate(shares, 1)
    }
    properties = {"authMode": "Key", "traffic": shares, "description": "theirs"}
    return {"name": name, "endpoint": {"tags": tags or {}, "properties": properties}, "deployments": deployments}


class Life:
    """One deployment and what the core would have on record of it."""

    def __init__(self, target: AzureMlHarness) -> None:
        self.target, self.adapter = target, target.open()
        self.name, self.fence = new_name(), 1
        self.current: Spec | None = None
        self.placed: Handle = {}

    @property
    def uid(self) -> str:
        return f"uid-{self.name}"

    def change(self, desired: Spec | None) -> Change:
        return change(self.name, self.current, desired, self.placed)

    def plan(self, desired: Spec | None) -> Handle:
        return through_json(self.adapter.plan(self.change(desired)))

    def step(self, handle: Handle, toward: Toward = "forward", seen: Seen | None = None) -> Progress:
        """One look and one step."""
        return self.adapter.step(handle, seen or look(self.target, self.adapter, handle), toward, Fence(self.fence))

    def bring(self, handle: Handle, toward: Toward = "forward") -> Progress:
        """Look and step until it ends."""
        ended = drive(self.target, handle, toward, adapter=self.adapter).progress
        assert ended is not None
        return ended

    def until(self, handle: Handle, verb: str) -> Handle:
        """Look and step until a write of this kind was made; the handle with which that was."""
        before = len(self.target.workspace.log(verb))
        while len(self.target.workspace.log(verb)) == before:
            handle = through_json(self.step(handle).handle)
        return handle

    def settle(self, desired: Spec | None) -> Progress:
        """Bring it about; it must succeed."""
        progress = self.bring(self.plan(desired))
        assert progress.outcome == "done", progress.message
        self.current, self.placed = desired, progress.handle
        return progress

    def given(self, spec: Spec) -> None:
        """It serves this, as if it had been settled."""
        self.placed, self.current = self.target.given(self.name, spec), spec

    def serves(self) -> dict[str, Any] | None:
        """Model by deployment and the traffic, as the workspace knows them; None where nothing is there."""
        image = self.target.workspace.image(self.name)
        if image is None:
            return None
        properties = image["endpoint"]["properties"]
        models = {each["name"]: each["properties"]["model"] for each in image["deployments"]}
        traffic = {name: share for name, share in properties["traffic"].items() if share}
        return {"models": models, "traffic": traffic, "mirror": properties["mirrorTraffic"]}

    def effects(self) -> dict[str, int]:
        return dict(self.target.workspace.counts()["effects"].get(self.name, {}))


__all__ = ["PATH", "TOKEN", "VARIABLE", "AzureMlHarness", "Life", "theirs"]
