"""Looking at one change: which calls it takes to know how it stands."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.azureml.arm import Workspace
from adapters.azureml.describe import AzureMlSettings
from adapters.azureml.goals import VERSION
from adapters.azureml.rollout import decide
from adapters.azureml.things import GAVE_UP, deployment, endpoint, is_busy, owner
from adapters.contract import JSON, AdapterError, Conflict, Handle, Seen


class Looking:
    """Looks into one workspace, from several threads; keeps nothing."""

    def __init__(self, workspace: Workspace, settings: AzureMlSettings, look_seconds: float) -> None:
        self._workspace = workspace
        self._settings = settings
        self._look_seconds = look_seconds

    def seen(self, handle: Handle, listed: Mapping[str, JSON] | None) -> Seen | AdapterError:
        """How the things of this handle stand; ``listed`` are all endpoints by name where they are known already.

        A failure that concerns this handle alone is the answer.
        """
        try:
            facts = self._facts(handle, listed)
        except AdapterError as error:
            return error
        try:
            decision = decide(handle, facts, handle["toward"], self._look_seconds)
            if decision.progress.outcome == "failed":
                facts = self._with_reasons(handle, facts)
                decision = decide(handle, facts, handle["toward"], self._look_seconds)
        except Conflict as conflict:
            return Seen(facts, conflict.message, needs_write=False)
        except AdapterError as error:
            return error
        return Seen(facts, decision.progress.message, needs_write=decision.effect is not None)

    def tail(self, name: str, there: str, lines: int) -> str:
        """The last lines that a deployment's container wrote, or what fetching its model did."""
        said = self._workspace.logs(name, there, lines) or self._workspace.logs(
            name, there, lines, "StorageInitializer"
        )
        return "\n".join(said.splitlines()[-lines:])

    def _facts(self, handle: Handle, listed: Mapping[str, JSON] | None) -> JSON:
        """What decides about the handle, in as few calls as tell it: one while something is under way."""
        facts: JSON = {"thing": None, "operation": None, "models": {}, "waiting": False, "log": ""}
        sent, turning = handle["sent"], handle["toward"] == "back" and not handle["interrupted"]
        patient = sent is not None and sent["toward"] == handle["toward"] and not turning
        name = handle["name"]
        shown = listed.get(name.lower()) if listed is not None else None
        if shown is not None and patient and is_busy(endpoint(shown)["state"]):
            return facts | {"thing": endpoint(shown)}
        if sent is not None and sent["operation"]:
            facts["operation"] = self._workspace.operation(sent["operation"])
            if patient and facts["operation"]["status"] == "running":
                return facts | {"waiting": True}
        shown = shown if listed is not None else self._workspace.endpoint(name)
        if shown is None:
            if handle["desired"] is not None:
                self._workspace.location()  # a create needs it, and is to be a short step
            return facts
        facts["thing"] = thing = endpoint(shown)
        ours = owner(thing) == (handle["installation"], handle["uid"])
        if handle["desired"] is None or not (ours or handle["adopt"]):
            return facts
        thing["deployments"] = {each["name"]: deployment(each) for each in self._workspace.deployments(name)}
        toward = handle["desired"] if handle["toward"] == "forward" else handle["previous"]
        asked = [n for n in (toward or {"register": {}})["register"] if n not in handle["registered"]]
        if not is_busy(thing["state"]):
            facts["models"] = {model: self._workspace.has_model(model, VERSION) for model in asked}
        return facts

    def _with_reasons(self, handle: Handle, facts: JSON) -> JSON:
        """The facts with Azure's own words and the end of the container's log, as far as they can be had."""
        thing, goal = facts["thing"], handle["desired" if handle["toward"] == "forward" else "previous"]
        if thing is None:
            return facts
        there = {n: each for n, each in (thing["deployments"] or {}).items() if n in (goal or {"bodies": {}})["bodies"]}
        name, broken = next(((n, each) for n, each in there.items() if each["state"] in GAVE_UP), ("", None))
        address = broken["operation"] if broken else thing["operation"]
        try:
            if not (facts["operation"] or {}).get("message") and address:
                found = self._workspace.operation(address)
                facts = facts | ({"operation": found} if found["status"] in GAVE_UP else {})
            if broken and self._settings.failure_log_lines:
                facts = facts | {"log": self.tail(handle["name"], name, self._settings.failure_log_lines)}
        except AdapterError:
            pass  # the failure is told all the same
        return facts
