"""The verbs of the ``sagemaker`` target: ``rollout`` decides, ``effects`` writes, ``calls`` asks AWS."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from adapters.contract import (
    JSON,
    AdapterError,
    Change,
    Conflict,
    Fence,
    Handle,
    Observed,
    Permanent,
    Place,
    Progress,
    Seen,
    Spec,
    Toward,
)
from adapters.sagemaker.calls import Calls
from adapters.sagemaker.cleaning import knows_live
from adapters.sagemaker.describe import DESCRIPTION
from adapters.sagemaker.effects import perform
from adapters.sagemaker.goals import Defaults, goal_of
from adapters.sagemaker.naming import Owner, fleet_of
from adapters.sagemaker.observing import Observing
from adapters.sagemaker.packing import Packing
from adapters.sagemaker.reading import endpoint_facts, needs_description, owner_by_tags, under_way_facts
from adapters.sagemaker.refusals import Absent
from adapters.sagemaker.rollout import Decision, Pace, decide
from adapters.sagemaker.shown import Shown

SINGLE_LOOKS = 3
LOOKS_AT_ONCE = 8
LAG_SECONDS = 5.0
LISTINGS_A_LOOK = 15  # of those that wait for a limit each look lists anew: at 30 s a look, every 2 s at most


def open_adapter(place: Place) -> SageMakerAdapter:
    """The adapter of this target; opens no connection yet. Raises Permanent where its URI is none."""
    return SageMakerAdapter(place)


class SageMakerAdapter:
    """Serves one account and region. It keeps nothing but connections, so any process can go on with a change."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._calls = Calls(place)
        settings = self._calls.account.settings
        self._defaults = Defaults.of(settings, os.environ)
        self._packing = Packing(place, self._calls)
        looks = settings.look_seconds or DESCRIPTION.look_seconds
        self._shown = Shown(self._calls, looks / LISTINGS_A_LOOK)
        self._observing = Observing(place.installation, self._calls, self._shown, self._defaults)
        self._pace = Pace(looks, min(LAG_SECONDS, looks), settings.keep_revisions)

    def resolve(self, spec: Spec) -> Spec:
        """Model URIs get a version or a fingerprint, and variants what they do not name: a revision is whole."""
        return self._packing.fix(spec, self._defaults)

    def plan(self, change: Change) -> Handle:
        """All names come from whose it is and all that it serves, so what is there already keeps its name."""
        owner = Owner(change.installation, change.uid, change.name)
        placed = change.placed
        desired = self._goal(owner, change.desired, placed)
        previous = self._goal(owner, change.current, placed)
        known = placed.get("desired") or previous
        was = {"config": placed.get("live") or known["config"], "models": list(known["models"])} if known else None
        return {
            "installation": change.installation,
            "uid": change.uid,
            "name": change.name,
            "adopt": change.adopt,
            "desired": desired,
            "previous": previous,
            "content": desired["content"] if desired else None,
            "was": was,
            "history": placed.get("history", []),
            "tagged": placed.get("tagged"),
            "live": placed.get("live"),
            "newest": placed.get("newest", 0.0),
            "toward": "forward",
            "before": None,
            "made": [],
            "packing": {},
            "emptied": [],
            "asked": None,
            "misses": 0,
            "parts": 0,
            "leftovers": [],
        }

    def look_many(self, handles: Mapping[str, Handle]) -> Mapping[str, Seen | AdapterError]:
        """Three at most are described; of more, one listing tells which of them have settled and are described."""
        listed = None
        if len(handles) > SINGLE_LOOKS:
            listed = self._shown.recently()

        def look(handle: Handle) -> Seen | AdapterError:
            try:
                return self._look(handle, listed)
            except AdapterError as error:
                return error

        if not handles:
            return {}
        with ThreadPoolExecutor(min(LOOKS_AT_ONCE, len(handles)), thread_name_prefix="look") as pool:
            seen = dict(zip(handles, pool.map(look, handles.values()), strict=True))
        failures = [each for each in seen.values() if isinstance(each, AdapterError)]
        if len(failures) == len(seen) and not any(isinstance(each, Permanent) for each in failures):
            raise failures[0]
        return seen

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:  # noqa: ARG002
        """One call that changes something; what only prepares or removes tells in ``seen`` what comes next.

        SageMaker compares no fences.
        """
        facts = seen.facts
        decision = decide(handle, facts, toward, self._pace)
        if decision.needs == "left" and seen.needs_write:
            facts = {**facts, "left": self._left(handle, facts)}
            decision = decide(handle, facts, toward, self._pace)
        if decision.effect is None and decision.needs is None:
            return decision.progress
        if decision.effect is None or not seen.needs_write:
            # the look knew nothing of the new direction: the next one does, and a write is counted as one
            return replace(decision.progress, outcome="again", again_in=0.0)
        progress, after = perform(self._calls, self._packing, decision.progress, facts, decision.effect, self._pace)
        if after is None:
            return progress
        following = decide(progress.handle, after, toward, self._pace)
        if following.effect is None and following.needs is None and following.progress.outcome != "again":
            return following.progress
        return Progress(
            progress.handle,
            "again",
            progress.phase,
            message=progress.message,
            route=progress.route,
            seen=None if following.needs == "packages" else _seen(after, following),
        )

    def observe_all(self) -> Iterable[Observed]:
        """Every endpoint of the region, in listings; described are those that changed since they last were."""
        return self._observing.all()

    def specification(self, name: str) -> Spec | None:
        """What the endpoint was made of, read back from SageMaker, for who keeps no record. A call for each part."""
        document = self._shown.describe(name)
        return self._observing.spec(document) if document else None

    def check(self) -> str:
        """Lists one endpoint."""
        found = self._calls.first_endpoint()
        region = self._calls.account.address.region
        return f"SageMaker in {region} answers" + ("" if found else "; it has no endpoints")

    def logs(self, handle: Handle, variant: str | None, lines: int) -> str:
        """From CloudWatch: of each variant the stream that was written to last; several have their names above."""
        group = f"/aws/sagemaker/Endpoints/{handle['name']}"
        newest: dict[str, str] = {}
        for stream in self._calls.log_streams(group):
            newest.setdefault(stream.partition("/")[0], stream)
        chosen = {name: stream for name, stream in newest.items() if variant in (None, name)}
        tails = {name: "\n".join(self._calls.log_tail(group, stream, lines)) for name, stream in chosen.items()}
        if len(tails) == 1:
            return next(iter(tails.values()))
        return "\n".join(f"==> {name} <==\n{tail}" for name, tail in sorted(tails.items()))

    def close(self) -> None:
        """Give back connections."""
        self._calls.close()

    def _goal(self, owner: Owner, spec: Spec | None, placed: Handle) -> JSON | None:
        """What is adopted keeps its configuration's name as long as it serves the same."""
        if spec is None:
            return None
        goal = goal_of(owner, spec, self._defaults)
        known, live = placed.get("desired"), placed.get("live")
        if known and live and known["fleet"] == goal["fleet"] and fleet_of(live) is None:
            return {**goal, "config": live, "foreign": True}
        return goal

    def _look(self, handle: Handle, listed: Mapping[str, JSON] | None) -> Seen:
        facts = self._facts(handle, listed)
        toward: Toward = handle["toward"]
        try:
            decision = decide(handle, facts, toward, self._pace)
            if decision.needs == "packages":
                facts = {**facts, "packages": self._packing.look(handle)}
                decision = decide(handle, facts, toward, self._pace)
            if decision.needs == "left" and not decision.will_write:
                # here many are looked at in threads; where something is known to go, the step lists what is there
                facts = {**facts, "left": self._left(handle, facts)}
                decision = decide(handle, facts, toward, self._pace)
        except Conflict as conflict:
            return Seen(facts, conflict.message, needs_write=False)
        return _seen(facts, decision)

    def _facts(self, handle: Handle, listed: Mapping[str, JSON] | None) -> JSON:
        if listed is not None:
            summary = listed.get(handle["name"])
            if summary is None:
                return {"endpoint": None, "owner": None}
            if not needs_description(handle, summary["EndpointStatus"]):
                known = under_way_facts(summary["EndpointName"], summary["EndpointArn"], summary["EndpointStatus"])
                return {"endpoint": known, "owner": "ours"}
            document = self._shown.described(summary)
        else:
            document = self._shown.describe(handle["name"])
        if document is None:
            return {"endpoint": None, "owner": None}
        facts = endpoint_facts(document)
        if not needs_description(handle, facts["status"]):
            return {"endpoint": under_way_facts(facts["name"], facts["arn"], facts["status"]), "owner": "ours"}
        return {"endpoint": facts, "owner": self._whose(handle, facts)}

    def _whose(self, handle: Handle, there: JSON) -> str:
        """By the name of its configuration, which nobody else makes; by its tags where that is another's."""
        owner = Owner(handle["installation"], handle["uid"], handle["name"])
        if there["config"] and owner.owns(there["config"]):
            return "ours"
        try:
            return owner_by_tags(owner, self._calls.tags(there["arn"]))
        except Absent:
            return "nobody"

    def _left(self, handle: Handle, facts: JSON) -> JSON:
        """What bears the deployment's mark, and the models of what is live where the handle does not know them."""
        owner = Owner(handle["installation"], handle["uid"], handle["name"])
        there = facts["endpoint"]
        live = there.get("config") if there is not None and facts["owner"] == "ours" else None
        in_use: list[str] = []
        if live is not None and not knows_live(handle, live):
            config = self._calls.config(live) or {}
            variants = [*config.get("ProductionVariants", []), *config.get("ShadowProductionVariants", [])]
            in_use = [variant["ModelName"] for variant in variants if "ModelName" in variant]
        return {
            "configs": self._calls.configs(owner.mark),
            "models": self._calls.models(owner.mark),
            "in_use": in_use,
        }


def _seen(facts: JSON, decision: Decision) -> Seen:
    return Seen(facts, decision.progress.message, decision.will_write)
