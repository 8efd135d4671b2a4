"""The verbs of Databricks Model Serving: what to do is decided in ``rollout``, and done in ``workspace``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import assert_never

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
    Temporary,
    Toward,
)
from adapters.databricks.connection import profile_of
from adapters.databricks.describe import DESCRIPTION, DatabricksSettings
from adapters.databricks.goals import config_body, goal, marks, variants_of
from adapters.databricks.models import fix
from adapters.databricks.rollout import accepted, decide, needs_whole
from adapters.databricks.settings import Effect
from adapters.databricks.things import (
    BROKEN,
    content,
    data_plane,
    is_settled_alone,
    owner,
    rows_of,
    spec_of,
    status,
    thing,
)
from adapters.databricks.workspace import Busy, Exists, Missing, Workspace

if find_spec("databricks") is None:  # looked for and not imported; the registry turns this into the extra to install
    raise ModuleNotFoundError("signing in to a workspace needs databricks-sdk", name="databricks-sdk")

SINGLE_LOOKS = 3


def open_adapter(place: Place) -> DatabricksAdapter:
    """The adapter of this target; opens no connection yet. Raises Permanent where its URI is none."""
    return DatabricksAdapter(place)


class DatabricksAdapter:
    """Serves one workspace. Beside connections it keeps what it observed, so any process can go on with a change."""

    def __init__(self, place: Place) -> None:
        profile_of(place)
        self._place = place
        self._workspace = Workspace(place)
        self._settings = DatabricksSettings.model_validate(place.settings)
        self._look_seconds = self._settings.look_seconds or DESCRIPTION.look_seconds
        self._known: dict[str, tuple[JSON, JSON]] = {}

    def resolve(self, spec: Spec) -> Spec:
        """Aliases become versions, and versions are looked up in the registry that they are of."""
        fixed = fix(self._workspace, spec)
        goal(fixed)
        return fixed

    def plan(self, change: Change) -> Handle:
        """The endpoint has the deployment's name; its served entities are named after their content."""
        desired = goal(change.desired)
        return {
            "installation": change.installation,
            "uid": change.uid,
            "name": change.name,
            "desired": desired,
            "previous": _previous(change),
            "content": desired["content"] if desired else None,
            "toward": "forward",
            "adopt": change.adopt,
            "sent": None,
            "placed_at": _placed_at(change.placed),
            "deleted": False,
            "undoing": False,
            "made": {"forward": [], "back": []},
            "absent": 0,
            "late": 0,
        }

    def look_many(self, handles: Mapping[str, Handle]) -> Mapping[str, Seen | AdapterError]:
        """Three at most are asked for one by one; of more, those alone of which one list does not tell enough."""
        listed: dict[str, JSON | None] = {}
        if len(handles) > SINGLE_LOOKS:
            summaries = {summary["name"]: summary for summary in self._workspace.endpoints()}
            there = {name: thing(summary, whole=False) for name, summary in summaries.items()}
            listed = {key: there.get(handle["name"]) for key, handle in handles.items()}
        asked = [key for key, handle in handles.items() if key not in listed or not _tells(handle, listed[key])]
        found = {**listed, **self._single({key: handles[key] for key in asked})}
        return {key: self._seen(handle, found[key]) for key, handle in handles.items()}

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:  # noqa: ARG002
        """One call that writes. The workspace compares no fences: what a lost worker has under way may still land."""
        decision = decide(handle, seen.facts, toward, self._look_seconds)
        if decision.effect is None:
            return decision.progress
        handle = decision.progress.handle
        if not seen.needs_write:
            # the look knew nothing of the new direction: the next one does, and a write is counted as one
            return Progress(handle, "again", "switch", message="turning back")
        try:
            shown = self._write(handle, decision.effect)
        except (Busy, Exists) as error:
            wait = error.retry_in or self._look_seconds
            return Progress(handle, "again", "switch", again_in=wait, message=error.message)
        except Missing as error:
            if decision.effect.verb == "create" or not _is_endpoint(handle, error):
                raise
            return Progress(handle, "again", "switch", again_in=self._look_seconds, message=error.message)
        after = accepted(handle, decision.effect, shown)
        if shown is None:
            return Progress(after, "again", "switch", message="accepted by the workspace")
        following = decide(after, {"thing": shown}, toward, self._look_seconds)
        return following.progress if following.effect is None else Progress(after, "again", "switch")

    def observe_all(self) -> Iterable[Observed]:
        """One list, and the documents of those endpoints of which it does not tell enough and that changed since."""
        summaries = {summary["name"]: summary for summary in self._workspace.endpoints()}
        self._known = {name: kept for name, kept in self._known.items() if kept[0] == summaries.get(name)}
        wanted = [name for name, s in summaries.items() if name not in self._known and not self._is_told(s)]
        with ThreadPoolExecutor(DESCRIPTION.limits.parallel, thread_name_prefix="observe") as pool:
            for name, shown in zip(wanted, pool.map(self._workspace.get, wanted), strict=True):
                if shown is not None:
                    self._known[name] = (summaries[name], shown)
        for name, summary in summaries.items():
            if name in self._known:
                yield self._observed(self._known[name][1], whole=True)
            elif self._is_told(summary):
                yield self._observed(summary, whole=False)

    def observe(self, name: str) -> Observed | None:
        """One endpoint, with the specification of what it serves also where it is ours; None where there is none."""
        shown = self._workspace.get(name)
        if shown is None:
            return None
        found = self._observed(shown, whole=True)
        return Observed(**{**vars(found), "spec": spec_of(shown)})

    def check(self) -> str:
        """Asks for the list."""
        endpoints = self._workspace.endpoints()
        ours = sum(self._uid(thing(each, whole=False)) is not None for each in endpoints)
        return f"the workspace answers; it has {len(endpoints)} serving endpoints, {ours} of this installation"

    def logs(self, handle: Handle, variant: str | None, lines: int) -> str:
        """What the model's servers said, or what building them did; with several variants each has its name above."""
        shown = self._workspace.get(handle["name"])
        wanted = (handle["desired"] or handle["previous"] or {}).get("names", {})
        there = [
            line[0] for config in ("config", "pending_config") for line in rows_of((shown or {}).get(config) or {})
        ]
        names = wanted if set(wanted.values()) & set(there) else variants_of(there)
        chosen = {key: name for key, name in names.items() if variant in (None, key)}
        tails = {key: self._tail(handle["name"], name, lines) for key, name in chosen.items()}
        if len(tails) == 1:
            return next(iter(tails.values()))
        return "\n".join(f"==> {key} <==\n{tail}" for key, tail in tails.items())

    def close(self) -> None:
        """Give back connections."""
        self._workspace.close()

    def _single(self, handles: Mapping[str, Handle]) -> dict[str, JSON | AdapterError | None]:
        def ask(handle: Handle) -> JSON | AdapterError | None:
            try:
                shown = self._workspace.get(handle["name"])
            except Temporary as error:
                return error
            return thing(shown, whole=True) if shown else None

        with ThreadPoolExecutor(DESCRIPTION.limits.parallel, thread_name_prefix="look") as pool:
            found = dict(zip(handles, pool.map(ask, handles.values()), strict=True))
        failures = [each for each in found.values() if isinstance(each, AdapterError)]
        if failures and len(failures) == len(found):
            raise failures[0]
        return found

    def _seen(self, handle: Handle, found: JSON | AdapterError | None) -> Seen | AdapterError:
        if isinstance(found, AdapterError):
            return found
        facts: JSON = {"thing": found}
        try:
            decision = decide(handle, facts, handle["toward"], self._look_seconds)
            if found and found["whole"] and decision.progress.outcome == "failed":
                facts = {"thing": {**found, "log": self._failure_log(handle["name"], found)}}
                decision = decide(handle, facts, handle["toward"], self._look_seconds)
        except Conflict as conflict:
            return Seen(facts, conflict.message, needs_write=False)
        except AdapterError as error:
            return error
        return Seen(facts, decision.progress.message, needs_write=decision.effect is not None)

    def _failure_log(self, name: str, found: JSON) -> str:
        broken = [entity for entity, (state, _) in found["pending_states"].items() if state in BROKEN]
        if not broken or not self._settings.failure_log_lines:
            return ""
        try:
            said = self._workspace.build_log(name, broken[0]).splitlines()
        except AdapterError:
            return ""  # the failure is told all the same
        return "\n".join(said[-self._settings.failure_log_lines :])

    def _tail(self, name: str, entity: str, lines: int) -> str:
        said = self._workspace.server_log(name, entity) or self._workspace.build_log(name, entity)
        return "\n".join(said.splitlines()[-lines:])

    def _is_told(self, summary: JSON) -> bool:
        """Whether the list's entry tells all that is observed of an endpoint: ours with one served entity."""
        return self._uid(thing(summary, whole=False)) is not None and is_settled_alone(summary)

    def _uid(self, facts: JSON) -> str | None:
        found = owner(facts)
        return found[1] if found is not None and found[0] == self._place.installation else None

    def _observed(self, shown: JSON, *, whole: bool) -> Observed:
        facts = thing(shown, whole=whole)
        uid = self._uid(facts)
        rows = rows_of(shown.get("config") or {})
        route = {"name": facts["name"], "entities": variants_of(line[0] for line in rows)}
        plane = data_plane(shown)
        return Observed(
            name=facts["name"],
            uid=uid,
            status=status(facts),
            # ours is told by its content alone: the workspace shows no config exactly as it was asked for
            spec=None if uid is not None else spec_of(shown),
            content=content(facts, rows) if uid is not None else None,
            route=route | ({"data_plane": plane} if plane else {}) if rows else None,
            detail={"update": facts["update"], "entities": rows, "owner": owner(facts)},
        )

    def _write(self, handle: Handle, effect: Effect) -> JSON | None:
        """What the workspace shows of the endpoint in its answer, where it does."""
        name, workspace = handle["name"], self._workspace
        match effect.verb:
            case "create":
                return thing(workspace.create(_create_body(handle, effect.goal or {})), whole=True)
            case "configure":
                return thing(workspace.configure(name, config_body(effect.goal or {})), whole=True)
            case "gateway":
                workspace.put_gateway(name, effect.value)
            case "rate_limits":
                workspace.put_rate_limits(name, effect.value)
            case "notifications":
                workspace.patch_notifications(name, effect.value)
            case "tags":
                workspace.patch_tags(name, effect.value["add"], effect.value["delete"])
            case "delete":
                workspace.delete(name)
            case _:
                assert_never(effect.verb)
        return None


def _previous(change: Change) -> JSON | None:
    """What the change takes the place of; for a delete it is only told, so that nothing about it can be wrong."""
    try:
        return goal(change.current)
    except Permanent:
        if change.desired is None:
            return None
        raise


def _placed_at(placed: Handle) -> int | None:
    """When the last operation's write was taken, by the workspace's clock: what is seen older than that is stale."""
    told = [at for at in ((placed.get("sent") or {}).get("at"), placed.get("placed_at")) if at is not None]
    return max(told, default=None)


def _tells(handle: Handle, found: JSON | None) -> bool:
    """Whether the list is enough: of an update known to be under way, and of what was never begun and is not there."""
    if found is not None:
        return not needs_whole(handle, found)
    begun = handle["sent"] or handle["deleted"] or handle["absent"] or handle["previous"]
    return handle["desired"] is not None and handle["toward"] == "forward" and not begun


def _is_endpoint(handle: Handle, error: Missing) -> bool:
    """Whether it is the endpoint that is missing, and not a model."""
    return "ndpoint" in error.message and handle["name"] in error.message


def _create_body(handle: Handle, goal: JSON) -> JSON:
    wide = {key: value for key, value in goal["wide"].items() if key not in ("tags", "auto_capture_config")}
    tags = {**goal["wide"].get("tags", {}), **marks(handle["installation"], handle["uid"], goal["frame"])}
    return {
        "name": handle["name"],
        "config": config_body(goal),
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
        **wide,
    }
