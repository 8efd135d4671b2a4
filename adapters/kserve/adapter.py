"""The verbs of KServe: what to do is decided in ``rollout`` and ``shapes``, and done through ``kubernetes.cluster``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    Toward,
)
from adapters.kserve import manifests, things
from adapters.kserve.asking import spec_of
from adapters.kserve.decisions import Effect, Pace, accepted
from adapters.kserve.describe import DESCRIPTION, KServeSettings
from adapters.kserve.goals import CONTAINER, VARIANT, goal
from adapters.kserve.reading import Found, Reader
from adapters.kserve.rollout import decide
from adapters.kubernetes.cluster import Cluster, Occupied, Stale
from adapters.kubernetes.logs import tails
from adapters.kubernetes.namespaces import namespace_of

if find_spec("kubernetes") is None:  # looked for and not imported; the registry turns this into the extra to install
    raise ModuleNotFoundError("signing in to a cluster needs the kubernetes client", name="kubernetes")

PROBE = "modelport-probe"
PROBED: JSON = {"model": {"modelFormat": {"name": "mlflow"}, "storageUri": "s3://modelport/probe"}}


def open_adapter(place: Place) -> KServeAdapter:
    """The adapter of this target; opens no connection yet. Raises Permanent where its URI is none."""
    return KServeAdapter(place)


class KServeAdapter:
    """Serves one namespace. It keeps nothing but connections, so any process can go on with a change."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._settings = KServeSettings.model_validate(place.settings)
        self._cluster = Cluster(place, self._settings, namespace_of(place, "kserve"))
        self._reader = Reader(self._cluster)
        self._pace = Pace(self._settings.look_seconds or DESCRIPTION.look_seconds, self._settings.stalled_looks)

    def resolve(self, spec: Spec) -> Spec:
        """As it is: a storage URI moves nowhere. What comes up one after the other is checked first, as a dry run."""
        wanted = goal(spec)
        if wanted is not None and len(spec.variants) > 1:
            for variant in wanted["predictors"]:
                probe = manifests.probe(wanted, variant, PROBE)
                self._cluster.apply(things.SERVICES, probe, force=True, dry_run=True)
        return spec

    def plan(self, change: Change) -> Handle:
        """The InferenceService has the deployment's name; its predictors carry a digest of what was asked of them."""
        desired = goal(change.desired)
        known = (change.placed.get(key) for key in ("seen", "sent", "placed"))
        placed = None if change.placed.get("deleted") else next(filter(None, known), None)
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
            "seen": None,
            "placed": placed,
            "deleted": False,
            "undoing": False,
            "absent": 0,
            "late": 0,
            "stalled": 0,
        }

    def look_many(self, handles: Mapping[str, Handle]) -> Mapping[str, Seen | AdapterError]:
        """Three at most are asked for one by one, more with one list of each kind."""
        found = self._reader.several(handle["name"] for handle in handles.values()) if handles else {}
        return {key: self._seen(handle, found[handle["name"]]) for key, handle in handles.items()}

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:  # noqa: ARG002
        """One apply or one delete, which builds on the version that was seen: what changed since is looked at again."""
        decision = decide(handle, seen.facts, toward, self._pace)
        if decision.effect is None:
            return decision.progress
        handle = decision.progress.handle
        if not seen.needs_write:
            # the look knew nothing of the new direction: the next one does, and a write is counted as one
            return Progress(handle, "again", "switch", message="turning back")
        there = seen.facts["thing"]
        try:
            shown = self._write(handle, decision.effect, seen.facts)
        except (Stale, Occupied) as error:
            # its controller writes to it all the time; nothing was done, and the next look builds on what is there now
            wait = error.retry_in or (0 if isinstance(error, Stale) else self._pace.look_seconds)
            return Progress(handle, "again", "switch", again_in=wait, message=error.message)
        after = accepted(handle, decision.effect, there, shown)
        return Progress(after, "again", "switch", message="accepted by the API server")

    def observe_all(self) -> Iterable[Observed]:
        """One list of InferenceServices, and one of each kind of children that there are."""
        for shown, children in self._reader.all():
            yield self._observed(shown, things.thing(shown, children))

    def observe(self, name: str) -> Observed | None:
        """One, with the specification of what it serves also where it is ours; None where there is none."""
        found = self._reader.one(name)
        if found is None:
            return None
        observed = self._observed(found[0], things.thing(*found))
        return Observed(**{**vars(observed), "spec": spec_of(found[0])})

    def check(self) -> str:
        """Asks for a page of the list, and whether an InferenceService could be made, as a dry run."""
        next(self._cluster.list(things.SERVICES, limit=1), None)
        probe: JSON = {"metadata": {"name": PROBE}, "spec": {"predictor": PROBED}}
        self._cluster.apply(things.SERVICES, probe, force=True, dry_run=True)
        return f"the cluster answers; InferenceServices can be made in namespace {self._cluster.namespace}"

    def logs(self, handle: Handle, variant: str | None, lines: int) -> str:
        """What the model's pods said last; with several variants each has its name above."""
        wanted = (handle["desired"] or handle["previous"] or {"digests": {}})["digests"]
        selector = f"{things.OWNER_LABEL}={handle['name']}"
        return tails(self._cluster, selector, CONTAINER, VARIANT, sorted(wanted), variant, lines)

    def close(self) -> None:
        """Nothing is held: connections are the process's."""

    def _seen(self, handle: Handle, found: Found | AdapterError | None) -> Seen | AdapterError:
        if isinstance(found, AdapterError):
            return found
        facts: JSON = {"thing": things.thing(*found) if found else None}
        if found and handle["adopt"]:
            facts["spec"] = found[0].get("spec")
        try:
            decision = decide(handle, facts, handle["toward"], self._pace)
        except Conflict as conflict:
            return Seen(facts, conflict.message, needs_write=False)
        except AdapterError as error:
            return error
        return Seen(facts, decision.progress.message, needs_write=decision.effect is not None)

    def _write(self, handle: Handle, effect: Effect, facts: JSON) -> JSON | None:
        there = facts["thing"]
        if effect.verb == "delete":
            self._cluster.delete(things.SERVICES, handle["name"], there["uid"], there["version"])
            return None
        wanted = effect.goal or {}
        if effect.verb == "adopt":
            document = manifests.adopting(handle, wanted, there, facts["spec"])
            return self._cluster.apply(things.SERVICES, document, force=False)
        if effect.shape is None:
            raise AssertionError("an apply has a shape")
        document = manifests.manifest(handle, wanted, effect.shape, there)
        # what is ours is brought back to what was asked for, whoever changed it; what is made anew takes nothing over
        return self._cluster.apply(things.SERVICES, document, force=there is not None)

    def _observed(self, shown: JSON, facts: JSON) -> Observed:
        owner = facts["owner"]
        uid = owner[1] if owner is not None and owner[0] == self._place.installation else None
        spec = spec_of(shown) if uid is None else None
        name = shown["metadata"]["name"]
        variants = [line[0] for line in things.carried(facts) if line[0]] or ["main"]
        protocol = ((shown.get("spec") or {}).get("predictor") or {}).get("model", {}).get("protocolVersion")
        route = {
            "name": name,
            "url": facts["url"],
            "protocol": "v1" if protocol == "v1" else "v2",
            "variants": sorted(variants),
            "pins": facts["pins"],
        }
        return Observed(
            name=name,
            uid=uid,
            status=things.status_word(facts),
            # ours is told by its content alone: defaults of the cluster are shown as if they had been asked for
            spec=spec,
            content=things.content(facts) if uid is not None else None,
            route=route if facts["url"] else None,
            detail={
                "mode": facts["mode"],
                "variants": things.carried(facts),
                "failure": facts["failure"] or None,
                "owner": owner,
            },
        )


def _previous(change: Change) -> JSON | None:
    """What the change takes the place of; for a delete it is only told, so that nothing about it can be wrong."""
    try:
        return goal(change.current)
    except Permanent:
        if change.desired is None:
            return None
        raise
