"""The next step of a change, decided from its handle and what was seen; nothing here touches a file or a plugin.

Forward: create or update what is wanted, unless that is deployed, then wait until it serves. Back: delete what a create
left, update to what was deployed before. Between its beginning and its end a call is looked at through its files alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from adapters.bridge.handles import (
    UNKNOWN,
    Verb,
    changed,
    concluded,
    doing,
    intended,
    is_void,
    known_as,
    pending,
    served,
)
from adapters.contract import JSON, Conflict, Handle, Leftover, Outcome, Phase, Progress, Toward

TRIES = 3
RUNNING_LOOK_SECONDS = 1.0
RETRY_SECONDS = 10.0

# A call that ends itself at its deadline has this long to do so before it is killed.
GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Pace:
    """What the settings say about waiting, and how a plugin updates."""

    look: float
    call: float
    recreates: bool


@dataclass(frozen=True)
class Effect:
    """What a step does beside the handle: begin, void or kill a call; keep a new record of what serves, or none."""

    verb: Literal["begin", "void", "kill", "publish", "forget", "tidy"]
    call: str = ""
    document: JSON = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """Whether it touches the target, and not only our records of it."""
        return self.verb in ("begin", "void", "kill")


@dataclass(frozen=True)
class Decision:
    """What the step comes to, once its effect was had."""

    progress: Progress
    effect: Effect | None = None


def decide(handle: Handle, facts: JSON, toward: Toward, fence: int, pace: Pace, now: float) -> Decision:
    """The next step. Raises Conflict where what is there is not ours."""
    case = _Case({**handle, "toward": toward}, facts, toward, fence, pace, now)
    if pending(handle) is not None:
        return case.pending()
    if handle["desired"] is None:
        return case.delete()
    return case.forward() if toward == "forward" else case.back()


@dataclass(frozen=True)
class _Case:
    handle: Handle
    facts: JSON
    toward: Toward
    fence: int
    pace: Pace
    now: float

    @property
    def there(self) -> bool | None:
        return self.facts["there"]["there"]  # type: ignore[no-any-return]

    @property
    def served(self) -> JSON | None:
        return served(self.handle, self.facts["record"])

    @property
    def known_as(self) -> str:
        return known_as(self.handle, self.facts["record"])

    @property
    def family(self) -> str | None:
        before = self.served
        known: str | None = self.handle["family"] or self.facts["there"].get("family")
        return known or (before["family"] if before else None)

    @property
    def phase(self) -> Phase:
        return "switch" if self._begun() else "prepare"

    def pending(self) -> Decision:
        call, seen = self.handle["calls"][-1], self.facts["call"]
        match seen["state"]:
            case "new" if call["toward"] != self.toward:
                return self._do(Effect("void", call["id"]), "turning back before it began")
            case "new" if self.facts["full"]:
                return self._wait(RUNNING_LOOK_SECONDS, "waits for one of the plugin's calls under way to end")
            case "new":
                return self._do(Effect("begin", call["id"]), doing(call))
            case "running" if self.now > seen["at"] + self.pace.call + GRACE_SECONDS:
                return self._do(Effect("kill", call["id"]), f"{doing(call)}: ended for taking too long")
            case "running":
                return self._wait(min(RUNNING_LOOK_SECONDS, self.pace.look), doing(call))
        after = concluded(self.handle, seen)
        message = after["calls"][-1]["outcome"]["message"] or doing(call)
        return Decision(Progress(after, "again", self.phase, message=message))

    def forward(self) -> Decision:
        last = self._last("forward")
        if last is None:
            return self._first()
        kind = last["outcome"]["kind"]
        if kind == "ok" and last["verb"] == "delete":
            return self._until_gone() or self._intend("create", self.handle["desired"])
        if kind == "ok" or (kind in UNKNOWN and last["verb"] == "create" and self.there):
            return self._settled("forward")
        if kind == "exists" and last["verb"] == "create":
            raise Conflict(f"{self.handle['name']} exists already and is not ours: {last['outcome']['message']}")
        return self._again(last) or self._fail(last)

    def _first(self) -> Decision:
        served, desired = self.served, self.handle["desired"]
        if self.there is False or (self.there is None and served is None):
            return self._intend("create", desired)
        if served is None:
            raise Conflict(f"{self.handle['name']} exists on the target, and no record here says that it is ours")
        if served["content"] == self.handle["content"] and self.facts["there"]["state"] != "failed":
            return self._settled("forward")
        return self._intend("delete" if self.pace.recreates else "update", desired)

    def back(self) -> Decision:
        served, last = self.served, self._last("back")
        if last is not None:
            return self._going_back(last)
        forward = self._last("forward")
        if forward is None or not self._touched():
            return self._end("done", "nothing was changed", served)
        if self._may_land(forward):
            return self._settled("back")
        if served is None:
            return self._intend("delete", None) if self.there is not False else self._gone("nothing of it is left")
        if self.there is False:
            return self._intend("create", served["spec"])
        if not self.pace.recreates:
            return self._intend("update", served["spec"])
        if any(call["verb"] == "create" and changed(call) for call in self.handle["calls"]):
            return self._intend("delete", served["spec"])
        return self._end("done", "the revision before serves", served)

    def _going_back(self, last: JSON) -> Decision:
        served, kind = self.served, last["outcome"]["kind"]
        if last["verb"] == "delete":
            if self._is_gone(kind):
                return self._intend("create", served["spec"]) if served else self._gone("nothing of it is left")
            if kind == "ok":
                return self._wait(self.pace.look, "deleted; waits until the target does not show it any more")
        elif kind == "ok" and self.facts["there"]["state"] == "busy":
            return self._wait(self.pace.look, self._said("going back"))
        elif kind == "ok" and self.facts["there"]["state"] != "failed":
            return self._end("done", "the revision before serves", served)
        words = last["outcome"]["message"] or self._said("the target gave up")
        left = Leftover("deployment", self.known_as, words)
        return self._again(last) or self._fail({**last, "outcome": {"kind": kind, "message": words}}, (left,))

    def _may_land(self, forward: JSON) -> bool:
        """What was called for came about, or does so and cannot be interrupted as there is something to go back to."""
        if forward["outcome"]["kind"] != "ok" or forward["verb"] == "delete" or self.there is False:
            return False
        state = self.facts["there"]["state"]
        return bool(state in ("ready", "unknown") or (state == "busy" and self.served is not None))

    def delete(self) -> Decision:
        served, last = self.served, self._last(None)
        if self.toward == "back" and not self._begun():
            return self._end("done", "not begun", served)
        if self._is_gone(last["outcome"]["kind"] if last else "ok" if served is None else ""):
            ended = self._gone("deleted")
            landed = replace(ended.progress, outcome="landed") if self.toward == "back" else ended.progress
            return replace(ended, progress=landed)
        if served is None and last is None:
            raise Conflict(f"{self.handle['name']} exists on the target, and no record here says that it is ours")
        if last is None:
            return self._intend("delete", None)
        if last["outcome"]["kind"] == "ok":
            return self._wait(self.pace.look, "deleted; waits until the target does not show it any more")
        return self._again(last) or self._fail(last)

    def _settled(self, toward: Toward) -> Decision:
        """What was called for is there or comes: wait until it is ready, and keep the record of what serves."""
        state = self.facts["there"]["state"]
        if self.there is False:
            return self._wait(self.pace.look, "the plugin says that it is done, and does not show it yet")
        if state == "busy":
            return self._wait(self.pace.look, self._said("getting ready"))
        if state == "failed":
            return self._end("failed", self._said("the target gave up"), self.served)
        record = self._record()
        outcome: Outcome = "landed" if toward == "back" else "done"
        decision = self._end(outcome, self._said(self._how_it_came()), record)
        kept = {**self.handle, "known_as": record["known_as"], "family": record["family"]}
        progress = replace(decision.progress, handle=kept)
        return Decision(progress, Effect("publish", document=record))

    def _how_it_came(self) -> str:
        last = self._last("forward")
        if last is None or last["outcome"]["kind"] == "ok":
            return "serves"
        return f"the plugin's {last['verb']} gave no answer ({last['outcome']['message']}); it is there"

    def _again(self, last: JSON) -> Decision | None:
        """The same call once more, where that can do no harm: it was refused, or what it asks for is absolute."""
        kind, verb = last["outcome"]["kind"], last["verb"]
        harmless = kind == "temporary" or (kind in UNKNOWN and (verb == "delete" or last["toward"] == "back"))
        if verb == "create" and self.there is not False:
            harmless = False
        tries = sum(call["verb"] == verb and call["toward"] == last["toward"] for call in self.handle["calls"])
        if not harmless or tries >= TRIES:
            return None
        decision = self._intend(verb, last["spec"])
        message = f"tries again in {RETRY_SECONDS:g} s: {last['outcome']['message']}"
        return replace(decision, progress=replace(decision.progress, again_in=RETRY_SECONDS, message=message))

    def _fail(self, last: JSON, left: tuple[Leftover, ...] = ()) -> Decision:
        words = last["outcome"]["message"]
        if last["outcome"]["kind"] in UNKNOWN:
            words = (
                f"outcome unknown: {words}. {_shown(self.there)} Look on the target whether the {last['verb']} of "
                f"{self.known_as} happened, or still happens, before asking again"
            )
        decision = self._end("failed", words, self.served)
        return replace(decision, progress=replace(decision.progress, leftovers=left))

    def _is_gone(self, kind: str) -> bool:
        """Where the plugin cannot tell what is there, what its delete said counts."""
        return self.there is False or (self.there is None and kind in ("ok", "absent"))

    def _until_gone(self) -> Decision | None:
        if self.there:
            return self._wait(self.pace.look, "deleted; waits until the target does not show it any more")
        return None

    def _gone(self, message: str) -> Decision:
        return Decision(Progress(self.handle, "done", "clean", message=message), Effect("forget"))

    def _intend(self, verb: Verb, spec: JSON | None) -> Decision:
        after = intended(self.handle, verb, spec, self.toward, self.fence, self.family)
        return Decision(Progress(after, "again", self.phase, message=doing(after["calls"][-1])))

    def _do(self, effect: Effect, message: str) -> Decision:
        return Decision(Progress(self.handle, "again", self.phase, message=message), effect)

    def _wait(self, seconds: float, message: str) -> Decision:
        return Decision(Progress(self.handle, "again", self.phase, again_in=seconds, message=message))

    def _end(self, outcome: Outcome, message: str, served: JSON | None) -> Decision:
        phase: Phase = "clean" if outcome in ("done", "landed") and served else self.phase
        route = served["route"] if served and outcome != "failed" else None
        progress = Progress(self.handle, outcome, phase, message=message, route=route)
        return Decision(progress, None if outcome == "failed" else Effect("tidy"))

    def _record(self) -> JSON:
        family, name = self.family or "deployments", self.known_as
        return {
            "uid": self.handle["uid"],
            "name": self.handle["name"],
            "known_as": name,
            "family": family,
            "spec": self.handle["desired"],
            "content": self.handle["content"],
            "route": {"name": name, "family": family},
        }

    def _last(self, toward: Toward | None) -> JSON | None:
        """The last call in this direction that began."""
        calls = [call for call in self.handle["calls"] if toward in (None, call["toward"]) and not is_void(call)]
        return calls[-1] if calls else None

    def _begun(self) -> bool:
        return any(not is_void(call) for call in self.handle["calls"])

    def _touched(self) -> bool:
        return any(call["toward"] == "forward" and changed(call) for call in self.handle["calls"])

    def _said(self, words: str) -> str:
        said = self.facts["there"].get("said")
        return f"{words}: {said}" if said else words


def _shown(there: bool | None) -> str:
    if there is None:
        return "The plugin cannot tell what is there."
    return "It is there now." if there else "Nothing of that name is there now."
