"""The next step of a change, decided from its handle and what was seen; nothing here calls the cluster.

Forward: the new version's Deployment, once its pods are ready the Service's selector, and after a while for what the
old pods are at, the end of all other Deployments of this one. Back: the same towards what was before, or the end of
all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from adapters.contract import JSON, Conflict, Handle, Leftover, Progress, Toward

ABSENT_LOOKS = 2
LATE_LOOKS = 5
Verb = Literal["deployment", "service", "delete_deployment", "delete_service"]


@dataclass(frozen=True)
class Effect:
    """The one write of a step: apply the goal's Deployment or Service, or delete the one that was seen."""

    verb: Verb
    goal: JSON | None = None
    thing: JSON | None = None


@dataclass(frozen=True)
class Decision:
    """What to write, if anything; without a write, ``progress`` is what the step came to."""

    progress: Progress
    effect: Effect | None = None


@dataclass(frozen=True)
class Pace:
    """Seconds between looks, and between the Service's switch and the end of the old pods."""

    look_seconds: float
    drain_seconds: float


def decide(handle: Handle, facts: JSON, toward: Toward, pace: Pace) -> Decision:
    """The next step; the same handle and facts give the same decision. Raises Conflict where a thing is not ours."""
    if handle["toward"] != toward:
        handle = {**handle, "toward": toward, "absent": 0, "late": 0, "drained": False}
    gone = {*handle["removed"], *handle["placed"].get("removed", [])}
    # a uid that was deleted never comes back: what shows it without its end is a read from before
    deployments = [{**each, "deleting": each["deleting"] or each["uid"] in gone} for each in facts["deployments"]]
    case = _Case(handle, facts["service"], deployments, toward, pace)
    foreign = case.foreign()
    if foreign:
        if toward == "back":
            return case.end("done", "nothing of it is there")
        raise Conflict(f"a {foreign} for {handle['name']} exists in the namespace and is not ours")
    if handle["desired"] is None:
        return case.delete()
    return case.forward() if toward == "forward" else case.back()


def accepted(handle: Handle, effect: Effect, shown: JSON | None) -> Handle:
    """The handle once the API server took the write."""
    handle = {**handle, "absent": 0, "late": 0}
    if effect.thing is not None:
        gone = handle["service_gone"] or effect.verb == "delete_service"
        return {**handle, "removed": sorted({*handle["removed"], effect.thing["uid"]}), "service_gone": gone}
    if shown is None:
        return handle
    seen = thing_of(shown)
    sent = {**handle["sent"], effect.verb: {key: seen[key] for key in ("uid", "generation", "version")}}
    return {**handle, "sent": sent, "drained": handle["drained"] and effect.verb == "deployment"}


@dataclass(frozen=True)
class _Case:
    handle: Handle
    service: JSON | None
    deployments: list[JSON]
    toward: Toward
    pace: Pace

    def foreign(self) -> str | None:
        owner = [self.handle["installation"], self.handle["uid"]]
        if self.service is not None and self.service["owner"] != owner:
            return "Service"
        return next(("Deployment" for each in self.deployments if each["owner"] != owner), None)

    def forward(self) -> Decision:
        return self._bring(self.handle["desired"])

    def back(self) -> Decision:
        goal, before = self.handle["desired"], self.handle["previous"]
        differs = before is None or before["content"] != goal["content"]
        if differs and not self.handle["undoing"] and self._serves(goal):
            landed = self._serving(goal, "landed")
            left = tuple(Leftover("Deployment", each["name"], "of the version before") for each in self._others(goal))
            return replace(landed, progress=replace(landed.progress, leftovers=left))
        made = self._of(goal) or self.handle["sent"] or self.handle["removed"]
        if before is None and not made and (self.service is not None or self.deployments):
            # nobody knows what was before, and this is nothing that the change made, unless it is a read from before
            if self.handle["absent"] + 1 < LATE_LOOKS:
                return self._again("looks once more whether it is of this change", "prepare")
            return self.end("done", "left as it was found")
        undoing = replace(self, handle={**self.handle, "undoing": True})
        return undoing._bring(before) if before is not None else undoing._remove("nothing of it is left")

    def delete(self) -> Decision:
        if self.toward == "back" and not self.handle["removed"] and self.service is not None:
            goal = self.handle["previous"]
            return Decision(Progress(self.handle, "done", message="not begun", route=_route(self.handle, goal)))
        return self._remove("deleted", "done" if self.toward == "forward" else "landed")

    def end(self, outcome: Literal["done", "failed", "landed"], message: str) -> Decision:
        return Decision(Progress(self.handle, outcome, "switch", message=message))

    def _bring(self, goal: JSON) -> Decision:
        wanted = self._of(goal)
        if self.service is not None and self.service["deleting"]:
            return self._wait("waits until the Service before is gone", "prepare")
        if wanted is not None and wanted["deleting"]:
            return self._wait("waits until the Deployment before is gone", "prepare")
        if self._lags_behind():
            return self._later("accepted; the API server does not show it yet")
        if wanted is None and "deployment" in self.handle["sent"] and self.handle["late"] < LATE_LOOKS:
            return self._later("accepted; the API server does not show it yet")
        if wanted is None or wanted["sum"] != goal["sums"]["deployment"]:
            if wanted is not None and self._lags(wanted):
                return self._later("accepted; the API server does not show it yet")
            return self._write(Effect("deployment", goal), "prepare")
        if self._lags(wanted):
            return self._later("accepted; the API server does not show it yet")
        if not wanted["complete"]:
            if wanted["failure"]:
                return self.end("failed", wanted["failure"])
            return self._wait(wanted["words"], "prepare")
        if self.service is None or self._differs(goal):
            return self._write(Effect("service", goal), "switch")
        return self._clean(goal)

    def _clean(self, goal: JSON) -> Decision:
        others = [each for each in self._others(goal) if not each["deleting"]]
        if others and not self.handle["drained"]:
            drained = {**self.handle, "drained": True}
            told = "the pods before finish what they are at"
            return Decision(Progress(drained, "again", "clean", again_in=self.pace.drain_seconds, message=told))
        left = self.handle["left"]
        removable = [each for each in others if each["name"] not in left]
        if removable:
            return self._write(Effect("delete_deployment", None, removable[0]), "clean")
        if any(each["deleting"] for each in self._others(goal)):
            return self._wait("the Deployment before is being deleted", "clean")
        before = self.handle["previous" if self.toward == "forward" else "desired"]
        unseen = before is not None and before["digest"] != goal["digest"] and not self.handle["removed"] and not left
        if unseen and self.handle["absent"] + 1 < ABSENT_LOOKS:
            return self._again("looks once more whether anything of before is there", "clean")
        done = self._serving(goal, "done")
        if self.toward == "back":
            told = "what was before serves"
            return Decision(Progress(done.progress.handle, "done", "switch", message=told))
        leftovers = tuple(Leftover("Deployment", name, why) for name, why in left.items())
        return replace(done, progress=replace(done.progress, leftovers=leftovers))

    def _remove(self, message: str, outcome: Literal["done", "landed"] = "done") -> Decision:
        phase: Literal["clean"] = "clean"
        if self.service is not None and not self.service["deleting"]:
            return self._write(Effect("delete_service", None, self.service), phase)
        standing = [each for each in self.deployments if not each["deleting"]]
        if standing:
            return self._write(Effect("delete_deployment", None, standing[0]), phase)
        if self.deployments or self.service is not None:
            return self._wait("is being deleted", phase)
        known = (self.handle["sent"] or self.handle["placed"].get("service")) and not self.handle["service_gone"]
        if self.handle["absent"] + 1 < (LATE_LOOKS if known else ABSENT_LOOKS):
            return self._again("it is not to be seen", phase)
        return Decision(Progress(self.handle, outcome, phase, message=message))

    def _serves(self, goal: JSON) -> bool:
        wanted = self._of(goal)
        if wanted is None or not wanted["complete"] or wanted["sum"] != goal["sums"]["deployment"]:
            return False
        return self.service is not None and not self._differs(goal) and not self.service["deleting"]

    def _differs(self, goal: JSON) -> bool:
        service = self.service or {}
        return bool(service["selects"] != goal["digest"] or service["sum"] != goal["sums"]["service"])

    def _of(self, goal: JSON) -> JSON | None:
        return next((each for each in self.deployments if each["digest"] == goal["digest"]), None)

    def _others(self, goal: JSON) -> list[JSON]:
        return [each for each in self.deployments if each["digest"] != goal["digest"]]

    def _lags(self, thing: JSON) -> bool:
        """Whether what is seen of a Deployment is from before an accepted write."""
        sent = self.handle["sent"].get("deployment")
        if sent is None or thing["uid"] != sent["uid"] or self.handle["late"] >= LATE_LOOKS:
            return False
        return bool(thing["generation"] < sent["generation"])

    def _lags_behind(self) -> bool:
        """Whether the Service that is seen is from before an accepted write, of this change or the last.

        It has no generation. Versions are numbers that grow ("Comparable Resource Version", KEP-5504); where they are
        none nothing is told by them.
        """
        if self.handle["late"] >= LATE_LOOKS or self.service is None:
            return False
        written = (self.handle["sent"].get("service"), self.handle["placed"].get("service"))
        return any(_is_older(self.service, each) for each in written if each)

    def _write(self, effect: Effect, phase: Literal["prepare", "switch", "clean"]) -> Decision:
        return Decision(Progress(self.handle, "again", phase), effect)

    def _wait(self, message: str, phase: Literal["prepare", "switch", "clean"]) -> Decision:
        return Decision(Progress(self.handle, "again", phase, again_in=self.pace.look_seconds, message=message))

    def _again(self, message: str, phase: Literal["prepare", "switch", "clean"]) -> Decision:
        """Look once more before an absence is believed."""
        once = {**self.handle, "absent": self.handle["absent"] + 1}
        return Decision(Progress(once, "again", phase, again_in=self.pace.look_seconds, message=message))

    def _later(self, message: str) -> Decision:
        late = {**self.handle, "late": self.handle["late"] + 1}
        return Decision(Progress(late, "again", "prepare", again_in=self.pace.look_seconds, message=message))

    def _serving(self, goal: JSON, outcome: Literal["done", "landed"]) -> Decision:
        message = f"serving {goal['variant']}"
        route = _route(self.handle, goal)
        # what the next change sees of before that is stale
        sent = {**self.handle["sent"], "service": {key: (self.service or {}).get(key) for key in ("uid", "version")}}
        concluded = {**self.handle, "sent": sent}
        return Decision(Progress(concluded, outcome, "clean", message=message, route=route))


def _is_older(seen: JSON, written: JSON) -> bool:
    versions = [str(each["version"]) for each in (seen, written)]
    return seen["uid"] == written["uid"] and all(map(str.isdigit, versions)) and int(versions[0]) < int(versions[1])


def _route(handle: Handle, goal: JSON | None) -> JSON | None:
    return {"name": handle["name"], "variants": [goal["variant"]]} if goal else None


def thing_of(document: JSON, **more: Any) -> JSON:
    """What both kinds tell: whose it is and which version of it was seen."""
    metadata = document["metadata"]
    return {
        "name": metadata["name"],
        "uid": metadata.get("uid"),
        "version": metadata.get("resourceVersion"),
        "generation": metadata.get("generation") or 0,
        "deleting": metadata.get("deletionTimestamp") is not None,
        **more,
    }
