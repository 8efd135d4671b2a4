"""The cloud behind the memory target: what exists, what is under way, and what was called."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Thing:
    """One deployment on the target: what serves, what is on its way, and how many looks until that serves."""

    uid: str | None
    serving: dict[str, Any] | None
    coming: dict[str, Any] | None = None
    looks_left: int = 0
    failed: str | None = None
    fence: int = 0


@dataclass
class World:
    """``looks`` is how many looks a change takes; ``rolls_back`` fails the next change with these
    words, and a change to what it ``refuses`` fails always; hooks run before and after each effect and may raise."""

    looks: int = 1
    things: dict[str, Thing] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    effects: Counter[tuple[str, str]] = field(default_factory=Counter)
    before: Callable[[str, str], None] | None = None
    after: Callable[[str, str], None] | None = None
    rolls_back: str | None = None
    refuses: dict[str, Any] | None = None
    stuck: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    def put(self, name: str, uid: str, spec: dict[str, Any], fence: int) -> None:
        with self._call("put", name):
            thing = self.things.get(name)
            if thing is not None and thing.uid != uid:
                raise KeyError("not yours")
            if thing is None:
                thing = self.things[name] = Thing(uid, None)
            if fence < thing.fence:
                raise PermissionError("stale fence")
            thing.fence = fence
            if spec == (thing.coming or thing.serving) and not thing.failed:
                return  # an equal request changes nothing but the fence
            thing.coming, thing.looks_left, thing.failed = spec, self.looks, None
            self.effects["put", name] += 1

    def delete(self, name: str, uid: str, fence: int) -> None:
        with self._call("delete", name):
            thing = self.things.get(name)
            if thing is None:
                return
            if thing.uid != uid:
                raise KeyError("not yours")
            if fence < thing.fence:
                raise PermissionError("stale fence")
            del self.things[name]
            self.effects["delete", name] += 1

    def mark(self, name: str, uid: str) -> None:
        with self._call("mark", name):
            self.things[name].uid = uid
            self.effects["mark", name] += 1

    def list(self) -> dict[str, Thing]:
        with self._call("list", "*"):
            for thing in self.things.values():
                self._settle(thing)
            return {name: Thing(**vars(thing)) for name, thing in self.things.items()}

    def _settle(self, thing: Thing) -> None:
        if thing.coming is None or self.stuck:
            return
        if thing.looks_left > 0:
            thing.looks_left -= 1
            return
        if self.refuses is not None and thing.coming == self.refuses:
            thing.coming, thing.failed = None, "it will not run this"
        elif self.rolls_back:
            thing.coming, thing.failed, self.rolls_back = None, self.rolls_back, None
        else:
            thing.serving, thing.coming = thing.coming, None

    def _call(self, verb: str, name: str) -> _Call:
        return _Call(self, verb, name)


class _Call:
    def __init__(self, world: World, verb: str, name: str) -> None:
        self.world, self.verb, self.name = world, verb, name

    def __enter__(self) -> None:
        self.world.calls[self.verb] += 1
        # hooks run unlocked, so that one may let another worker use this world meanwhile
        if self.world.before:
            self.world.before(self.verb, self.name)
        self.world.lock.acquire()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.world.lock.release()
        if kind is None and self.world.after:
            self.world.after(self.verb, self.name)


WORLDS: dict[str, World] = {}
