"""The next step of a change, decided from its handle and what was seen; nothing here calls the workspace.

Forward: create, or replace the config unless it serves or is on its way, wait until it serves, then the settings of the
whole endpoint one by one, and last the tag that remembers them. Back: the same towards what was before, or a delete
where nothing was. Landed is: not updating, ready, and the entities asked for with the traffic asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adapters.contract import JSON, Conflict, Handle, Progress, Toward
from adapters.databricks.goals import carries, marks, variants_of
from adapters.databricks.settings import Effect, next_setting, refuse_fixed
from adapters.databricks.things import BROKEN, GAVE_UP, UPDATING, carried, owner

# Reads may miss a thing for a moment: so many in a row are believed
ABSENT_LOOKS = 2
# ... and so many where an accepted write, of this change or the last, says otherwise
LATE_LOOKS = 5


@dataclass(frozen=True)
class Decision:
    """What to write, if anything; without a write, ``progress`` is what the step came to."""

    progress: Progress
    effect: Effect | None = None


def decide(handle: Handle, facts: JSON, toward: Toward, look_seconds: float) -> Decision:
    """The next step; the same handle and facts give the same decision.

    Raises Conflict where the endpoint is not ours, Permanent where it would have to change what it cannot.
    """
    if handle["toward"] != toward:
        handle = {**handle, "toward": toward, "absent": 0, "late": 0}
    case = _Case(handle, facts["thing"], toward, look_seconds)
    if handle["adopt"]:
        return case.adopt()
    if case.thing is not None and not case.is_ours:
        if toward == "back":
            return case.end("done", "nothing of it is there")
        raise Conflict(f"an endpoint {handle['name']} exists in the workspace and is not ours")
    if handle["desired"] is None:
        return case.delete()
    return case.forward() if toward == "forward" else case.back()


def needs_whole(handle: Handle, facts: JSON) -> bool:
    """Whether the list's entry does not tell enough; of an update that is known to be under way it does."""
    sent = handle["sent"]
    return not (facts["update"] == UPDATING and sent is not None and sent["toward"] == handle["toward"])


def accepted(handle: Handle, effect: Effect, shown: JSON | None) -> Handle:
    """The handle once the workspace took the write."""
    handle = {**handle, "absent": 0, "late": 0}
    if effect.verb == "delete":
        return {**handle, "deleted": True}
    if effect.verb in ("create", "configure"):
        at = shown["changed_at"] if shown else None
        handle["sent"] = {"toward": handle["toward"], "at": at}
    made = {**handle["made"]}
    made[handle["toward"]] = [*made[handle["toward"]], "auto_capture" if effect.verb == "configure" else effect.verb]
    return {**handle, "made": made}


@dataclass(frozen=True)
class _Case:
    handle: Handle
    thing: JSON | None
    toward: Toward
    look_seconds: float

    @property
    def there(self) -> JSON:
        """The endpoint, for what is asked only where there is one."""
        return self.thing or {}

    @property
    def is_ours(self) -> bool:
        return self.thing is not None and owner(self.thing) == (self.handle["installation"], self.handle["uid"])

    def forward(self) -> Decision:
        goal = self.handle["desired"]
        if self.thing is None:
            if self._sent() and self.handle["late"] < LATE_LOOKS:
                return self._later("accepted; the workspace does not show it yet")
            return self._write(Effect("create", goal))
        if not self._is_updating() and not self._lags():
            refuse_fixed(self.handle, self.there, goal)
        return self._bring(goal, self.handle["previous"])

    def back(self) -> Decision:
        goal, before = self.handle["desired"], self.handle["previous"]
        if self.thing is None:
            if not self._is_gone():
                return self._absent_again()
            return self._write(Effect("create", before)) if before else self.end("done", "nothing of it is left")
        differs = before is None or before["content"] != goal["content"]
        if differs and not self.handle["undoing"] and self._is_complete(goal):
            return self._serving(goal, "landed")
        if before is None:
            return self._remove()
        return self._bring(before, goal)

    def delete(self) -> Decision:
        deleted = self.handle["deleted"]
        if self.thing is None:
            if not self._is_gone():
                return self._absent_again()
            return self.end("done" if self.toward == "forward" else "landed", "deleted", phase="clean")
        if self.toward == "back" and not deleted:
            goal = self.handle["previous"]
            route = _route(self.handle, goal, self.thing) if goal and self.thing["whole"] else None
            return Decision(Progress(self.handle, "done", message="not begun", route=route))
        return self._remove()

    def adopt(self) -> Decision:
        """Mark as ours what has no owner. Its way back does nothing: it was there before."""
        goal = self.handle["desired"]
        if self.toward == "back":
            return self.end("done", "left as it was found")
        if self.thing is None:
            return self.end("failed", "it is not there any more") if self._is_gone() else self._absent_again()
        if not self.is_ours and owner(self.thing) is not None:
            raise Conflict(f"an endpoint {self.handle['name']} exists in the workspace and has another owner")
        if self.is_ours and self._carries(goal):
            return self._serving(goal, "done", "adopted")
        if self._is_updating():
            return self._wait(self.handle)
        mark = marks(self.handle["installation"], self.handle["uid"], goal["frame"])
        mark["modelport_adopted"] = f"{carries(self.there['rows'])}.{goal['carries']}"
        return self._write(Effect("tags", goal, {"add": mark, "delete": []}))

    def end(
        self,
        outcome: Literal["done", "failed", "landed"],
        message: str,
        phase: Literal["prepare", "switch", "clean"] = "switch",
    ) -> Decision:
        return Decision(Progress(self.handle, outcome, phase, message=message))

    def _bring(self, goal: JSON, other: JSON | None) -> Decision:
        """Towards this goal; ``other`` is what it takes the place of, as far as that is known."""
        if self._is_updating():
            # what lands while it is waited for on the way back is taken back all the same
            return self._wait({**self._recognised(goal), "undoing": self.toward == "back"})
        if self._lags():
            return self._later("accepted; the workspace does not show it yet", self._recognised(goal))
        if self._carries(goal):
            if not self.there["ready"]:
                broken = self._broken(self.there["states"])
                return self.end("failed", broken) if broken else self._wait(self.handle)
            effect = next_setting(self.handle, self.there, goal, other)
            if effect is not None:
                return self._write(effect)
            outcome: Literal["done", "landed"] = "done"
            return (
                self._serving(goal, outcome) if self.toward == "forward" else self.end("done", "what was before serves")
            )
        sent = self.handle["sent"]
        if sent is not None and sent["toward"] == self.toward:
            return self.end("failed", self._failure())
        return self._write(Effect("configure", goal))

    def _remove(self) -> Decision:
        if self.handle["deleted"] and self.handle["late"] < LATE_LOOKS:
            return self._later("deleted; the workspace still shows it")
        return self._write(Effect("delete"))

    def _is_complete(self, goal: JSON) -> bool:
        if self.thing is None or self._is_updating() or self._lags() or not self.there["ready"]:
            return False
        return self._carries(goal) and self.there["tags"].get("modelport_content") == goal["frame"]

    def _carries(self, goal: JSON) -> bool:
        """Whether the config in force is this one. What an update that failed left pending does not serve."""
        return bool(carried(self.there, self.there["rows"]) == goal["carries"])

    def _is_updating(self) -> bool:
        return self.thing is not None and self.there["update"] == UPDATING

    def _sent(self) -> bool:
        return self.handle["sent"] is not None

    def _is_gone(self) -> bool:
        """Whether that it is not seen is believed: not at once where it may be a read that misses it."""
        known = self._sent() or self.handle["placed_at"] is not None
        return bool(self.handle["deleted"] or self.handle["absent"] + 1 >= (LATE_LOOKS if known else ABSENT_LOOKS))

    def _lags(self) -> bool:
        """Whether what is seen is from before an accepted write."""
        at = self.handle["sent"]["at"] if self._sent() else self.handle["placed_at"]
        if self.thing is None or at is None or self.thing["changed_at"] is None or self.handle["late"] >= LATE_LOOKS:
            return False
        return bool(self.thing["changed_at"] < at)

    def _recognised(self, goal: JSON) -> Handle:
        """Remember that the change was seen under way: settled later, it has ended and not merely not begun."""
        sent = self.handle["sent"]
        if not self.there["whole"] or (sent is not None and sent["toward"] == self.toward):
            return self.handle
        if self.there["pending"] is None or carries(self.there["pending"]) != goal["carries"]:
            return self.handle
        return {**self.handle, "sent": {"toward": self.toward, "at": self.there["changed_at"]}}

    def _failure(self) -> str:
        """Why the accepted change ended without serving, in the workspace's words."""
        if self.there["update"] not in GAVE_UP:
            return "the endpoint was changed by somebody else meanwhile"
        said = self._broken(self.there["pending_states"]) or "the workspace did not say why"
        log = self.there["log"]
        return f"{self.there['update']}: {said}" + (f"\nThe end of the build log:\n{log}" if log else "")

    def _broken(self, states: dict[str, list[str]]) -> str:
        told = [f"{name}: {state} {words}".strip() for name, (state, words) in states.items() if state in BROKEN]
        return "; ".join(told)

    def _write(self, effect: Effect) -> Decision:
        phase: Literal["switch"] = "switch"
        return Decision(Progress(self.handle, "again", phase), effect)

    def _wait(self, handle: Handle) -> Decision:
        states = self.there["pending_states"] or self.there["states"] if self.there["whole"] else {}
        words = [f"{name}: {told}" for name, (_, told) in states.items() if told]
        doing = "the update is under way" if self._is_updating() else "waits until it is ready"
        message = "; ".join([doing, *words])
        return Decision(Progress(handle, "again", "switch", again_in=self.look_seconds, message=message))

    def _later(self, message: str, handle: Handle | None = None) -> Decision:
        handle = handle or self.handle
        late = {**handle, "late": handle["late"] + 1}
        return Decision(Progress(late, "again", "switch", again_in=self.look_seconds, message=message))

    def _absent_again(self) -> Decision:
        """Look once more before an absence is believed."""
        once = {**self.handle, "absent": self.handle["absent"] + 1}
        return Decision(Progress(once, "again", "switch", again_in=self.look_seconds, message="it is not to be seen"))

    def _serving(self, goal: JSON, outcome: Literal["done", "landed"], message: str | None = None) -> Decision:
        traffic = goal["spec"]["traffic"]
        message = message or "serving " + ", ".join(f"{variant} {share} %" for variant, share in traffic.items())
        route = _route(self.handle, goal, self.thing)
        return Decision(Progress(self.handle, outcome, "clean", message=message, route=route))


def _route(handle: Handle, goal: JSON, thing: JSON | None) -> JSON:
    """Where predictions go: the endpoint, by variant its served entity, and the address of a route-optimised one."""
    shown = [line[0] for line in thing["rows"]] if thing else []
    ours = set(goal["names"].values()) == set(shown)
    names = goal["names"] if ours else variants_of(shown)
    route = {"name": handle["name"], "entities": names}
    return route | ({"data_plane": thing["data_plane"]} if thing and thing["data_plane"] else {})
