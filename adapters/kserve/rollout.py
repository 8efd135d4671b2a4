"""The next step of a change, decided from its handle and what was seen; nothing here calls the cluster.

Forward: apply the next shape on the way unless it is there, wait until it is in force, until the goal serves. Back: the
same towards what was before, or a delete where nothing was. Landed is: the goal is what is asked for, the children were
made from just that and run, and the routes give the shares that were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adapters.contract import JSON, Conflict, Handle, Progress, Toward
from adapters.kserve.decisions import Decision, Effect, Pace, route_of
from adapters.kserve.manifests import known, refuse_another_mode
from adapters.kserve.shapes import Shape, following, frames, list_of, needed, serves, shape_of

# Reads may miss a thing for a moment: so many in a row are believed
ABSENT_LOOKS = 2
# ... and so many where an accepted write says otherwise
LATE_LOOKS = 5


def decide(handle: Handle, facts: JSON, toward: Toward, pace: Pace) -> Decision:
    """The next step; the same handle and facts give the same decision.

    Raises Conflict where the InferenceService is not ours, Permanent where it would have to change what it cannot.
    """
    if handle["toward"] != toward:
        handle = {**handle, "toward": toward, "absent": 0, "late": 0, "stalled": 0}
    case = _Case(handle, facts["thing"], toward, pace)
    if handle["adopt"]:
        return case.adopt()
    if case.thing is not None and not case.is_ours:
        if toward == "back":
            return case.end("done", "nothing of it is there")
        raise Conflict(f"an InferenceService {handle['name']} exists in the namespace and is not ours")
    if handle["desired"] is None:
        return case.delete()
    return case.forward() if toward == "forward" else case.back()


@dataclass(frozen=True)
class _Case:
    handle: Handle
    thing: JSON | None
    toward: Toward
    pace: Pace

    @property
    def there(self) -> JSON:
        """The InferenceService, for what is asked only where there is one."""
        return self.thing or {}

    @property
    def is_ours(self) -> bool:
        return self.thing is not None and self.thing["owner"] == [self.handle["installation"], self.handle["uid"]]

    def forward(self) -> Decision:
        goal = self.handle["desired"]
        if self.thing is None:
            if self.handle["sent"] and self.handle["late"] < LATE_LOOKS:
                return self._later("accepted; the API server does not show it yet")
            if (self.handle["previous"] or self.handle["placed"]) and not self._is_gone():
                # an apply where there is one after all would take its canary away
                return self._absent_again()
            return self._write(Effect("apply", goal, self._first(goal)))
        return self._bring(goal)

    def back(self) -> Decision:
        goal, before = self.handle["desired"], self.handle["previous"]
        if self.thing is None:
            if not self._is_gone():
                return self._absent_again()
            if before is None:
                return self.end("done", "nothing of it is left")
            return self._write(Effect("apply", before, self._first(before)))
        differs = before is None or before["content"] != goal["content"]
        if differs and not self.handle["undoing"] and self._is_complete(goal):
            return self._serving(goal, "landed")
        if before is not None:
            return self._bring(before)
        if not self._is_of(goal):
            # nobody knows what was before, and this is nothing that the change made, unless it is a read from before
            if self.handle["absent"] + 1 < LATE_LOOKS:
                return self._absent_again()
            return self.end("done", "left as it was found")
        return self._remove()

    def delete(self) -> Decision:
        if self.thing is None:
            if not self._is_gone():
                return self._absent_again()
            return self.end("done" if self.toward == "forward" else "landed", "deleted", phase="clean")
        if self.toward == "back" and not self.handle["deleted"] and not self.there["deleting"]:
            route = route_of(self.handle, self.handle["previous"], self.there) if self.handle["previous"] else None
            return Decision(Progress(self.handle, "done", message="not begun", route=route))
        return self._remove()

    def adopt(self) -> Decision:
        """Mark as ours what has no owner. Its way back does nothing: it was there before."""
        goal = self.handle["desired"]
        if self.toward == "back":
            return self.end("done", "left as it was found")
        if self.thing is None:
            return self.end("failed", "it is not there any more") if self._is_gone() else self._absent_again()
        if not self.is_ours and self.there["owner"] is not None:
            raise Conflict(f"an InferenceService {self.handle['name']} exists in the namespace and has another owner")
        if not self.is_ours:
            return self._write(Effect("adopt", goal))
        if self._lags() or not self._is_in_force():
            return self._wait("marked as ours; its pods are replaced one by one")
        return self._serving(goal, "done", "adopted")

    def end(
        self,
        outcome: Literal["done", "failed", "landed"],
        message: str,
        phase: Literal["prepare", "switch", "clean"] = "switch",
    ) -> Decision:
        return Decision(Progress(self.handle, outcome, phase, message=message))

    def _bring(self, goal: JSON) -> Decision:
        if self.there["deleting"]:
            return self._wait("waits until the one before is gone")
        if self._lags():
            return self._later("accepted; the API server does not show it yet")
        refuse_another_mode(self.handle, goal, self.there)
        if serves(self.there, goal) and self._is_in_force():
            if self.toward == "forward":
                return self._serving(goal, "done")
            return Decision(Progress(self._concluded(), "done", "switch", message="what was before serves"))
        shape = shape_of(self.there) if serves(self.there, goal) else self._feasible(following(self.there, goal), goal)
        if shape != shape_of(self.there) or not (self.there["adopted"] or frames(self.there, goal)):
            if self._is_reverted():
                return self.end("failed", "the InferenceService was put back by somebody else meanwhile")
            return self._write(Effect("apply", goal, shape))
        failure = self._failure()
        if failure is not None:
            return self.end("failed", failure)
        if self._is_stalled():
            stalled = {**self.handle, "stalled": self.handle["stalled"] + 1}
            if stalled["stalled"] >= self.pace.stalled_looks:
                return self.end("failed", self._no_split())
            return self._wait("both are ready; waits until the routes split", stalled)
        return self._wait()

    def _feasible(self, shape: Shape, goal: JSON) -> Shape:
        """The shape, or the plain first one where what is there is nothing that anybody could ask for again."""
        if needed(shape, self.there["mode"]) <= known(self.handle).keys():
            return shape
        first = self._first(goal)
        return Shape(first.base, base_slot=self.there["base_slot"])

    def _first(self, goal: JSON) -> Shape:
        traffic = goal["spec"]["traffic"]
        name = max(goal["digests"], key=lambda each: int(traffic.get(each, 0)))
        return Shape((name, goal["digests"][name]))

    def _remove(self) -> Decision:
        if self.there["deleting"]:
            return self._wait("is being deleted", {**self.handle, "deleted": True})
        if self.handle["deleted"] and self.handle["late"] < LATE_LOOKS:
            return self._later("deleted; the API server still shows it")
        return self._write(Effect("delete"))

    def _is_of(self, goal: JSON) -> bool:
        """Whether this change made what is there, as far as can be told."""
        if self.handle["sent"] or self.handle["deleted"] or self.there["deleting"]:
            return True
        wanted = [[name, told] for name, told in goal["digests"].items()]
        return self.there["base"] in wanted or self.there["side"] in wanted

    def _is_complete(self, goal: JSON) -> bool:
        if self.thing is None or self.there["deleting"] or self._lags():
            return False
        return serves(self.there, goal) and self._is_in_force()

    def _is_in_force(self) -> bool:
        return bool(self.there["settled"] and self.there["ready"])

    def _is_reverted(self) -> bool:
        """Whether somebody undid our write: it asks again for what it asked for before."""
        sent = self.handle["sent"]
        if sent is None or sent["toward"] != self.toward or sent["uid"] != self.there["uid"]:
            return False
        later = self.there["generation"] > sent["generation"]
        return bool(later and sent["before"] == list_of(shape_of(self.there)))

    def _is_stalled(self) -> bool:
        """Whether all runs, and only the routes do not give the share that is asked for."""
        there = self.there
        if there["mode"] != "Standard" or there["side"] is None:
            return False
        if not (there["base_ready"] and there["side_ready"] and there["ready"]):
            return False
        return bool(there["actual"] != (there["share"] or 0))

    def _no_split(self) -> str:
        share, actual = self.there["share"], self.there["actual"]
        return (
            f"the cluster does not split traffic: {share} % were asked for and the routes give {actual} %. In Standard "
            "mode a split needs a KServe that writes weights into HTTPRoutes (newer than 0.20.0) and the Gateway API"
        )

    def _failure(self) -> str | None:
        """Why what is asked for does not come up; None while it may. What was told before our write is not believed."""
        told, sent = self.there["failure"], self.handle["sent"]
        if not told:
            return None
        fresh = sent is None or sent["mark"] is None or sent["mark"] != self.there["mark"]
        if fresh and not (self.there["invalid"] and sent is None):
            return str(told)
        return str(told) if self.handle["late"] >= LATE_LOOKS else None

    def _is_gone(self) -> bool:
        """Whether that it is not seen is believed: not at once where it may be a read that misses it."""
        needed = LATE_LOOKS if self.handle["sent"] or self.handle["placed"] else ABSENT_LOOKS
        return bool(self.handle["deleted"] or self.handle["absent"] + 1 >= needed)

    def _lags(self) -> bool:
        """Whether what is seen is from before an accepted write, of this change or the last."""
        known_writes = [each for each in (self.handle["sent"], self.handle["placed"]) if each]
        if self.thing is None or self.handle["late"] >= LATE_LOOKS:
            return False
        return any(
            each["uid"] == self.thing["uid"] and self.thing["generation"] < each["generation"] for each in known_writes
        )

    def _write(self, effect: Effect) -> Decision:
        undoing = self.handle["undoing"] or self.toward == "back"
        return Decision(Progress({**self.handle, "undoing": undoing}, "again", "switch"), effect)

    def _wait(self, message: str = "", handle: Handle | None = None) -> Decision:
        handle = handle or self.handle
        if self.there.get("failure") and handle["late"] < LATE_LOOKS:
            handle = {**handle, "late": handle["late"] + 1}
        words = self.there.get("words") or ""
        told = message or "; ".join(filter(None, ("waits until it is ready", words)))
        return Decision(Progress(handle, "again", "switch", again_in=self.pace.look_seconds, message=told))

    def _later(self, message: str) -> Decision:
        late = {**self.handle, "late": self.handle["late"] + 1}
        return Decision(Progress(late, "again", "switch", again_in=self.pace.look_seconds, message=message))

    def _absent_again(self) -> Decision:
        """Look once more before an absence is believed."""
        once = {**self.handle, "absent": self.handle["absent"] + 1}
        message = "it is not to be seen"
        return Decision(Progress(once, "again", "switch", again_in=self.pace.look_seconds, message=message))

    def _serving(self, goal: JSON, outcome: Literal["done", "landed"], message: str | None = None) -> Decision:
        handle = self._concluded()
        traffic = goal["spec"]["traffic"]
        message = message or "serving " + ", ".join(f"{variant} {share} %" for variant, share in traffic.items())
        route = route_of(self.handle, goal, self.there)
        return Decision(Progress(handle, outcome, "clean", message=message, route=route))

    def _concluded(self) -> Handle:
        """The handle with what was concluded from: what the next change sees of before that is stale."""
        return {**self.handle, "seen": {key: self.there[key] for key in ("uid", "generation")}}
