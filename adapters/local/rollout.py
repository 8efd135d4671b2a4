"""The next step of a change, decided from its handle and what was seen; nothing here touches the machine.

Forward: start what is missing, wait until every server answers, publish (the switch), drain, stop what is not wanted.
The direction is part of the handle, and turning round a step of its own: what a look says is then true of the step.
Back: publish again what served before, stop what only this change wanted. Once the switch is on record, the change has
landed and is not taken back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from adapters.contract import JSON, Conflict, Handle, Leftover, Outcome, Phase, Progress, Toward

Verb = Literal["start", "publish", "restore", "withdraw", "terminate", "kill", "remove", "close"]

# The kernel ends a killed process within moments, unless a device holds it.
KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Pace:
    """The target's own times, in seconds."""

    look: float
    drain: float
    stop: float


@dataclass(frozen=True)
class Effect:
    """The one write of a step. ``on`` names the server or, for *start*, the variant."""

    verb: Verb
    on: str = ""


@dataclass(frozen=True)
class Decision:
    """What to do, if anything, and what the step came to if that succeeds."""

    progress: Progress
    effect: Effect | None = None


def decide(handle: Handle, facts: JSON, toward: Toward, pace: Pace, now: float) -> Decision:
    """The next step at ``now``, in seconds since the epoch. Raises Conflict where the name is somebody else's."""
    if toward != handle["toward"]:
        phase: Phase = "clean" if handle["published"] else "prepare"
        return Decision(Progress({**handle, "toward": toward}, "again", phase, message="taking back"))
    if facts["conflict"] and toward == "forward":
        raise Conflict(facts["conflict"])
    if facts["conflict"] and handle["desired"] is None:
        return Decision(Progress(handle, "done", message="not begun"))
    if handle["desired"] is None:
        return _delete(handle, facts, toward, pace, now)
    if toward == "back":
        return _back(handle, facts, pace, now)
    if handle["published"]:
        return _clean(handle, facts, pace, now)
    return _prepare(handle, facts, pace, now)


def route_of(handle: Handle, facts: JSON) -> JSON:
    """Where predictions go once the servers of this handle serve."""
    traffic = handle["desired"]["traffic"]
    return {
        "variants": {
            variant: {"url": facts["servers"][server]["url"], "weight": traffic.get(variant, 0)}
            for variant, server in handle["servers"].items()
        }
    }


def _prepare(handle: Handle, facts: JSON, pace: Pace, now: float) -> Decision:
    waiting = []
    for variant, server in handle["servers"].items():
        seen = facts["servers"].get(server, {"state": "absent"})
        if _died(handle, seen):
            return _failed(handle, f"variant {variant}: its server ended before it was ready.\n{seen['tail']}")
        if seen["state"] in ("absent", "dead"):
            message = f"starting the server of variant {variant}"
            return Decision(Progress(handle, "again", message=message), Effect("start", variant))
        if seen["state"] == "starting":
            limit = handle["configs"][variant]["startup_timeout_seconds"]
            age = now - seen["at"]
            if age > limit:
                return _failed(handle, f"variant {variant}: its server was not ready in {limit:g} s.\n{seen['tail']}")
            waiting.append(f"variant {variant} loads its model since {age:.0f} s")
    if waiting:
        return Decision(Progress(handle, "again", again_in=pace.look, message="; ".join(waiting)))
    return _switch(handle, facts)


def _switch(handle: Handle, facts: JSON) -> Decision:
    route = route_of(handle, facts)
    after = {**handle, "published": True}
    serves = facts["serves"]
    if serves is not None and serves["content"] == handle["content"] and serves["route"] == route:
        return Decision(Progress(after, "again", "clean", message=_serving(handle), route=route))
    return Decision(Progress(after, "again", "clean", message="traffic switched", route=route), Effect("publish"))


def _clean(handle: Handle, facts: JSON, pace: Pace, now: float) -> Decision:
    """The route is on record by now, since this handle is: the draining time starts here and not with the switch."""
    route = facts["serves"]["route"] if facts["serves"] else None
    unwanted = _unwanted(handle, facts)
    if unwanted and handle["drained_at"] is None:
        after = {**handle, "drained_at": now + pace.drain}
        message = f"draining the old servers for {pace.drain:g} s"
        return Decision(Progress(after, "again", "clean", again_in=pace.drain, message=message, route=route))
    if unwanted and now < handle["drained_at"]:
        rest = handle["drained_at"] - now
        return Decision(Progress(handle, "again", "clean", again_in=rest, message="draining", route=route))
    retiring = _retire(handle, facts, unwanted, pace, "clean", route, now)
    if retiring is not None:
        return retiring
    left = _left(handle, facts)
    for variant, server in handle["servers"].items():
        seen = facts["servers"].get(server, {"state": "absent"})
        if seen["state"] in ("absent", "dead"):
            message = f"variant {variant}: its server ended after the switch.\n{seen.get('tail', '')}".rstrip()
            return Decision(Progress(handle, "failed", "clean", message=message, leftovers=left, route=route))
    return Decision(Progress(handle, "done", "clean", message=_serving(handle), leftovers=left, route=route))


def _back(handle: Handle, facts: JSON, pace: Pace, now: float) -> Decision:
    serves = facts["serves"]
    if serves is not None and serves["change"] == handle["change"]:
        if handle["published"]:
            return _too_late(handle, facts)
        return Decision(Progress(handle, "again", message="switching back"), Effect("restore"))
    kept = set(serves["servers"].values()) if serves else set()
    made = [
        server
        for server in handle["servers"].values()
        if server in facts["servers"] and (server not in kept or _died(handle, facts["servers"][server]))
    ]
    retiring = _retire(handle, facts, made, pace, "prepare", None, now)
    if retiring is not None:
        return retiring
    route = serves["route"] if serves else None
    message = "the revision before serves" if serves else "nothing of it is left"
    progress = Progress(handle, "done", message=message, leftovers=_left(handle, facts), route=route)
    return Decision(progress, Effect("close") if facts["folder"] and not serves and not facts["servers"] else None)


def _too_late(handle: Handle, facts: JSON) -> Decision:
    """The old servers are left to the next operation: until this is recorded, predictions still go to them."""
    old = tuple(
        Leftover("server", server, "served the revision before; the deployment's next operation removes it")
        for server in _unwanted(handle, facts)
    )
    route = facts["serves"]["route"]
    return Decision(Progress(handle, "landed", "clean", message=_serving(handle), leftovers=old, route=route))


def _delete(handle: Handle, facts: JSON, toward: Toward, pace: Pace, now: float) -> Decision:
    if facts["serves"] is not None:
        if toward == "back":
            return Decision(Progress(handle, "done", message="not begun", route=facts["serves"]["route"]))
        return Decision(Progress(handle, "again", "switch", message="withdrawn"), Effect("withdraw"))
    retiring = _retire(handle, facts, list(facts["servers"]), pace, "clean", None, now)
    if retiring is not None:
        return retiring
    outcome: Outcome = "done" if toward == "forward" else "landed"
    progress = Progress(handle, outcome, "clean", message="deleted", leftovers=_left(handle, facts))
    return Decision(progress, Effect("close") if facts["folder"] and not facts["servers"] else None)


def _retire(
    handle: Handle, facts: JSON, servers: Iterable[str], pace: Pace, phase: Phase, route: JSON | None, now: float
) -> Decision | None:
    """Ask all of them to stop, remove the stopped, kill those that do not stop in time; None once none is left."""
    alive = [server for server in servers if facts["servers"][server]["state"] in ("starting", "ready")]
    gone = [server for server in servers if server not in alive]

    def then(effect: Effect, after: Handle, message: str) -> Decision:
        return Decision(Progress(after, "again", phase, message=message, route=route), effect)

    for server in alive:
        if server not in handle["terminated"]:
            after = {**handle, "terminated": {**handle["terminated"], server: now}}
            return then(Effect("terminate", server), after, f"stopping server {server}")
    for server in gone:
        return then(Effect("remove", server), handle, f"removing server {server}")
    for server in alive:
        if server not in handle["killed"] and now - handle["terminated"][server] >= pace.stop:
            after = {**handle, "killed": {**handle["killed"], server: now}}
            return then(Effect("kill", server), after, f"server {server} did not stop in {pace.stop:g} s: killed")
    stopping = [server for server in alive if not _given_up(handle, server, now)]
    if not stopping:
        return None
    message = f"{len(stopping)} stopping; predictions in flight are finished"
    return Decision(Progress(handle, "again", phase, again_in=pace.look, message=message, route=route))


def _given_up(handle: Handle, server: str, now: float) -> bool:
    return server in handle["killed"] and now - handle["killed"][server] >= KILL_SECONDS


def _left(handle: Handle, facts: JSON) -> tuple[Leftover, ...]:
    return tuple(
        Leftover("server", server, f"process {facts['servers'][server]['pid']} did not end after it was killed")
        for server in handle["killed"]
        if server in facts["servers"]
    )


def _unwanted(handle: Handle, facts: JSON) -> list[str]:
    return [server for server in facts["servers"] if server not in handle["servers"].values()]


def _died(handle: Handle, seen: JSON) -> bool:
    """It was started, or started again, by this change, and ended."""
    return bool(seen["state"] == "dead" and seen["change"] == handle["change"])


def _failed(handle: Handle, message: str) -> Decision:
    return Decision(Progress(handle, "failed", message=message.rstrip()))


def _serving(handle: Handle) -> str:
    traffic = handle["desired"]["traffic"]
    return "serving " + ", ".join(f"{variant} {traffic.get(variant, 0)} %" for variant in handle["servers"])
