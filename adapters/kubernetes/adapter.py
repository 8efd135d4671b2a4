"""The verbs of plain Kubernetes: what to do is decided in ``rollout``, and done through ``cluster``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

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
from adapters.kubernetes import goals, things
from adapters.kubernetes.cluster import DEPLOYMENTS, SERVICES, Cluster, Occupied, Stale
from adapters.kubernetes.describe import DESCRIPTION, KubernetesSettings
from adapters.kubernetes.logs import tails
from adapters.kubernetes.namespaces import namespace_of
from adapters.kubernetes.rollout import Effect, Pace, accepted, decide

if find_spec("kubernetes") is None:  # looked for and not imported; the registry turns this into the extra to install
    raise ModuleNotFoundError("signing in to a cluster needs the kubernetes client", name="kubernetes")

SINGLE_LOOKS = 3
PROBE = "modelport-probe"


def open_adapter(place: Place) -> KubernetesAdapter:
    """The adapter of this target; opens no connection yet. Raises Permanent where its URI is none."""
    return KubernetesAdapter(place)


class KubernetesAdapter:
    """Serves one namespace. It keeps nothing but connections, so any process can go on with a change."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._settings = KubernetesSettings.model_validate(place.settings)
        self._cluster = Cluster(place, self._settings, namespace_of(place, "kubernetes"))
        look_seconds = self._settings.look_seconds or DESCRIPTION.look_seconds
        self._pace = Pace(look_seconds, self._settings.drain_seconds)

    def resolve(self, spec: Spec) -> Spec:
        """As it is: which model a URI names is for the model's server to know."""
        goals.goal(spec, self._settings, "any")
        return spec

    def plan(self, change: Change) -> Handle:
        """The Service has the deployment's name; a Deployment is called so with a digest of what was asked for."""
        desired = goals.goal(change.desired, self._settings, change.name)
        return {
            "installation": change.installation,
            "uid": change.uid,
            "name": change.name,
            "desired": desired,
            "previous": self._previous(change),
            "content": desired["content"] if desired else None,
            "toward": "forward",
            "sent": {},
            "placed": _placed(change.placed),
            "removed": [],
            "service_gone": False,
            "left": {},
            "drained": False,
            "undoing": False,
            "absent": 0,
            "late": 0,
        }

    def look_many(self, handles: Mapping[str, Handle]) -> Mapping[str, Seen | AdapterError]:
        """Three at most are asked for one by one, more with one list of Services and one of Deployments."""
        names = sorted({handle["name"] for handle in handles.values()})
        found = self._listed() if len(names) > SINGLE_LOOKS else self._single(names)
        nothing: JSON = {"service": None, "deployments": []}
        return {key: self._seen(handle, found.get(handle["name"], nothing)) for key, handle in handles.items()}

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:  # noqa: ARG002
        """One apply or one delete, which builds on the version that was seen: what changed since is looked at again."""
        decision = decide(handle, seen.facts, toward, self._pace)
        if decision.effect is None:
            return self._told(decision.progress)
        handle, phase = decision.progress.handle, decision.progress.phase
        if not seen.needs_write:
            # the look knew nothing of the new direction: the next one does, and a write is counted as one
            return Progress(handle, "again", phase, message="turning back")
        effect = decision.effect
        try:
            shown = self._write(handle, effect, seen.facts)
        except (Stale, Occupied) as error:
            wait = error.retry_in or (0 if isinstance(error, Stale) else self._pace.look_seconds)
            return Progress(handle, "again", phase, again_in=wait, message=error.message)
        except Permanent as error:
            if effect.verb != "delete_deployment" or phase != "clean" or handle["desired"] is None or toward == "back":
                raise
            # the new version serves: what cannot be removed is told, and tried again with the next change
            left = {**handle["left"], (effect.thing or {})["name"]: error.message}
            return Progress({**handle, "left": left}, "again", phase, message=error.message)
        return Progress(accepted(handle, effect, shown), "again", phase, message="accepted by the API server")

    def observe_all(self) -> Iterable[Observed]:
        """One list of Services and one of Deployments; ours alone, since nothing else can be adopted."""
        for name, facts in self._listed(ours=True).items():
            found = self._observed(name, facts)
            if found is not None:
                yield found

    def observe(self, name: str) -> Observed | None:
        """One of ours; None where there is none."""
        return self._observed(name, self._facts(name))

    def check(self) -> str:
        """Asks for a page of each list, and whether a Service could be made, as a dry run."""
        next(self._cluster.list(DEPLOYMENTS, goals.NAME_LABEL, limit=1), None)
        spec: JSON = {"selector": {goals.NAME_LABEL: PROBE}, "ports": [{"name": "http", "port": 80}]}
        self._cluster.apply(SERVICES, {"metadata": {"name": PROBE}, "spec": spec}, force=True, dry_run=True)
        return f"the cluster answers; Services can be made in namespace {self._cluster.namespace}"

    def logs(self, handle: Handle, variant: str | None, lines: int) -> str:
        """What the newest pod of the version that serves said last."""
        wanted = handle["desired"] or handle["previous"]
        selector = f"{goals.NAME_LABEL}={handle['name']}"
        if wanted:
            selector += f",{goals.DIGEST_LABEL}={wanted['digest']}"
        return tails(self._cluster, selector, goals.CONTAINER, goals.VARIANT, [], variant, lines)

    def close(self) -> None:
        """Nothing is held: connections are the process's."""

    def _previous(self, change: Change) -> JSON | None:
        """What the change takes the place of; for a delete it is only told, so that nothing about it can be wrong."""
        try:
            return goals.goal(change.current, self._settings, change.name)
        except Permanent:
            if change.desired is None:
                return None
            raise

    def _facts(self, name: str) -> JSON:
        service = self._cluster.get(SERVICES, name)
        return things.facts(service, list(self._cluster.list(DEPLOYMENTS, f"{goals.NAME_LABEL}={name}")))

    def _single(self, names: list[str]) -> Mapping[str, JSON | AdapterError]:
        def ask(name: str) -> JSON | AdapterError:
            try:
                return self._facts(name)
            except Temporary as error:
                return error

        if len(names) == 1:
            return {names[0]: self._facts(names[0])}
        with ThreadPoolExecutor(DESCRIPTION.limits.parallel, thread_name_prefix="look") as pool:
            found = dict(zip(names, pool.map(ask, names), strict=True))
        failures = [each for each in found.values() if isinstance(each, AdapterError)]
        if failures and len(failures) == len(found):
            raise failures[0]
        return found

    def _listed(self, *, ours: bool = False) -> dict[str, JSON | AdapterError]:
        selector = goals.NAME_LABEL if ours else ""
        services = {each["metadata"]["name"]: each for each in self._cluster.list(SERVICES, selector)}
        deployments: dict[str, list[JSON]] = defaultdict(list)
        for each in self._cluster.list(DEPLOYMENTS, goals.NAME_LABEL):
            deployments[each["metadata"]["labels"][goals.NAME_LABEL]].append(each)
        names = {*services, *deployments}
        return {name: things.facts(services.get(name), deployments.get(name, [])) for name in names}

    def _seen(self, handle: Handle, facts: JSON | AdapterError) -> Seen | AdapterError:
        if isinstance(facts, AdapterError):
            return facts
        try:
            decision = decide(handle, facts, handle["toward"], self._pace)
        except Conflict as conflict:
            return Seen(facts, conflict.message, needs_write=False)
        except AdapterError as error:
            return error
        return Seen(facts, decision.progress.message, needs_write=decision.effect is not None)

    def _write(self, handle: Handle, effect: Effect, facts: JSON) -> JSON | None:
        if effect.thing is not None:
            kind = SERVICES if effect.verb == "delete_service" else DEPLOYMENTS
            self._cluster.delete(kind, effect.thing["name"], effect.thing["uid"])
            return None
        goal = effect.goal or {}
        kind = SERVICES if effect.verb == "service" else DEPLOYMENTS
        there = facts["service"] if effect.verb == "service" else things.of(facts, goal["digest"])
        document = goal[effect.verb]
        marks = {goals.INSTALLATION: handle["installation"], goals.UID: handle["uid"]}
        metadata = {**document["metadata"], "annotations": {**document["metadata"]["annotations"], **marks}}
        if there is not None:
            metadata |= {"uid": there["uid"], "resourceVersion": there["version"]}
        return self._cluster.apply(kind, {**document, "metadata": metadata}, force=there is not None)

    def _told(self, progress: Progress) -> Progress:
        """A failure with the end of what the pod said."""
        goal = progress.handle["desired" if progress.handle["toward"] == "forward" else "previous"]
        if progress.outcome != "failed" or not self._settings.failure_log_lines or not goal:
            return progress
        selector = f"{goals.NAME_LABEL}={progress.handle['name']},{goals.DIGEST_LABEL}={goal['digest']}"
        lines = self._settings.failure_log_lines
        try:
            said = tails(self._cluster, selector, goals.CONTAINER, goals.VARIANT, [], None, lines)
        except AdapterError:
            return progress  # the failure is told all the same
        told = f"{progress.message}\nThe end of the pod's log:\n{said}" if said else progress.message
        return Progress(progress.handle, "failed", progress.phase, message=told)

    def _observed(self, name: str, facts: JSON | AdapterError) -> Observed | None:
        if isinstance(facts, AdapterError):
            return None
        service = facts["service"]
        serving = things.of(facts, service["selects"]) if service else None
        owner = service["owner"] if service else None
        if service is None or owner is None or owner[0] != self._place.installation:
            return None
        return Observed(
            name=name,
            uid=owner[1],
            status=things.status_word(facts, serving),
            spec=Spec.from_json(serving["spec"]) if serving and serving["spec"] else None,
            content=goals.content(service["selects"], serving["sum"] if serving else None, service["sum"]),
            route={"name": name, "variants": [serving["variant"]]} if serving else None,
            detail={"deployments": [each["name"] for each in facts["deployments"]], "owner": owner},
        )


def _placed(placed: Handle) -> JSON:
    """What the last operation wrote last and what it removed: what is seen from before that is stale."""
    if not placed:
        return {}
    before = placed["placed"]
    service = placed["sent"].get("service") or before.get("service") if placed["desired"] else None
    return {"service": service, "removed": placed["removed"] or before.get("removed", [])}
