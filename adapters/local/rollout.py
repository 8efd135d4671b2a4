"""The next step of a change, decided from its handle and what was seen; nothing here touches the machine.

Forward: start what is missing, wait until every server answers, publish (the switch), drain, stop what is not wanted.
Back: stop what only this change wanted. A change that is published has landed and is not taken back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from adapters.contract import JSON, Handle, Leftover, Outcome, Phase, Progress, Toward

Verb = Literal["start", "publish", "withdraw", "terminate", "kill", "remove", "close"]

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


def decide(handle: Handle, facts: JSON, toward: Toward, pace: Pace) -> Decision:
    """The next step. The same handle and facts give the same decision."""
    handle = {**handle, "toward": toward}
    if handle["desired"] is None:
        return _delete(handle, facts, toward, pace)
    if toward == "back":
        return _back(handle, facts, pace)
    if handle["published"]:
        return _clean(handle, facts, pace)
    return _prepare(handle, facts, pace)


def route_of(handle: Handle, facts: JSON) -> JSON:
    """Where predictions go once the servers of this handle serve."""
    traffic = handle["desired"]["traffic"]
    return {
        "variants": {
            variant: {"url": facts["servers"][server]["url"], "weight": traffic.get(variant, 0)}
            for variant, server in handle["servers"].items()
        }
    }


def _prepare(handle: Handle, facts: JSON, pace: Pace) -> Decision:
    waiting = []
    for variant, server in handle["servers"].items():
        seen = facts["servers"].get(server, {"state": "absent"})
        if seen["state"] == "dead" and server in handle["started"]:
            return _failed(handle, f"variant {variant}: its server ended before it was ready.\n{seen['tail']}")
        if seen["state"] in ("absent", "dead"):
            after = {**handle, "started": [*handle["started"], server]}
            message = f"starting the server of variant {variant}"
            return Decision(Progress(after, "again", message=message), Effect("start", variant))
        if seen["state"] == "starting":
            limit = handle["configs"][variant]["startup_timeout_seconds"]
            if seen["age"] > limit:
                return _failed(handle, f"variant {variant}: its server was not ready in {limit:g} s.\n{seen['tail']}")
            waiting.append(f"variant {variant} loads its model since {seen['age']:.0f} s")
    if waiting:
        return Decision(Progress(handle, "again", again_in=pace.look, message="; ".join(waiting)))
    return _switch(handle, facts)


def _switch(handle: Handle, facts: JSON) -> Decision:
    route = route_of(handle, facts)
    effect = None if _published(handle, facts, route) else Effect("publish")
    after = {**handle, "published": True}
    if _unwanted(handle, facts):
        progress = Progress(after, "again", "clean", message="traffic switched", route=route)
    else:
        progress = Progress(after, "done", "clean", message=_serving(handle), route=route)
    return Decision(progress, effect)


def _clean(handle: Handle, facts: JSON, pace: Pace) -> Decision:
    """The route is on record by now, since this handle is: the draining time starts here and not with the switch."""
    route = facts["serves"]["route"] if facts["serves"] else None
    unwanted = _unwanted(handle, facts)
    if unwanted and handle["drained_at"] is None:
        after = {**handle, "drained_at": facts["at"] + pace.drain}
        message = f"draining the old servers for {pace.drain:g} s"
        return Decision(Progress(after, "again", "clean", again_in=pace.drain, message=message, route=route))
    if unwanted and facts["at"] < handle["drained_at"]:
        rest = handle["drained_at"] - facts["at"]
        return Decision(Progress(handle, "again", "clean", again_in=rest, message="draining", route=route))
    retiring = _retire(handle, facts, unwanted, pace, "clean", route)
    if retiring is not None:
        return retiring
    left = _left(handle, facts)
    for variant, server in handle["servers"].items():
        seen = facts["servers"].get(server, {"state": "absent"})
        if seen["state"] in ("absent", "dead"):
            message = f"variant {variant}: its server ended after the switch.\n{seen.get('tail', '')}".rstrip()
            return Decision(Progress(handle, "failed", "clean", message=message, leftovers=left, route=route))
    return Decision(Progress(handle, "done", "clean", message=_serving(handle), leftovers=left, route=route))


def _back(handle: Handle, facts: JSON, pace: Pace) -> Decision:
    serves = facts["serves"]
    if _landed(handle, facts):
        return _too_late(handle, facts)
    kept = set(serves["servers"].values()) if serves else set()
    made = [server for server in handle["servers"].values() if server in facts["servers"] and server not in kept]
    retiring = _retire(handle, facts, made, pace, "prepare", None)
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


def _delete(handle: Handle, facts: JSON, toward: Toward, pace: Pace) -> Decision:
    if facts["serves"] is not None:
        if toward == "back":
            return Decision(Progress(handle, "done", message="not begun", route=facts["serves"]["route"]))
        return Decision(Progress(handle, "again", "switch", message="withdrawn"), Effect("withdraw"))
    retiring = _retire(handle, facts, list(facts["servers"]), pace, "clean", None)
    if retiring is not None:
        return retiring
    outcome: Outcome = "done" if toward == "forward" else "landed"
    progress = Progress(handle, outcome, "clean", message="deleted", leftovers=_left(handle, facts))
    return Decision(progress, Effect("close") if facts["folder"] and not facts["servers"] else None)


def _retire(
    handle: Handle, facts: JSON, servers: Iterable[str], pace: Pace, phase: Phase, route: JSON | None
) -> Decision | None:
    """Ask all of them to stop, remove the stopped, kill those that do not stop in time; None once none is left."""
    alive = [server for server in servers if facts["servers"][server]["state"] in ("starting", "ready")]
    gone = [server for server in servers if server not in alive]

    def then(effect: Effect, after: Handle, message: str) -> Decision:
        return Decision(Progress(after, "again", phase, message=message, route=route), effect)

    for server in alive:
        if server not in handle["terminated"]:
            after = {**handle, "terminated": {**handle["terminated"], server: facts["at"]}}
            return then(Effect("terminate", server), after, f"stopping server {server}")
    for server in gone:
        return then(Effect("remove", server), handle, f"removing server {server}")
    for server in alive:
        if server not in handle["killed"] and facts["at"] - handle["terminated"][server] >= pace.stop:
            after = {**handle, "killed": {**handle["killed"], server: facts["at"]}}
            return then(Effect("kill", server), after, f"server {server} did not stop in {pace.stop:g} s: killed")
    stopping = [server for server in alive if not _given_up(handle, facts, server)]
    if not stopping:
        return None
    message = f"{len(stopping)} stopping; predictions in flight are finished"
    return Decision(Progress(handle, "again", phase, again_in=pace.look, message=message, route=route))


def _given_up(handle: Handle, facts: JSON, server: str) -> bool:
    return server in handle["killed"] and facts["at"] - handle["killed"][server] >= KILL_SECONDS


def _left(handle: Handle, facts: JSON) -> tuple[Leftover, ...]:
    return tuple(
        Leftover("server", server, f"process {facts['servers'][server]['pid']} did not end after it was killed")
        for server in handle["killed"]
        if server in facts["servers"]
    )


def _unwanted(handle: Handle, facts: JSON) -> list[str]:
    return [server for server in facts["servers"] if server not in handle["servers"].values()]


def _published(handle: Handle, facts: JSON, route: JSON) -> bool:
    serves = facts["serves"]
    return serves is not None and serves["content"] == handle["content"] and serves["route"] == route


def _landed(handle: Handle, facts: JSON) -> bool:
    """It serves, whether or not the step that published it is remembered.

    The same revision asked for again, whose restart failed, bears the same content: its servers tell.
    """
    serves = facts["serves"]
    if serves is None or serves["content"] != handle["content"]:
        return False
    return handle["published"] or (_all_ready(handle, facts) and serves["route"] == route_of(handle, facts))


def _all_ready(handle: Handle, facts: JSON) -> bool:
    return all(facts["servers"].get(server, {}).get("state") == "ready" for server in handle["servers"].values())


def _failed(handle: Handle, message: str) -> Decision:
    return Decision(Progress(handle, "failed", message=message.rstrip()))


def _serving(handle: Handle) -> str:
    traffic = handle["desired"]["traffic"]
    return "serving " + ", ".join(f"{variant} {traffic.get(variant, 0)} %" for variant in handle["servers"])
