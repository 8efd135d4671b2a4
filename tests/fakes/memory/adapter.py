from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from adapters.contract import (
    AdapterError,
    Change,
    Conflict,
    Fence,
    Handle,
    Observed,
    Place,
    Progress,
    Seen,
    Spec,
    Temporary,
    Toward,
)
from tests.fakes.memory.world import WORLDS, World


class Memory:
    def __init__(self, world: World) -> None:
        self.world = world

    def resolve(self, spec: Spec) -> Spec:
        return spec

    def plan(self, change: Change) -> Handle:
        return {
            "name": change.name,
            "uid": change.uid,
            "old": change.current.to_json() if change.current else None,
            "new": change.desired.to_json() if change.desired else None,
            "adopt": change.adopt,
        }

    def look_many(self, handles: Mapping[str, Handle]) -> Mapping[str, Seen | AdapterError]:
        things = self.world.list()
        return {key: self._seen(handle, things) for key, handle in handles.items()}

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:
        wanted = handle["new"] if toward == "forward" else handle["old"]
        facts = seen.facts
        if fence.floor > handle.get("fenced", 0) and not facts["foreign"] and not facts["under_way"]:
            return self._write(handle, wanted, fence)
        if handle["adopt"]:
            if toward == "forward":
                self.world.mark(handle["name"], handle["uid"])
            return Progress(handle, "done", "clean", route={"to": handle["name"]})
        if facts["foreign"]:
            if toward == "back":
                return Progress(handle, "done")
            raise Conflict(f"{handle['name']} exists and is not ours")
        if facts["under_way"]:
            return Progress(handle, "again", "switch", again_in=0.001, message="under way")
        if json.dumps(facts["serving"], sort_keys=True) == json.dumps(wanted, sort_keys=True) and (
            wanted is None or toward == "back" or not facts["failed"]
        ):
            if wanted is None and facts["exists"]:
                return self._write(handle, wanted, fence)
            return Progress(handle, "done", "clean", route={"to": handle["name"]} if wanted else None, message="serves")
        if facts["failed"] and toward == "forward" and handle.get("begun"):
            return Progress(handle, "failed", message=facts["failed"])
        return self._write(handle, wanted, fence)

    def observe_all(self) -> Iterable[Observed]:
        for name, thing in self.world.list().items():
            spec = Spec.from_json(thing.serving) if thing.serving else None
            yield Observed(name, thing.uid, "serving" if thing.serving else "creating", spec, route={"to": name})

    def check(self) -> str:
        self.world.list()
        return "memory answers"

    def logs(self, handle: Handle, variant: str | None, lines: int) -> str:
        return ""

    def close(self) -> None:
        pass

    def _seen(self, handle: Handle, things: Mapping[str, object]) -> Seen:
        thing = things.get(handle["name"])
        exists = thing is not None
        facts = {
            "exists": exists,
            "foreign": exists and thing.uid != handle["uid"],
            "under_way": exists and thing.coming is not None,
            "serving": thing.serving if exists else None,
            "failed": thing.failed if exists else None,
        }
        needs_write = not facts["under_way"] and facts["serving"] != handle["new"]
        return Seen(facts, needs_write=needs_write)

    def _write(self, handle: Handle, wanted: dict | None, fence: Fence) -> Progress:
        try:
            if wanted is None:
                self.world.delete(handle["name"], handle["uid"], fence.number)
            else:
                self.world.put(handle["name"], handle["uid"], wanted, fence.number)
        except PermissionError as error:
            raise Temporary(str(error)) from error
        except KeyError as error:
            raise Conflict(f"{handle['name']} exists and is not ours") from error
        return Progress(
            {**handle, "begun": True, "fenced": fence.number},
            "again",
            "switch",
            again_in=0.001,
            message="asked for",
            seen=None,
        )


def open_adapter(place: Place) -> Memory:
    return Memory(WORLDS.setdefault(place.uri, World()))
