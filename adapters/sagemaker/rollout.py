"""The next step of a change, decided from its handle and what was seen; nothing here calls anybody.

Forward: prepare models and configuration, switch the endpoint to them, wait until it serves them, clean up. Back: the
same toward what was before. An endpoint under change takes no other change, so both directions wait until it settles;
a fleet that has settled and serves what was wanted has landed and is not taken back.

Reads may come late or miss a thing for a moment. What an accepted call must have changed is waited for, ``LAG`` looks
long, before it is called again; that something is absent is believed after ``ABSENCES`` looks; and what was changed
last at an earlier time than is known already is an old read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adapters.contract import JSON, Conflict, Handle, Leftover, Progress, Toward
from adapters.sagemaker.cleaning import expected, garbage, kept
from adapters.sagemaker.naming import fleet_of
from adapters.sagemaker.records import Effect

IN_PROGRESS = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})
LAG = 5
ABSENCES = 3


@dataclass(frozen=True)
class Decision:
    """What to write, or what must be read to know: ``packages`` or what is ``left``; else what the step came to."""

    progress: Progress
    effect: Effect | None = None
    needs: Literal["packages", "left"] | None = None
    will_write: bool = False


@dataclass(frozen=True)
class Pace:
    """Seconds between two looks, and those after which a read that lags is repeated; revisions that are kept."""

    look_seconds: float
    lag_seconds: float
    keep_revisions: int


def decide(handle: Handle, facts: JSON, toward: Toward, pace: Pace) -> Decision:
    """The next step; the same handle and facts give the same decision. Raises Conflict where the thing is not ours."""
    handle, there = {**handle, "toward": toward}, facts["endpoint"]
    if there is not None and "modified" in there:
        if there["modified"] < handle["newest"] and handle["misses"] < LAG:
            return _Case(handle, facts, toward, pace).missed("what is read is from before the last change")
        handle["newest"] = there["modified"]
        handle["misses"] = 0 if handle["asked"] is None else handle["misses"]
    case = _Case(handle, facts, toward, pace)
    if handle["adopt"]:
        return case.adopt()
    if handle["desired"] is None:
        return case.delete()
    return case.forward() if toward == "forward" else case.back()


@dataclass(frozen=True)
class _Case:
    handle: Handle
    facts: JSON
    toward: Toward
    pace: Pace

    @property
    def there(self) -> JSON | None:
        found: JSON | None = self.facts["endpoint"]
        return found

    def forward(self) -> Decision:
        there, goal = self.there, self.handle["desired"]
        if there is None:
            return self._create(goal)
        self._refuse_foreign()
        if there["status"] in IN_PROGRESS:
            return self._under_way()
        if _serves(there, goal):
            return self._clean("done", _serving(goal))
        return self._ended() or self._switch(there, goal)

    def back(self) -> Decision:
        there, goal = self.there, self.handle["desired"]
        before = self.handle["previous"] or self.handle["before"]
        if there is None:
            if before is not None and self.facts["owner"] != "another":
                return self._create(before, patience=LAG)
            return self._absent() or self._clean("done", "nothing of it is left")
        if self.facts["owner"] != "ours":
            return self._clean("done", "nothing of it is there")
        if there["status"] in IN_PROGRESS:
            return self._under_way()
        lagging = self._lagging("forward")
        if lagging is not None:
            return lagging
        if before is not None and _serves(there, before):
            return self._clean("done", "the revision before serves")
        # traffic alone is changed back in place; a fleet that took an hour to come up is not thrown away
        traffic_only = before is not None and _same_fleet(there, before)
        if _serves(there, goal) and not traffic_only:
            return self._clean("landed", _serving(goal))
        ended = self._ended()
        if ended is not None:
            return ended
        if before is None:
            return self._write(Effect("delete_endpoint", there["name"]), "switch")
        return self._switch(there, before)

    def delete(self) -> Decision:
        there, asked = self.there, self.handle["asked"]
        if self.toward == "back" and asked is None:
            return Decision(Progress(self.handle, "done", message="not begun"))
        if there is None:
            return self._absent() or self._clean("done" if self.toward == "forward" else "landed", "deleted")
        self._refuse_foreign()
        if there["status"] in IN_PROGRESS:
            return self._under_way()
        return self._ended() or self._write(Effect("delete_endpoint", there["name"]), "switch")

    def adopt(self) -> Decision:
        """Mark as ours what nobody owns. Its way back does nothing: it was there before."""
        there = self.there
        if self.toward == "back":
            return Decision(Progress(self.handle, "done", "switch", message="left as it was found"))
        if there is None:
            return Decision(Progress(self.handle, "failed", "switch", message="it is not there any more"))
        if self.facts["owner"] == "another":
            raise Conflict(f"endpoint {there['name']} bears the mark of another owner")
        if self.facts["owner"] == "nobody":
            return self._write(Effect("adopt", there["arn"]), "switch")
        handle = {**self.handle, "live": there["config"]}
        return Decision(Progress(handle, "done", "clean", message="adopted", route=self._route()))

    def _refuse_foreign(self) -> None:
        if self.facts["owner"] != "ours":
            raise Conflict(f"an endpoint {self.handle['name']} exists on SageMaker and is not this deployment's")

    def _create(self, goal: JSON, patience: int = 0) -> Decision:
        """Also where an endpoint is wanted that vanished. One that only a read has missed refuses to be created."""
        asked = self.handle["asked"]
        expects = asked is not None and asked["what"] != "delete_endpoint"
        if self.handle["misses"] < (LAG if expects else patience if asked is None else 0):
            return self.missed("the endpoint does not show yet")
        if expects and asked["exists"]:
            raise Conflict(
                f"SageMaker says that an endpoint {self.handle['name']} exists, and shows none of this name; "
                "is there one whose name differs in case alone?"
            )
        case = self._forgetting() if expects else self
        return case._prepare(goal) or case._write(Effect("create_endpoint", self.handle["name"], goal), "switch")

    def _switch(self, there: JSON, goal: JSON) -> Decision:
        """Traffic alone changes in place; all else is a new configuration."""
        if there["status"] == "Failed":
            return self._write(Effect("delete_endpoint", there["name"]), "switch")
        if there["status"] == "InService" and _same_fleet(there, goal):
            return self._write(Effect("update_weights", there["name"], goal["traffic"]), "switch")
        return self._prepare(goal) or self._write(Effect("update_endpoint", there["name"], goal), "switch")

    def _prepare(self, goal: JSON) -> Decision | None:
        """Models, then the configuration that names them. None where all of it was made."""
        if goal.get("foreign"):
            return None
        for name, model in goal["models"].items():
            if name in self.handle["made"]:
                continue
            if model["pack"] is not None:
                waits = self._packed(name, model["pack"])
                if waits is not None:
                    return waits
            return self._write(Effect("create_model", name, model["request"]), "prepare")
        if goal["config"] in self.handle["made"]:
            return None
        return self._write(Effect("create_config", goal["config"], goal["request"]), "prepare")

    def _packed(self, name: str, pack: JSON) -> Decision | None:
        found = self.facts.get("packages", {}).get(name)
        if found is None:
            return Decision(Progress(self.handle, "again", "prepare"), needs="packages", will_write=True)
        if found["state"] == "ready":
            return None
        if found["state"] == "failed":
            return Decision(Progress(self.handle, "failed", "prepare", message=found["words"]))
        if found["state"] == "running":
            message = f"packing {pack['model_uri']}"
            return Decision(Progress(self.handle, "again", "prepare", self.pace.lag_seconds, message))
        return self._write(Effect("pack", name, pack), "prepare")

    def _under_way(self) -> Decision:
        """Wait, and remember that the change was seen: settled later it has ended, and not merely not begun."""
        there, asked = self.there or {}, self.handle["asked"]
        if there["status"] != "SystemUpdating" and (asked is None or not asked["seen"]):
            recognised = self._recognised(there)
            others = recognised is None and bool(there.get("pending"))
            arrived = asked is not None and not (asked["unsure"] and others)
            asked = {**(asked or {}), "seen": True} if arrived else recognised
        handle = {**self.handle, "asked": asked, "misses": 0}
        message = f"the endpoint is {there['status']}"
        return Decision(Progress(handle, "again", "switch", self.pace.look_seconds, message))

    def _recognised(self, there: JSON) -> JSON | None:
        """A change of ours whose answer was lost, told by the configuration that it brings."""
        known = {"what": None, "toward": self.toward, "base": None, "seen": True, "unsure": False, "exists": False}
        if there["status"] == "Deleting":
            return {**known, "what": "delete_endpoint"}
        coming = there.get("pending") or (there.get("config") if there["status"] == "Creating" else None)
        for toward, goal in (("forward", self.handle["desired"]), ("back", self.handle["previous"])):
            if goal is not None and coming == goal["config"]:
                what = "create_endpoint" if there["status"] == "Creating" else "update_endpoint"
                return {**known, "what": what, "toward": toward}
        return None

    def _ended(self) -> Decision | None:
        """What a settled endpoint that does not serve means for the call that was accepted; None: nothing was asked."""
        asked = self.handle["asked"]
        if asked is None or asked["toward"] != self.toward:
            return None
        if not self._moved(asked):
            return self._lagging(self.toward)
        there = self.there or {}
        why = there["failure"] or f"it ended {there['status']} without serving, and SageMaker does not say why"
        return Decision(Progress(self.handle, "failed", "switch", message=why))

    def _lagging(self, toward: Toward) -> Decision | None:
        """Wait where what is seen is from before an accepted call; None where it is not, or for too long already."""
        asked = self.handle["asked"]
        if asked is None or asked["toward"] != toward or self._moved(asked) or self.handle["misses"] >= LAG:
            return None
        return self.missed("accepted; the endpoint does not show it yet")

    def _moved(self, asked: JSON) -> bool:
        there = self.there or {}
        return bool(asked["seen"] or there["modified"] != asked["base"])

    def _absent(self) -> Decision | None:
        """Look again where the endpoint may have been missed; None where it is gone."""
        asked = self.handle["asked"]
        enough = LAG if asked is not None and asked["what"] != "delete_endpoint" else ABSENCES
        return self.missed("the endpoint is not to be seen") if self.handle["misses"] < enough else None

    def missed(self, message: str) -> Decision:
        """Look again soon; so many times in a row, then what is seen is believed."""
        handle = {**self.handle, "misses": self.handle["misses"] + 1}
        return Decision(Progress(handle, "again", "switch", self.pace.lag_seconds, message))

    def _forgetting(self) -> _Case:
        return _Case({**self.handle, "asked": None}, self.facts, self.toward, self.pace)

    def _clean(self, outcome: Literal["done", "landed"], message: str) -> Decision:
        """It serves, or is gone: bring the tags up to date, remove what nobody needs, and end."""
        handle, there = self.handle, self.there
        goal = handle["desired"] if outcome == "landed" or self.toward == "forward" else None
        route = self._route() if goal is not None and there is not None else None
        live = there["config"] if there is not None and self.facts["owner"] == "ours" else None
        keep = kept(handle, live, self.pace.keep_revisions, landed=goal is not None)
        # where nothing serves and nothing is left to say, only removal is under way
        phase: Literal["switch", "clean"] = "clean" if goal is not None or handle["desired"] is None else "switch"
        if goal is not None and there is not None:
            retag = self._retag(there, goal)
            if retag is not None:
                return Decision(Progress(handle, "again", phase, message=message, route=route), retag, will_write=True)
        left = self.facts.get("left")
        if left is None:
            will_write = expected(handle, keep)
            progress = Progress(handle, "again", phase, message=message, route=route)
            return Decision(progress, needs="left", will_write=will_write)
        found = garbage(handle, left, keep, live)
        if found is not None:
            effect = Effect(*found)
            return Decision(Progress(handle, "again", phase, message=message, route=route), effect, will_write=True)
        leftovers = tuple(Leftover(**each) for each in handle["leftovers"])
        ended = {**handle, "live": live, "history": keep.entries}
        if goal is not None and there is not None and not any(each["kind"] == "tags" for each in handle["leftovers"]):
            ended["tagged"] = goal["tags"]
        return Decision(Progress(ended, outcome, phase, message=message, leftovers=leftovers, route=route))

    def _retag(self, there: JSON, goal: JSON) -> Effect | None:
        """Bring the user's tags of the endpoint up to date, which an update does not take."""
        tagged, skipped = self.handle["tagged"], {each["name"] for each in self.handle["leftovers"]}
        if self.handle["asked"] is not None and self.handle["asked"]["what"] == "create_endpoint":
            tagged = goal["tags"]
        if tagged == goal["tags"] or there["arn"] in skipped or (tagged is None and not goal["tags"]):
            return None
        if any((tagged or {}).get(key) != value for key, value in goal["tags"].items()):
            return Effect("tag", there["arn"], goal["tags"])
        return Effect("untag", there["arn"], sorted(set(tagged or {}) - set(goal["tags"])))

    def _route(self) -> JSON:
        there, goal = self.there or {}, self.handle["desired"]
        return {"name": there["name"], **({"asynchronous": True} if goal["asynchronous"] else {})}

    def _write(self, effect: Effect, phase: Literal["prepare", "switch"]) -> Decision:
        handle, there = self.handle, self.there
        if self.toward == "forward" and handle["before"] is None and there is not None and there.get("config"):
            before = {"config": there["config"], "fleet": fleet_of(there["config"]), "traffic": there["traffic"]}
            handle = {**handle, "before": {**before, "foreign": True, "update": {}, "models": {}}}
        return Decision(Progress(handle, "again", phase, message=_told(effect)), effect, will_write=True)


def _told(effect: Effect) -> str:
    words = {"pack": "packing the model", "update_weights": "changing traffic", "adopt": "marking it"}
    return words.get(effect.verb, f"{effect.verb.replace('_', ' ')} {effect.name}")


def _serves(there: JSON, goal: JSON) -> bool:
    """Settled and serving this content: in service alone is not enough, what was there before may be so too."""
    settled = there["status"] == "InService" and there["pending"] is None
    return bool(settled and _same_fleet(there, goal) and there["traffic"] == goal["traffic"])


def _same_fleet(there: JSON, goal: JSON) -> bool:
    return bool(there["config"] == goal["config"] or (goal["fleet"] and fleet_of(there["config"]) == goal["fleet"]))


def _serving(goal: JSON) -> str:
    return "serving " + ", ".join(f"{variant} {share} %" for variant, share in goal["traffic"].items())
