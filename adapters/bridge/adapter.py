"""The verbs of a bridged target. Imports no MLflow: whatever needs it is asked of a process that holds the plugin."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, assert_never

from adapters.bridge.asking import Refused, holder_of
from adapters.bridge.describe import BridgeSettings
from adapters.bridge.handles import asks_plugin, known_as, pending
from adapters.bridge.installed import host_of, name_in, plugin_of, plugin_uri
from adapters.bridge.records import SLOTS, Book, everything, full, root_of
from adapters.bridge.rollout import Effect, Pace, decide
from adapters.bridge.shapes import MOVING, is_same
from adapters.bridge.states import states_of
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
    Variant,
)

if find_spec("mlflow") is None:  # looked for and not imported; the registry turns this into what to install
    raise ModuleNotFoundError("plugins of MLflow need MLflow", name="mlflow")

NAMES_AT_ONCE = 25
LOOKS_AT_ONCE = 4


def open_adapter(place: Place) -> BridgeAdapter:
    """The adapter of this target. Raises Permanent where the target belongs to another machine."""
    return BridgeAdapter(place)


class BridgeAdapter:
    """Serves one target by its plugin. All it knows is on disk, so any process of this machine can go on with it."""

    def __init__(self, place: Place) -> None:
        host = host_of(place.uri)
        if host not in (None, socket.gethostname()):
            raise Permanent(f"target {place.name} belongs to the machine {host}, this is {socket.gethostname()}")
        self._place = place
        self._settings = BridgeSettings.model_validate(place.settings)
        self._root = root_of(place)
        self._pace = Pace(
            self._settings.look_seconds, self._settings.call_seconds, self._settings.updates == "recreate"
        )
        plugin = plugin_of(name_in(place.uri))
        self._plugin = plugin.name if plugin else name_in(place.uri)
        self._ready, self._failed = states_of(self._plugin, self._settings)
        self._family: str = self._settings.family

    def resolve(self, spec: Spec) -> Spec:
        """Aliases, stages and ``latest`` of MLflow's registry become versions; other URIs are the plugin's to read."""
        moving = sorted({v.model_uri for v in spec.variants if MOVING.fullmatch(v.model_uri)})
        if not moving:
            return spec
        found = self._ask({"verb": "resolve", "uris": moving})
        return Spec(tuple(_resolved(variant, found) for variant in spec.variants), spec.traffic)

    def plan(self, change: Change) -> Handle:
        """The deployment keeps its name on the target; calls get names of their own when they are decided on."""
        placed = change.placed
        before = {key: placed[key] for key in ("known_as", "family", "content")} if placed.get("desired") else None
        return {
            "uid": change.uid,
            "name": change.name,
            "host": socket.gethostname(),
            "folder": str(self._root),
            "desired": change.desired.to_json() if change.desired else None,
            "content": _digest(change.desired.to_json()) if change.desired else None,
            "before": {**before, "name": placed["name"], "spec": placed["desired"]} if before else None,
            "toward": "forward",
            "known_as": None,
            "family": None,
            "calls": [],
        }

    def look_many(self, handles: Mapping[str, Handle]) -> Mapping[str, Seen | AdapterError]:
        """Reads the files of calls under way, and asks the plugin about what has none; more than three by its list."""
        files = {key: self._files(handle) for key, handle in handles.items()}
        names = {
            key: known_as(handles[key], found["record"])
            for key, found in files.items()
            if not isinstance(found, AdapterError) and asks_plugin(handles[key])
        }
        there = self._look(sorted(set(names.values()))) if names else {}
        seen: dict[str, Seen | AdapterError] = {}
        for key, found in files.items():
            shown = there[names[key]] if key in names else {"there": None, "state": "unknown", "said": ""}
            if isinstance(found, AdapterError):
                seen[key] = found
            elif isinstance(shown, AdapterError):
                seen[key] = shown
            else:
                seen[key] = self._seen(handles[key], {**found, "there": shown})
        return seen

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:
        """One decision of ``rollout`` and its effect, under the deployment's lock and fence on this machine.

        The effect on the target is at most that one call of the plugin begins; nothing here waits for its end.
        """
        self._check_place(handle)
        decision = decide(handle, seen.facts, toward, fence.number, self._pace, time.time())
        if decision.effect is not None and decision.effect.writes and not seen.needs_write:
            # the look knew nothing of the new direction: the next one does, and a write is counted as one
            return Progress(decision.progress.handle, "again", "switch", message="turning back")
        book = self._book(handle)
        with book.writing(fence.number, self._place.call_timeout_seconds):
            if decision.effect is not None:
                self._perform(decision.effect, book, decision.progress)
        return decision.progress

    def observe_all(self) -> Iterable[Observed]:
        """The plugin's list, and a single look at what is ours and not in it, as a list may be a page only.

        The plugin keeps no marks and shows no revision: what serves is what was deployed last, as long as it is there.
        """
        records = everything(self._root)
        listed = self._listed()
        missing = [r for r in records if not any(is_same(each["name"], r["known_as"]) for each in listed)]
        there = self._look(sorted({record["known_as"] for record in missing})) if missing else {}
        for each in listed:
            record = next((r for r in records if is_same(each["name"], r["known_as"])), None)
            yield self._observed(record, each["name"], each["state"], each)
        for record in missing:
            found = there[record["known_as"]]
            if isinstance(found, AdapterError):
                raise found
            if found["there"] is not False:
                yield self._observed(record, record["name"], found["state"], found)

    def check(self) -> str:
        """Opens the plugin's client and asks for its list."""
        plugin = plugin_of(self._plugin)
        package = plugin.package if plugin else "not installed here"
        found = self._ask({"verb": "check", **self._how()})
        count = "cannot list" if found["count"] is None else f"lists {found['count']} {found['family']}"
        return f"{self._plugin} ({package}, MLflow {found['mlflow']}) {count}"

    def logs(self, handle: Handle, variant: str | None, lines: int) -> str:  # noqa: ARG002
        """None: MLflow's interface has no logs."""
        return ""

    def close(self) -> None:
        """Nothing to give back: the process that holds the plugin ends by itself."""

    def _files(self, handle: Handle) -> JSON | AdapterError:
        try:
            self._check_place(handle)
            book, call = self._book(handle), pending(handle)
            seen = book.call(call["id"]).look() if call else None
            waits = seen is not None and seen["state"] == "new"
            taken = waits and full(self._root / SLOTS, self._settings.calls_at_once)
            return {"record": book.served(), "call": seen, "full": taken}
        except AdapterError as error:
            return error

    def _look(self, names: list[str]) -> dict[str, JSON | AdapterError]:
        """How each stands; raises where that is to be had of none."""
        parts = [names[at : at + NAMES_AT_ONCE] for at in range(0, len(names), NAMES_AT_ONCE)]
        with ThreadPoolExecutor(min(LOOKS_AT_ONCE, len(parts)), thread_name_prefix="look") as pool:
            asked = {"verb": "look", **self._how(), **self._states()}
            answers = list(pool.map(lambda part: self._ask({**asked, "names": part}), parts))
        found: dict[str, JSON | AdapterError] = {}
        for answer in answers:
            self._family = answer["family"]  # found out once, as that may take the plugin a list
            for name, seen in answer["found"].items():
                refused = "kind" in seen
                found[name] = (
                    Refused(seen["kind"], seen["message"]).of_read()
                    if refused
                    else {**seen, "family": answer["family"]}
                )
        failures = [seen for seen in found.values() if isinstance(seen, AdapterError)]
        if failures and len(failures) == len(found):
            raise failures[0]
        return found

    def _listed(self) -> list[JSON]:
        try:
            listed: list[JSON] = self._ask({"verb": "list", **self._how(), **self._states()})["listed"]
        except Permanent:
            return []  # without a list, what is ours is asked for one by one
        return listed

    def _seen(self, handle: Handle, facts: JSON) -> Seen:
        try:
            decision = decide(handle, facts, handle["toward"], 0, self._pace, time.time())
        except Conflict as conflict:
            return Seen(facts, conflict.message, needs_write=False)
        writes = decision.effect is not None and decision.effect.writes
        return Seen(facts, decision.progress.message, needs_write=writes)

    def _perform(self, effect: Effect, book: Book, progress: Progress) -> None:
        match effect.verb:
            case "begin":
                self._begin(book, progress.handle)
            case "void":
                book.call(effect.call).void()
            case "kill":
                book.call(effect.call).kill()
            case "publish":
                book.publish(effect.document)
                book.tidy({call["id"] for call in progress.handle["calls"]})
            case "forget":
                book.forget()
                book.tidy(set())
            case "tidy":
                book.tidy(set())
            case _:
                assert_never(effect.verb)

    def _begin(self, book: Book, handle: Handle) -> None:
        """Where another began it, or all places are taken, this does nothing, and the next look tells."""
        intended = handle["calls"][-1]
        desired, name = intended["spec"], known_as(handle, book.served())
        call = book.call(intended["id"])
        call.prepare(
            {
                "uri": plugin_uri(self._place.uri),
                "verb": intended["verb"],
                "name": handle["name"] if intended["verb"] == "create" else name,
                "variant": desired["variants"][0] if desired else None,
                "family": handle["family"] or self._settings.family,
                "endpoint": self._settings.endpoint,
                "delete_config": self._settings.delete_config,
                "seconds": self._settings.call_seconds,
                "slots": str(self._root / SLOTS),
                "calls_at_once": self._settings.calls_at_once,
            }
        )
        self._ask({"verb": "call", "folder": str(call.folder)})

    def _observed(self, record: JSON | None, name: str, state: str, shown: JSON) -> Observed:
        status = {"ready": "serving", "unknown": "serving", "incomplete": "serving"}.get(state, state)
        detail = {"said": shown.get("said", ""), "shown": shown.get("shown", {})}
        if record is None or record["installation"] != self._place.installation:
            return Observed(name, None, status, None, detail=detail)
        spec = Spec.from_json(record["spec"])
        return Observed(record["name"], record["uid"], status, spec, record["content"], record["route"], detail)

    def _ask(self, request: JSON) -> Any:
        try:
            return holder_of(self._place).ask(request, self._place.call_timeout_seconds)
        except Refused as refused:
            raise refused.of_read() from refused

    def _how(self) -> JSON:
        return {"family": self._family, "endpoint": self._settings.endpoint}

    def _states(self) -> JSON:
        return {"ready": self._ready, "failed": self._failed}

    def _book(self, handle: Handle) -> Book:
        return Book(self._root, handle["uid"], self._place.installation)

    def _check_place(self, handle: Handle) -> None:
        """A call under way is known by the files of one folder on one machine: elsewhere it would begin twice."""
        if (handle["host"], handle["folder"]) != (socket.gethostname(), str(self._root)):
            raise Temporary(
                f"the plugin's calls of this change are recorded in {handle['folder']} on {handle['host']}, and this "
                f"worker has {self._root} on {socket.gethostname()}: let all workers of this machine share one folder"
            )


def _resolved(variant: Variant, found: JSON) -> Variant:
    answer = found.get(variant.model_uri)
    if answer is None:
        return variant
    if "failure" in answer:
        words = f"variant {variant.name}: {variant.model_uri} names nothing: {answer['failure']['message']}"
        raise Permanent(words) if answer["failure"]["kind"] in ("absent", "permanent") else Temporary(words)
    return Variant(variant.name, answer["value"], variant.flavor, variant.config)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
