"""The next step of a change, decided from its handle and what was seen; nothing here calls the platform.

Forward: PUT what is wanted, unless it serves or is on its way, then wait until it serves. Back: PUT what was before, or
DELETE where nothing was. What is settled and serves what was wanted has landed and is not taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adapters.contract import JSON, Conflict, Handle, Progress, Toward
from adapters.http.platform import ABSENT


@dataclass(frozen=True)
class Effect:
    """The one write of a step. ``base`` is the ETag that it builds on."""

    verb: Literal["put", "delete", "adopt"]
    base: str
    goal: JSON | None = None


@dataclass(frozen=True)
class Decision:
    """What to write, if anything; without a write, ``progress`` is what the step came to."""

    progress: Progress
    effect: Effect | None = None


def decide(handle: Handle, facts: JSON, toward: Toward, look_seconds: float) -> Decision:
    """The next step; the same handle and facts give the same decision. Raises Conflict where the thing is not ours."""
    handle = {**handle, "toward": toward}
    thing = facts["thing"]
    if handle["adopt"]:
        return _adopt(handle, thing, toward)
    if thing is not None and not _ours(handle, thing):
        if toward == "back":
            return Decision(Progress(handle, "done", message="nothing of it is there"))
        raise Conflict(f"a deployment {handle['name']} exists on the platform and is not ours")
    case = _Case(handle, thing, facts["operation"], toward, look_seconds)
    if handle["desired"] is None:
        return case.delete()
    return case.forward() if toward == "forward" else case.back()


def raises_fence(handle: Handle, facts: JSON, decision: Decision, floor: int) -> Effect | None:
    """The equal write that must come before a conclusion after a takeover; None where none must.

    It changes nothing but the fence that the platform has seen, so that a late call of the lost worker is refused.
    """
    if decision.effect is not None or decision.progress.outcome not in ("done", "landed", "failed"):
        return None
    thing = facts["thing"]
    if handle.get("fenced", 0) >= floor or (thing is not None and not _ours(handle, thing)):
        return None
    if thing is None:
        return Effect("delete", ABSENT)
    known = (goal for goal in (handle["desired"], handle["previous"]) if goal and _serves(thing, goal))
    goal = next(known, None)
    return Effect("put", thing["etag"], goal) if goal else None


def asks_operation(handle: Handle, thing: JSON | None) -> bool:
    """Whether only the accepted operation itself can tell how it ended, since the deployment's document does not."""
    known = handle["accepted"]
    if known is None or known["location"] is None:
        return False
    goal = _goal({**handle, "toward": known["toward"]})
    if thing is None:
        return goal is not None
    shown = thing["operation"]
    if shown is not None and (shown["status"] == "running" or shown["id"] == known["operation"]):
        return False
    return goal is None or not _serves(thing, goal)


def accepted(handle: Handle, base: str, operation: JSON | None, location: str | None, wait: float | None) -> Handle:
    """The handle once the platform took a write that built on ``base``."""
    record = {
        "toward": handle["toward"],
        "base": base,
        "operation": operation["id"] if operation else None,
        "location": location,
        "look_seconds": wait,
    }
    return {**handle, "accepted": record, "busy": None}


@dataclass(frozen=True)
class _Case:
    handle: Handle
    thing: JSON | None
    operation: JSON | None
    toward: Toward
    look_seconds: float

    def forward(self) -> Decision:
        wanted = self.handle["desired"]
        if _serves(self.thing, wanted):
            return self._serving()
        if self._brings(wanted["content"]):
            return self._wait(self._adopted())
        if self._lags("forward"):
            return self._wait(self.handle, "accepted; the platform does not show it yet")
        failure = self._failure()
        if failure is not None:
            return self._end("failed", failure)
        return self._put(wanted)

    def back(self) -> Decision:
        wanted, before = self.handle["desired"], self.handle["previous"]
        if self._lags("forward"):
            return self._wait(self.handle, "waiting for the platform to show the change that is taken back")
        if before is None and self.thing is None and self._removed():
            return self._end("done", "nothing of it is left")
        if before is not None and _serves(self.thing, before):
            return self._end("done", "the revision before serves")
        if self._brings(before["content"] if before else None):
            return self._wait(self._adopted())
        if self._lags("back"):
            return self._wait(self.handle, "accepted; the platform does not show it yet")
        if _serves(self.thing, wanted):
            progress = self._serving().progress
            return Decision(
                Progress(progress.handle, "landed", "clean", message=progress.message, route=progress.route)
            )
        failure = self._failure()
        if failure is not None:
            return self._end("failed", failure)
        return self._remove() if before is None else self._put(before)

    def delete(self) -> Decision:
        if self.thing is None and (self._removed() or self.toward == "back"):
            outcome: Literal["done", "landed"] = "done" if self.toward == "forward" else "landed"
            return Decision(Progress(self.handle, outcome, "clean", message="deleted"))
        if self._brings(None):
            return self._wait(self._adopted())
        if self.toward == "back" and self.handle["accepted"] is None:
            return Decision(Progress(self.handle, "done", message="not begun", route=_route(self.handle)))
        if self._lags("forward"):
            return self._wait(self.handle, "accepted; the platform does not show it yet")
        failure = self._failure()
        if failure is not None:
            return self._end("failed", failure)
        return self._remove()

    def _running(self) -> JSON | None:
        operation: JSON | None = self.thing["operation"] if self.thing else None
        return operation if operation and operation["status"] == "running" else None

    def _brings(self, content: str | None) -> bool:
        """Whether this is on its way: begun by us, by an earlier attempt whose answer was lost, all the same."""
        running = self._running()
        return running is not None and running["content"] == content

    def _adopted(self) -> Handle:
        """Remember that the change was seen under way: settled later, it has ended and not merely not begun."""
        running, known = self._running(), self.handle["accepted"]
        if known is not None and known["toward"] == self.toward and running and known["operation"] == running["id"]:
            return self.handle
        return accepted(self.handle, "unknown", running, running["location"] if running else None, None)

    def _lags(self, toward: Toward) -> bool:
        """Whether what is seen is from before an accepted write: reads may come late, or miss a thing for a moment."""
        known = self.handle["accepted"]
        if known is None or known["toward"] != toward or self._running() is not None:
            return False
        old = self.thing is None or self.thing["etag"] == known["base"]
        return old and self.operation is not None and self.operation["status"] != "failed"

    def _failure(self) -> str | None:
        """Why the accepted change ended without serving, in the platform's words; None where none has ended."""
        known = self.handle["accepted"]
        if known is None or known["toward"] != self.toward or self._running() is not None:
            return None
        shown = self.thing["operation"] if self.thing else None
        told = shown if shown and shown["id"] == known["operation"] else self.operation
        if told is not None and told["status"] == "failed":
            return told["message"] or "the platform gave up and did not say why"
        if self.thing is None or self.thing["etag"] == known["base"]:
            return None  # it forgot the write: nothing has failed, it is asked again
        if told is None or self.thing["status"] == "failed":
            return self.thing["message"] or "it ended without serving and the platform did not say why"
        return "the deployment was changed by somebody else meanwhile"

    def _put(self, goal: JSON) -> Decision:
        return self._write(Effect("put", self.thing["etag"] if self.thing else ABSENT, goal))

    def _remove(self) -> Decision:
        """Also where nothing is seen, since a read may miss it, and so that a late create finds the fence."""
        return self._write(Effect("delete", self.thing["etag"] if self.thing else ABSENT))

    def _removed(self) -> bool:
        known = self.handle["accepted"]
        return known is not None and known["toward"] == self.toward

    def _write(self, effect: Effect) -> Decision:
        running = self._running()
        if running is not None and self.handle["busy"] == effect.base:
            return self._wait(self.handle, f"waits for the operation under way: {running['message']}")
        return Decision(Progress(self.handle, "again", "switch"), effect)

    def _wait(self, handle: Handle, message: str = "") -> Decision:
        running = self._running()
        message = message or (running["message"] if running else "") or "under way"
        known = handle["accepted"]
        seconds = (known["look_seconds"] if known else None) or self.look_seconds
        return Decision(Progress(handle, "again", "switch", again_in=seconds, message=message))

    def _serving(self) -> Decision:
        traffic = self.handle["desired"]["spec"]["traffic"]
        message = "serving " + ", ".join(f"{variant} {share} %" for variant, share in traffic.items())
        return Decision(Progress(self.handle, "done", "clean", message=message, route=_route(self.handle)))

    def _end(self, outcome: Literal["done", "failed"], message: str) -> Decision:
        return Decision(Progress(self.handle, outcome, "switch", message=message))


def _goal(handle: Handle) -> JSON | None:
    goal: JSON | None = handle["desired" if handle["toward"] == "forward" else "previous"]
    return goal


def _adopt(handle: Handle, thing: JSON | None, toward: Toward) -> Decision:
    """Mark as ours what has no owner. Its way back does nothing: it was there before."""
    if toward == "back":
        return Decision(Progress(handle, "done", "switch", message="left as it was found"))
    if thing is None:
        return Decision(Progress(handle, "failed", "switch", message="it is not there any more"))
    if _ours(handle, thing):
        return Decision(Progress(handle, "done", "clean", message="adopted", route=_route(handle)))
    if thing["owner"] is not None:
        raise Conflict(f"a deployment {handle['name']} exists on the platform and has another owner")
    return Decision(Progress(handle, "again", "switch"), Effect("adopt", thing["etag"], handle["desired"]))


def _serves(thing: JSON | None, goal: JSON) -> bool:
    """Settled and serving this content: ready alone is not enough, what was there before may be ready too."""
    if thing is None or thing["status"] != "serving" or thing["content"] != goal["content"]:
        return False
    return thing["operation"] is None or thing["operation"]["status"] != "running"


def _ours(handle: Handle, thing: JSON) -> bool:
    return bool(thing["owner"] == {"installation": handle["installation"], "uid": handle["uid"]})


def _route(handle: Handle) -> JSON:
    return {"name": handle["name"]}
