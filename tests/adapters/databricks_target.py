"""A target on the fake workspace, as the conformance suite and the other tests of it need it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adapters.contract import Fence, Handle, Place, Progress, Request, Seen, Spec, Temporary, Toward, Variant
from adapters.databricks.adapter import DatabricksAdapter, open_adapter
from adapters.databricks.describe import DESCRIPTION
from adapters.databricks.invoke import invoke
from tests.adapters.harness import INSTALLATION, Count, change, drive, eventually, look, new_name, through_json
from tests.fakes.databricks import TOKEN, Databricks

WRITES = ("CREATE", "CONFIG", "TAGS", "GATEWAY", "LIMITS", "NOTIFICATIONS", "DELETE")
VARIABLE = "FAKE_WORKSPACE_TOKEN"


class DatabricksHarness:
    """A fake workspace's state of this test's own, in one process for all of them. ``VARIABLE`` holds its token."""

    capabilities = DESCRIPTION.capabilities
    failure_words = "no weights in the cellar"
    deadline_seconds = 30.0

    def __init__(self, workspace: Databricks, settings: dict[str, Any] | None = None, **place: Any) -> None:
        self.workspace = workspace
        self.place = Place(
            **{
                "name": "lakehouse",
                "uri": "databricks",
                "installation": INSTALLATION,
                "folder": "",
                "settings": {"host": workspace.url, "look_seconds": 0.02, **(settings or {})},
                "credentials": f"env:{VARIABLE}",
                "call_timeout_seconds": 5.0,
                **place,
            }
        )
        self._opened: list[DatabricksAdapter] = []

    def open(self) -> DatabricksAdapter:
        self._opened.append(open_adapter(self.place))
        return self._opened[-1]

    def close(self) -> None:
        for adapter in self._opened:
            adapter.close()

    def spec(self, which: str, **config: Any) -> Spec:
        return Spec((variant("main", f"main.ml.{which}", **config),), {"main": 100})

    def split(self, a: int, b: int) -> Spec:
        return Spec((variant("a", "main.ml.a"), variant("b", "main.ml.b")), {"a": a, "b": b})

    def broken(self) -> Spec:
        return self.spec("broken")

    def answering(self, route: dict[str, Any], variant: str | None = None) -> str:
        answer = invoke(self.place, route, Request(b'{"inputs": [1]}', "application/json", variant), 10.0)
        return f"models:/{json.loads(answer.body)['predictions'][0]}"

    def count(self) -> Count:
        counts = self.workspace.counts()
        writes = sum(counts["calls"].get(verb, 0) for verb in WRITES)
        effects = sum(sum(each.values()) for each in counts["effects"].values())
        return Count(sum(counts["calls"].values()), writes, effects)

    def things(self, name: str) -> set[str]:
        return {name} if self.workspace.endpoint(name) is not None else set()

    def occupy(self, name: str) -> Any:
        tags = {"modelport_installation": "another", "modelport_uid": "x"}
        self.workspace.plant(theirs(name, tags))
        return eventually(lambda: self.occupant(name), lambda there: there["state"]["ready"] == "READY")

    def occupant(self, name: str) -> Any:
        return self.workspace.endpoint(name)

    @contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.workspace.faults({"kind": "drop_after", "verb": "WRITE", "count": None})
        try:
            yield
        finally:
            self.workspace.faults()


def variant(name: str, model: str, version: str = "1", **config: Any) -> Variant:
    return Variant(name, f"models:/{model}/{version}", None, {"workload_size": "Small", **config})


def theirs(name: str, tags: dict[str, str] | None = None, **traffic: int) -> dict[str, Any]:
    """The body of a create of somebody else's."""
    shares = traffic or {"theirs_1": 100}
    entities = [
        {
            "name": entity,
            "entity_name": "main.ml.theirs",
            "entity_version": str(number),
            "workload_size": "Medium",
            "scale_to_zero_enabled": True,
        }
        for number, entity in enumerate(shares, 1)
    ]
    routes = [{"served_entity_name": entity, "traffic_percentage": share} for entity, share in shares.items()]
    return {
        "name": name,
        "config": {"served_entities": entities, "traffic_config": {"routes": routes}},
        "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
    }


class Life:
    """One deployment and what the core would have on record of it."""

    def __init__(self, target: DatabricksHarness) -> None:
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

    def serves(self) -> Any:
        """The config in force, as the workspace knows it; None where nothing is there."""
        there = self.target.workspace.endpoint(self.name)
        return there.get("config") if there else None

    def effects(self) -> dict[str, int]:
        return dict(self.target.workspace.counts()["effects"].get(self.name, {}))


__all__ = ["TOKEN", "VARIABLE", "DatabricksHarness", "Life", "Temporary", "theirs", "variant"]
