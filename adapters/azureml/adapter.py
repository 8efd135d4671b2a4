"""The verbs of Azure ML online endpoints: what to do is decided in ``rollout``, and done in ``arm``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from typing import assert_never

from adapters.azureml.arm import Busy, Missing, Started, Workspace
from adapters.azureml.checking import answers
from adapters.azureml.connection import settings_of
from adapters.azureml.describe import DESCRIPTION
from adapters.azureml.effects import Effect, accepted, interrupts, left, put_off
from adapters.azureml.goals import VERSION, endpoint_body, goal, key_of, marks, variants_of
from adapters.azureml.looking import Looking
from adapters.azureml.models import moving, registered, scope_of
from adapters.azureml.rollout import decide
from adapters.azureml.things import (
    content,
    endpoint,
    is_busy,
    operation_of,
    owner,
    route,
    spec_of,
    status,
)
from adapters.contract import (
    JSON,
    AdapterError,
    Change,
    Denied,
    Fence,
    Handle,
    Observed,
    Permanent,
    Place,
    Progress,
    Seen,
    Spec,
    Temporary,
    Toward,
    Variant,
)

if find_spec("azure.identity") is None:  # looked for and not imported; the registry turns this into the extra
    raise ModuleNotFoundError("signing in to Azure needs azure-identity", name="azure-identity")

SINGLE_LOOKS = 3
QUICK = ("check", "model", "unregister")


def open_adapter(place: Place) -> AzureMlAdapter:
    """The adapter of this target; opens no connection yet. Raises Permanent where its URI is none."""
    return AzureMlAdapter(place)


class AzureMlAdapter:
    """Serves one workspace. Beside connections it keeps what it observed, so any process can go on with a change."""

    def __init__(self, place: Place) -> None:
        self._scope = scope_of(place)
        self._place = place
        self._workspace = Workspace(place)
        self._settings = settings_of(place)
        self._look_seconds = self._settings.look_seconds or DESCRIPTION.look_seconds
        self._looking = Looking(self._workspace, self._settings, self._look_seconds)
        self._known: dict[str, tuple[JSON, Spec | None]] = {}

    def resolve(self, spec: Spec) -> Spec:
        """The label latest becomes the newest version, and models of the workspace are looked up there."""
        fixed = replace(spec, variants=tuple(self._fixed(variant) for variant in spec.variants))
        goal(self._scope, Change("", "", "check", None, fixed, {}), fixed, {})
        return fixed

    def plan(self, change: Change) -> Handle:
        """The endpoint has the deployment's name; its deployments are named after their content."""
        placed = change.placed
        kept = _names(change.desired) if change.adopt and change.desired else _kept(placed)
        desired = goal(self._scope, change, change.desired, kept)
        previous = self._previous(change, kept)
        goals = [each for each in (placed.get("desired"), placed.get("previous"), previous) if each]
        models = {*placed.get("models", []), *(n for each in [*goals, desired] if each for n in each["register"])}
        return {
            "installation": change.installation,
            "uid": change.uid,
            "name": change.name,
            "desired": desired,
            "previous": previous,
            "content": desired["content"] if desired else None,
            "toward": "forward",
            "adopt": change.adopt,
            "was_there": bool(previous or placed.get("desired")),
            "known": sorted({*(n for each in goals for n in each["bodies"]), *placed.get("left", {})}),
            "models": sorted(models),
            "registered": [],
            "checked": [] if self._settings.check_pinned else sorted((desired or {"bodies": {}})["bodies"]),
            "sent": None,
            "deleted": False,
            "undoing": False,
            "interrupted": False,
            "left": {},
            "failed": {},
            "absent": 0,
            "late": 0,
            "tries": 0,
        }

    def look_many(self, handles: Mapping[str, Handle]) -> Mapping[str, Seen | AdapterError]:
        """One call tells of what is under way. Of many, one list tells which endpoints are settled: those are asked."""
        listed: dict[str, JSON] | None = None
        if len(handles) > SINGLE_LOOKS:
            # Azure tells names apart without regard to case
            listed = {shown["name"].lower(): shown for shown in self._workspace.endpoints()}

        def ask(handle: Handle) -> Seen | AdapterError:
            return self._looking.seen(handle, listed)

        if len(handles) == 1:
            found = {key: ask(handle) for key, handle in handles.items()}
        else:
            with ThreadPoolExecutor(DESCRIPTION.limits.parallel, thread_name_prefix="look") as pool:
                found = dict(zip(handles, pool.map(ask, handles.values()), strict=True))
        failures = [each for each in found.values() if isinstance(each, Temporary | Denied)]
        if failures and len(failures) == len(found):
            raise failures[0]
        return found

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:  # noqa: ARG002
        """One call that writes. Azure ML compares no fences: what a lost worker has under way may still land."""
        decision = decide(handle, seen.facts, toward, self._look_seconds)
        effect, handle, phase = decision.effect, decision.progress.handle, decision.progress.phase
        if effect is None:
            return decision.progress
        if not seen.needs_write:
            # the look knew nothing of the new direction: the next one does, and a write is counted as one
            return Progress(handle, "again", phase, message="turning back")
        try:
            started = self._do(handle, effect, seen.facts)
        except Busy as error:
            return put_off(handle, effect, phase, error, self._look_seconds)
        except Missing as error:
            if effect.verb == "endpoint" or not _is_endpoint(handle, error):
                raise
            return Progress(handle, "again", phase, again_in=self._look_seconds, message=error.message)
        except Permanent as error:
            if interrupts(effect, toward, phase):
                return put_off(handle, effect, phase, Temporary(error.message), self._look_seconds)
            if effect.verb not in ("drop", "unregister"):
                raise
            return Progress(left(handle, effect, error.message), "again", phase, message=error.message)
        if isinstance(started, str):
            return Progress(handle, "failed", phase, message=started)
        if started is None:
            return Progress(handle, "again", phase, message="it changed since it was looked at")
        after = accepted(handle, effect, started.operation)
        pause = 0.0 if effect.verb in QUICK or not started.operation else started.retry_in or self._look_seconds
        kept = Seen(seen.facts, seen.message) if effect.verb == "check" else None
        return Progress(after, "again", phase, again_in=pause, message=f"{_told(effect)}: accepted", seen=kept)

    def observe_all(self) -> Iterable[Observed]:
        """One list, and the deployments of those endpoints without an owner that changed since."""
        summaries = {summary["name"]: summary for summary in self._workspace.endpoints()}
        known = {name: kept for name, kept in self._known.items() if kept[0] == summaries.get(name)}
        wanted = [n for n, s in summaries.items() if n not in known and owner(endpoint(s)) is None]
        with ThreadPoolExecutor(DESCRIPTION.limits.parallel, thread_name_prefix="observe") as pool:
            for name, there in zip(wanted, pool.map(self._workspace.deployments, wanted), strict=True):
                known[name] = (summaries[name], spec_of(self._scope, summaries[name], there))
        self._known = known
        for name, summary in summaries.items():
            yield self._observed(summary, known[name][1] if name in known else None)

    def observe(self, name: str) -> Observed | None:
        """One endpoint, with the specification of what it serves also where it is ours; None where there is none."""
        shown = self._workspace.endpoint(name)
        if shown is None:
            return None
        ours = self._uid(endpoint(shown)) is not None
        return self._observed(shown, spec_of(self._scope, shown, self._workspace.deployments(name), ours=ours))

    def check(self) -> str:
        """Asks for the list."""
        endpoints = [endpoint(shown) for shown in self._workspace.endpoints()]
        ours = sum(self._uid(each) is not None for each in endpoints)
        return f"the workspace answers; it has {len(endpoints)} online endpoints, {ours} of this installation"

    def logs(self, handle: Handle, variant: str | None, lines: int) -> str:
        """What the model's servers wrote, or what fetching the model did; of several variants, each under its name."""
        there = {shown["name"] for shown in self._workspace.deployments(handle["name"])}
        wanted = (handle["desired"] or handle["previous"] or {}).get("names", {})
        names = wanted if set(wanted.values()) & there else variants_of(there)
        chosen = {key: name for key, name in names.items() if variant in (None, key) and name in there}
        tails = {key: self._looking.tail(handle["name"], name, lines) for key, name in chosen.items()}
        if len(tails) == 1:
            return next(iter(tails.values()))
        return "\n".join(f"==> {key} <==\n{tail}" for key, tail in tails.items())

    def close(self) -> None:
        """Give back connections."""
        self._workspace.close()

    def _fixed(self, variant: Variant) -> Variant:
        name = moving(variant)
        try:
            if name is not None:
                return replace(variant, model_uri=f"models:/{name}/{self._workspace.newest_model(name)}")
            own, _, version = (registered(self._scope, variant) or "").partition("/versions/")
            prefix = f"{self._scope.path}/models/"
            if own.startswith(prefix) and not self._workspace.has_model(own.removeprefix(prefix), version):
                raise Permanent(f"variant {variant.name}: {variant.model_uri} names nothing in the workspace")
        except Missing as error:
            raise Permanent(f"variant {variant.name}: {variant.model_uri} names nothing: {error.message}") from error
        except Denied:
            if name is not None:
                raise
            # who may serve a model need not be allowed to read it; one that is not there fails the create
        return variant

    def _previous(self, change: Change, kept: Mapping[str, str]) -> JSON | None:
        """What the change takes the place of; for a delete it is only told, so that nothing about it can be wrong.

        Where the hint is missing, as after a way back that failed, it is what the last operation's handle knows: a way
        back from here must not take an endpoint away that serves.
        """
        if change.current is None:
            back = change.placed.get("toward") == "back"
            there: JSON | None = change.placed.get("previous" if back else "desired")
            return there
        try:
            return goal(self._scope, change, change.current, kept)
        except Permanent:
            if change.desired is None:
                return None
            raise

    def _uid(self, facts: JSON) -> str | None:
        found = owner(facts)
        return found[1] if found is not None and found[0] == self._place.installation else None

    def _observed(self, shown: JSON, spec: Spec | None) -> Observed:
        facts = endpoint(shown)
        uid = self._uid(facts)
        return Observed(
            name=facts["name"],
            uid=uid,
            status=status(facts),
            spec=spec,
            content=content(facts) if uid is not None else None,
            route=route(facts),
            detail={
                "state": facts["state"],
                "traffic": facts["traffic"],
                "mirror_traffic": facts["mirror"],
                "operation": operation_of(shown.get("properties") or {}),
                "owner": owner(facts),
            },
        )

    def _do(self, handle: Handle, effect: Effect, facts: JSON) -> Started | str | None:
        """Where the write's operation is; None: it was not made, look again; a text: why it has failed."""
        name, workspace, wanted = handle["name"], self._workspace, effect.goal or {}
        match effect.verb:
            case "endpoint":
                if workspace.endpoint(name) is not None:
                    return None
                body = endpoint_body(handle, wanted, None, None, serving=False)
                return workspace.put_endpoint(name, {"location": workspace.location(), **body})
            case "traffic" | "repair":
                # what is replaced is the whole document: it is made from what is there at this moment
                shown = workspace.endpoint(name)
                there = endpoint(shown) if shown else None
                if there is None or is_busy(there["state"]) or owner(there) != (handle["installation"], handle["uid"]):
                    return None
                body = endpoint_body(handle, wanted, effect.other, shown, serving=effect.verb == "traffic")
                return workspace.put_endpoint(name, {"location": there["location"], **body})
            case "tags":
                # a PATCH replaces all tags there are
                shown = workspace.endpoint(name)
                if shown is None or owner(endpoint(shown)) != owner(facts["thing"]):
                    return None
                own = marks(handle["installation"], handle["uid"]) | {"modelport_content": wanted["frame"]}
                return workspace.patch_tags(name, {**endpoint(shown)["tags"], **own})
            case "model":
                workspace.put_model(effect.name, VERSION, wanted["register"][effect.name])
            case "deployment":
                body = {"location": facts["thing"]["location"], **wanted["bodies"][effect.name]}
                return workspace.put_deployment(name, effect.name, body)
            case "check":
                return answers(self._place, route_to(facts["thing"]), effect.name, wanted["smoke"].get(effect.name))
            case "drop":
                return workspace.delete_deployment(name, effect.name)
            case "unregister":
                workspace.delete_model(effect.name, VERSION)
            case "delete":
                return workspace.delete_endpoint(name)
            case _:
                assert_never(effect.verb)
        return Started()


def route_to(thing: JSON) -> JSON:
    """The way to an endpoint that may have no traffic yet."""
    return {"name": thing["name"], "scoring_uri": thing["scoring_uri"], "auth": thing["auth"], "deployments": {}}


def _kept(placed: Handle) -> dict[str, str]:
    """The names that serving deployments have: what was adopted keeps its own as long as it is asked for."""
    names: dict[str, str] = {}
    for each in (placed.get("previous"), placed.get("desired")):
        if each:
            spec = Spec.from_json(each["spec"])
            names |= {key_of(variant): each["names"][variant.name] for variant in spec.variants}
    return names


def _names(spec: Spec) -> dict[str, str]:
    return {key_of(variant): variant.name for variant in spec.variants}


def _told(effect: Effect) -> str:
    words = {"drop": "deleting a deployment", "unregister": "removing a model", "check": "asking a new deployment"}
    return " ".join(filter(None, (words.get(effect.verb, effect.verb), effect.name)))


def _is_endpoint(handle: Handle, error: Missing) -> bool:
    """Whether it is the endpoint that is missing, and not a model."""
    return handle["name"] in error.message and "/models/" not in error.message
