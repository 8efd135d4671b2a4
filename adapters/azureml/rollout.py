"""The next step of a change, decided from its handle and what was seen; nothing here calls the workspace.

Forward: the endpoint, the models that are to be registered, each new deployment without traffic, a check of each that
is pinned to it, the traffic with all that belongs to the endpoint in one write, then removal of what served before.
Back, until the traffic has moved: the same towards what was before, or removal where nothing was; once it has moved,
the change has landed and what is left is removed. Landed is: the endpoint settled, with the traffic asked for among
the deployments asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from adapters.azureml.effects import Decision, Effect, Verb, left, turned
from adapters.azureml.goals import shares_of
from adapters.azureml.things import GAVE_UP, GOOD, carried, content, is_busy, owner, route
from adapters.contract import JSON, Conflict, Handle, Leftover, Permanent, Phase, Progress, Toward

# Reads may miss a thing for a moment: so many in a row are believed
ABSENT_LOOKS = 2
# ... and so many where an accepted write, of this change or the last, says otherwise
LATE_LOOKS = 5
DELETE_TRIES = 3


def decide(handle: Handle, facts: JSON, toward: Toward, look_seconds: float) -> Decision:
    """The next step; the same handle and facts give the same decision.

    Raises Conflict where the endpoint is not ours, Permanent where it would have to change what it cannot.
    """
    handle = turned(handle, toward)
    if facts["thing"] is not None and handle["absent"]:
        handle = {**handle, "absent": 0}
    case = _Case(handle, facts, facts["thing"], toward, look_seconds)
    if facts["waiting"]:
        # a switch that is under way when the change turns back is taken back once it has landed
        sent = handle["sent"]
        switching = toward == "back" and (sent["verb"], sent["toward"]) == ("traffic", "forward")
        return case.wait(handle={**handle, "undoing": handle["undoing"] or switching})
    if handle["adopt"]:
        return case.adopt()
    if case.thing is not None and not case.is_ours:
        if toward == "back":
            return case.end("done", "nothing of it is there")
        raise Conflict(f"an endpoint {handle['name']} exists in the workspace and is not ours")
    if handle["desired"] is None:
        return case.delete()
    return case.forward() if toward == "forward" else case.back()


@dataclass(frozen=True)
class _Case:
    handle: Handle
    facts: JSON
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

    @property
    def deployments(self) -> JSON:
        return dict(self.there.get("deployments") or {})

    def forward(self) -> Decision:
        return self._bring(self.handle["desired"], self.handle["previous"])

    def back(self) -> Decision:
        goal, before = self.handle["desired"], self.handle["previous"]
        if self.thing is None and not self._is_gone():
            return self._absent_again()
        if self.thing is not None and self._is_busy():
            return self._interrupt(before)
        if self._hides_what_was_made() and self.handle["late"] < LATE_LOOKS:
            return self._later("accepted; Azure does not show it yet")
        if self._has_landed(goal, before):
            return self._clean(goal, "landed")
        if before is not None:
            return self._bring(before, goal)
        return self._unregister(set(), "done") if self.thing is None else self._remove()

    def delete(self) -> Decision:
        if self.thing is None:
            if not self._is_gone():
                return self._absent_again()
            return self._unregister(set(), "done" if self.toward == "forward" else "landed")
        if self.toward == "back" and not self.handle["deleted"]:
            names = (self.handle["previous"] or {"names": {}})["names"]
            return Decision(Progress(self.handle, "done", message="not begun", route=route(self.there, names)))
        if not self._is_busy():
            return self._remove()
        going = self.there["state"] == "Deleting"
        return self.wait(handle={**self.handle, "deleted": self.handle["deleted"] or going})

    def adopt(self) -> Decision:
        """Mark as ours what has no owner. Its way back does nothing: it was there before."""
        goal = self.handle["desired"]
        if self.toward == "back":
            return self.end("done", "left as it was found")
        if self.thing is None:
            return self.end("failed", "it is not there any more") if self._is_gone() else self._absent_again()
        if not self.is_ours and owner(self.thing) is not None:
            raise Conflict(f"an endpoint {self.handle['name']} exists in the workspace and has another owner")
        if self._is_busy():
            return self.wait()
        if self.is_ours and content(self.thing) == goal["content"]:
            return self._serving(goal, "done", "adopted")
        shown = {name: (each["model"] or "").lower() for name, each in self.deployments.items()}
        asked = {name: body["properties"]["model"].lower() for name, body in goal["bodies"].items()}
        if shown != asked or carried(self.thing) != goal["carries"]:
            return self.end("failed", "it serves something else by now")
        return self._write(Effect("tags", goal=goal), "switch")

    def end(self, outcome: Literal["done", "failed", "landed"], message: str, phase: Phase = "switch") -> Decision:
        return Decision(Progress(self.handle, outcome, phase, message=message))

    def _bring(self, goal: JSON, other: JSON | None) -> Decision:
        """Towards this goal; ``other`` is what it takes the place of, as far as that is known."""
        if self.thing is None:
            return self._make(goal, other)
        if self._is_busy():
            return self.wait(handle=self._recognised(goal))
        failed = self._failure()
        if failed is not None:
            return failed
        self._refuse_fixed(goal)
        if self.there["state"] in GAVE_UP and not all(name in self.deployments for name in goal["bodies"]):
            # nothing can be made in an endpoint that failed before
            return self._write(Effect("repair", goal={"wide": {}}), "prepare")
        for name in goal["register"]:
            if name not in self.handle["registered"] and not self.facts["models"].get(name):
                return self._write(Effect("model", name, goal), "prepare")
        for name in goal["bodies"]:
            missing = self._deploy(name, goal)
            if missing is not None:
                return missing
        if not self._is_as_asked(goal):
            return self._check(goal) or self._switch(goal, other)
        return self._clean(goal, "done")

    def _make(self, goal: JSON, other: JSON | None) -> Decision:
        sent = self.handle["sent"]
        known = self.handle["was_there"] or sent is not None
        # of what was never known to be there, the step looks once more before it writes
        if known and self.handle["absent"] + 1 < LATE_LOOKS:
            return self._absent_again()
        return self._write(Effect("endpoint", goal=goal, other=other), "prepare")

    def _deploy(self, name: str, goal: JSON) -> Decision | None:
        """What is still to be done for this deployment; None where it is there."""
        there = self.deployments.get(name)
        if there is None:
            if self._sent("deployment", name) and self.handle["late"] < LATE_LOOKS:
                return self._later("accepted; Azure does not show it yet")
            return self._write(Effect("deployment", name, goal), "prepare")
        if is_busy(there["state"]):
            words = f"deployment {name} is {there['state'].lower() or 'being made'}"
            return self.wait(words, self._recognised(goal))
        if there["state"] == GOOD:
            return None
        noted: JSON = self.handle["failed"]
        if self._sent("deployment", name) or noted.get(name, there["operation"]) != there["operation"]:
            return self.end("failed", f"deployment {name}: {self._words(there)}", "prepare")
        if name not in noted:
            # of an earlier change, or of this one when its answer was lost: what fails after this is this one's
            handle = {**self.handle, "failed": {**noted, name: there["operation"]}}
            return Decision(Progress(handle, "again", "prepare", message=f"deployment {name} failed before"))
        return self._write(Effect("deployment", name, goal), "prepare")

    def _check(self, goal: JSON) -> Decision | None:
        """Ask what is to get traffic and has none; None where all of it has answered."""
        serving = {name for name, _ in shares_of(self.there["traffic"])}
        for name in goal["bodies"]:
            if self.toward == "forward" and name not in serving and name not in self.handle["checked"]:
                return self._write(Effect("check", name, goal), "prepare")
        return None

    def _switch(self, goal: JSON, other: JSON | None) -> Decision:
        if self._sent("traffic"):
            if self.handle["late"] < LATE_LOOKS:
                return self._later("accepted; Azure does not show it yet")
            return self.end("failed", "the endpoint was changed by somebody else meanwhile")
        return self._write(Effect("traffic", goal=goal, other=other), "switch")

    def _clean(self, goal: JSON, outcome: Literal["done", "landed"]) -> Decision:
        """Remove what served before; the new revision serves, whatever becomes of this."""
        for name, there in self.deployments.items():
            mine = owner(there) == (self.handle["installation"], self.handle["uid"]) or name in self.handle["known"]
            if name in goal["bodies"] or name in self.handle["left"] or not mine:
                continue
            if self._sent("drop", name) and self._operation()["status"] in GAVE_UP:
                handle = left(self.handle, Effect("drop", name), self._words(there))
                return Decision(Progress(handle, "again", "clean", message=f"deployment {name} could not be deleted"))
            if self._sent("drop", name) and self.handle["late"] < LATE_LOOKS:
                return self._later(f"deployment {name} is being deleted", phase="clean")
            return self._write(Effect("drop", name, goal), "clean")
        return self._unregister(set(goal["register"]), outcome, goal)

    def _unregister(self, kept: set[str], outcome: Literal["done", "landed"], goal: JSON | None = None) -> Decision:
        for name in self.handle["models"]:
            if name not in kept and name not in self.handle["left"]:
                return self._write(Effect("unregister", name), "clean")
        if goal is not None:
            return self._serving(goal, outcome)
        message = "deleted" if self.handle["desired"] is None else "nothing of it is left"
        return Decision(Progress(self.handle, outcome, "clean", message=message, leftovers=self._leftovers()))

    def _leftovers(self) -> tuple[Leftover, ...]:
        return tuple(Leftover(kind, name, why) for name, (kind, why) in self.handle["left"].items())

    def _remove(self) -> Decision:
        sent = self.handle["sent"]
        if sent is not None and sent["verb"] == "delete" and sent["toward"] == self.toward:
            if self._operation()["status"] in GAVE_UP:
                return self._remove_again()
            if self.handle["late"] < LATE_LOOKS:
                return self._later("deleted; Azure still shows it")
        return self._write(Effect("delete"), "switch")

    def _remove_again(self) -> Decision:
        if self.handle["tries"] + 1 >= DELETE_TRIES:
            return self.end("failed", f"deleting it: {self._words(self.there)}")
        again = {**self.handle, "sent": None, "tries": self.handle["tries"] + 1}
        message = f"deleting it failed and is tried again: {self._words(self.there)}"
        return Decision(Progress(again, "again", "switch", again_in=self.look_seconds, message=message))

    def _interrupt(self, before: JSON | None) -> Decision:
        """What is under way is waited for, except that removing what is still being made is tried once."""
        kept = set((before or {"bodies": {}})["bodies"])
        busy = [n for n, each in self.deployments.items() if is_busy(each["state"]) and each["state"] != "Deleting"]
        mine = [name for name in busy if name in self.handle["desired"]["bodies"] and name not in kept]
        if mine and not self.handle["interrupted"] and not self.there["traffic"].get(mine[0]):
            return self._write(Effect("drop", mine[0]), "prepare")
        # a switch that is waited for on the way back is taken back once it has landed, as long as that costs nothing
        whole = self.there["deployments"] is not None and kept <= set(self.deployments)
        deleting = any(each["state"] == "Deleting" for each in self.deployments.values())
        undoing = self.handle["undoing"] or (whole and not deleting)
        return self.wait(handle={**self.handle, "undoing": undoing})

    def _hides_what_was_made(self) -> bool:
        """Whether a deployment that Azure took on the way forward is not to be seen: a read lags, or it is gone."""
        sent = self.handle["sent"]
        made = sent is not None and (sent["verb"], sent["toward"]) == ("deployment", "forward")
        return made and self.thing is not None and sent["name"] not in self.deployments

    def _has_landed(self, goal: JSON, before: JSON | None) -> bool:
        if self.thing is None or not self._is_as_asked(goal):
            return False
        if before is not None and before["content"] == goal["content"]:
            return False
        kept = set((before or {"bodies": {}})["bodies"])
        return not self.handle["undoing"] or not kept <= set(self.deployments)

    def _is_as_asked(self, goal: JSON) -> bool:
        if self.there["state"] != GOOD or content(self.there) != goal["content"]:
            return False
        return all(self.deployments.get(name, {}).get("state") == GOOD for name in goal["bodies"])

    def _refuse_fixed(self, goal: JSON) -> None:
        asked, there = goal["wide"].get("compute"), self.there["compute"]
        if self.toward == "forward" and (asked or "").lower() != (there or "").lower():
            raise Permanent(
                f"the endpoint's compute cannot be changed, and is {there or 'managed'}: ask for the same, or delete "
                "the deployment and create it anew"
            )

    def _failure(self) -> Decision | None:
        """The end of a change that Azure accepted and gave up."""
        sent, state = self.handle["sent"], self._operation()["status"]
        if sent is None or sent["toward"] != self.toward or sent["verb"] in ("delete", "drop"):
            return None
        if state not in GAVE_UP and not (sent["verb"] != "deployment" and self.there["state"] in GAVE_UP):
            return None
        told = f"deployment {sent['name']}" if sent["verb"] == "deployment" else f"endpoint {self.handle['name']}"
        phase: Phase = "switch" if sent["verb"] == "traffic" else "prepare"
        return self.end("failed", f"{told}: {self._words(self.there)}", phase)

    def _operation(self) -> JSON:
        return self.facts["operation"] or {"status": None, "message": "", "retry_in": None}

    def _words(self, thing: JSON) -> str:
        said = self._operation()["message"] or f"{thing.get('state', 'Failed')}; Azure did not say why"
        log = self.facts["log"]
        return f"{said}\nThe end of the container's log:\n{log}" if log else said

    def _recognised(self, goal: JSON) -> Handle:
        """Remember what is under way though its answer was lost: once settled it has ended, not merely not begun."""
        sent = self.handle["sent"]
        if sent is not None and sent["toward"] == self.toward:
            return self.handle
        busy = [n for n in goal["bodies"] if is_busy(self.deployments.get(n, {"state": GOOD})["state"])]
        if busy:
            verb, name, operation = "deployment", busy[0], self.deployments[busy[0]]["operation"]
        elif content(self.there) == goal["content"]:
            verb, name, operation = "traffic", "", self.there["operation"]
        elif self.there["state"] == "Creating":
            verb, name, operation = "endpoint", "", self.there["operation"]
        else:
            return self.handle
        seen = {"verb": verb, "name": name, "toward": self.toward, "operation": operation}
        return {**self.handle, "sent": seen}

    def _is_busy(self) -> bool:
        return self._operation()["status"] == "running" or is_busy(self.there["state"])

    def _sent(self, verb: Verb, name: str = "") -> bool:
        sent = self.handle["sent"]
        return sent is not None and (sent["verb"], sent["name"], sent["toward"]) == (verb, name, self.toward)

    def _is_gone(self) -> bool:
        """Whether that it is not seen is believed: not at once where it may be a read that misses it."""
        known = self.handle["was_there"] or self.handle["sent"] is not None
        enough = LATE_LOOKS if known else ABSENT_LOOKS
        return bool(self.handle["deleted"] or self.handle["absent"] + 1 >= enough)

    def _write(self, effect: Effect, phase: Phase) -> Decision:
        return Decision(Progress(self.handle, "again", phase), effect)

    def wait(self, message: str = "", handle: Handle | None = None) -> Decision:
        """What is under way takes its time."""
        state = self.there.get("state") or "being changed"
        words = message or self._operation()["message"] or f"the endpoint is {state.lower()}"
        pause = self._operation()["retry_in"] or self.look_seconds
        return Decision(Progress(handle or self.handle, "again", self._phase(), again_in=pause, message=words))

    def _later(self, message: str, phase: Phase | None = None) -> Decision:
        late = {**self.handle, "late": self.handle["late"] + 1}
        return Decision(Progress(late, "again", phase or self._phase(), again_in=self.look_seconds, message=message))

    def _absent_again(self) -> Decision:
        """Look once more before an absence is believed."""
        once = {**self.handle, "absent": self.handle["absent"] + 1}
        words = "it is not to be seen"
        return Decision(Progress(once, "again", self._phase(), again_in=self.look_seconds, message=words))

    def _phase(self) -> Phase:
        sent = self.handle["sent"]
        phases: dict[Any, Phase] = {"traffic": "switch", "tags": "switch", "delete": "switch", "drop": "clean"}
        return phases.get(sent["verb"], "prepare") if sent else "prepare"

    def _serving(self, goal: JSON, outcome: Literal["done", "landed"], message: str = "") -> Decision:
        told = ", ".join(f"{variant} {share} %" for variant, share in goal["spec"]["traffic"].items())
        back = outcome == "done" and self.toward == "back"
        words = "what was before serves" if back else message or f"serving {told}"
        there = route(self.there, goal["names"])
        return Decision(
            Progress(self.handle, outcome, "clean", message=words, leftovers=self._leftovers(), route=there)
        )
