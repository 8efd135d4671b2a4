"""The verbs of the ``local`` target. Imports no MLflow: what needs it runs as a process of its own."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import assert_never
from urllib.parse import urlsplit

import httpx

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
from adapters.local.describe import DESCRIPTION, LocalConfig, LocalSettings
from adapters.local.interpreter import Interpreter
from adapters.local.model_uris import fix
from adapters.local.record import Found, Record, conflict, everything, root_of
from adapters.local.rollout import Effect, Pace, decide
from adapters.local.servers import Server, answering

if find_spec("mlflow") is None:  # looked for and not imported; the registry turns this into the extra to install
    raise ModuleNotFoundError("the models' servers need MLflow", name="mlflow")

SCORING_SERVER = "mlflow.pyfunc.scoring_server.app:app"
FAILURE_LINES = 20


def open_adapter(place: Place) -> LocalAdapter:
    """The adapter of this target. Raises Permanent where the target belongs to another machine."""
    return LocalAdapter(place)


class LocalAdapter:
    """Serves one target on this machine. All it knows is on disk, so any process of this machine can go on with it.

    ``app`` is the ASGI application that a server serves; it finds its model where MLflow's scoring server does.
    """

    def __init__(self, place: Place, app: str = SCORING_SERVER) -> None:
        host = urlsplit(place.uri).netloc
        if host not in ("", socket.gethostname()):
            raise Permanent(f"target {place.name} belongs to the machine {host}, this is {socket.gethostname()}")
        self._place = place
        self._app = app
        self._settings = LocalSettings.model_validate(place.settings)
        self._interpreter = Interpreter(self._settings)
        self._root = root_of(place)
        self._pace = Pace(DESCRIPTION.look_seconds, self._settings.drain_seconds, self._settings.stop_seconds)
        self._client = httpx.Client(trust_env=False)

    def resolve(self, spec: Spec) -> Spec:
        """Paths get a fingerprint of their files, ``runs:/`` a model id, aliases and ``latest`` a version."""
        return fix(spec, self._interpreter, self._place.call_timeout_seconds)

    def plan(self, change: Change) -> Handle:
        """A server's name comes from whose it is and all that it serves, so the same variant keeps its server.

        ``change`` tells this change's traces on the machine from those of the one before it that asked for the same.
        """
        desired = change.desired
        variants = desired.variants if desired else ()
        configs = {v.name: LocalConfig.model_validate(v.config) for v in variants}
        servers = {v.name: _server_id(change, v, configs[v.name]) for v in variants}
        traffic = dict(desired.traffic) if desired else {}
        return {
            "uid": change.uid,
            "name": change.name,
            "desired": desired.to_json() if desired else None,
            "configs": {name: config.model_dump(mode="json") for name, config in configs.items()},
            "servers": servers,
            "content": _digest([_content(v, configs[v.name]) for v in variants], traffic) if desired else None,
            "change": _digest(change.placed.get("change"), desired.to_json() if desired else None),
            "toward": "forward",
            "published": False,
            "drained_at": None,
            "terminated": {},
            "killed": {},
        }

    def look_many(self, handles: Mapping[str, Handle]) -> Mapping[str, Seen | AdapterError]:
        """Reads the folders, then asks the servers that are being waited for, all at once."""
        there = everything(self._root) if handles else []
        found = {key: self._facts(handle, there) for key, handle in handles.items()}
        ready = answering(self._client, [url for key, facts in found.items() for url in _awaited(handles[key], facts)])
        return {key: self._seen(handles[key], facts, ready) for key, facts in found.items()}

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:
        """One decision of ``rollout`` and its effect, under the deployment's lock and fence on this machine."""
        decision = decide(handle, seen.facts, toward, self._pace, time.time())
        record = self._record(handle)
        with record.writing(fence.number, self._place.call_timeout_seconds):
            if decision.effect is not None:
                record.serves()
                self._perform(decision.effect, record, decision.progress)
        return decision.progress

    def observe_all(self) -> Iterable[Observed]:
        """Reads every folder of the target and asks every server for an answer.

        ``detail["placed"]`` is what ``plan`` needs of the last handle, for who has none.
        """
        there = everything(self._root)
        states = {server.folder: server.look() for found in there for server in found.servers}
        alive = [state["url"] for state in states.values() if state["state"] == "starting"]
        ready = answering(self._client, alive)
        for found in there:
            serves = found.serves
            up = {server.id for server in found.servers if states[server.folder].get("url") in ready}
            shown = {server.id: states[server.folder] for server in found.servers}
            yield Observed(
                name=found.name,
                uid=found.uid if found.installation == self._place.installation else None,
                status=_status(serves, up),
                spec=Spec.from_json(serves["spec"]) if serves else None,
                content=serves["content"] if serves else None,
                route=serves["route"] if serves else None,
                detail={
                    "servers": shown,
                    "answering": sorted(up),
                    "placed": {"change": serves["change"]} if serves else {},
                },
            )

    def check(self) -> str:
        """Starts the interpreter of the models' servers and lets it ask the model registry."""
        ran = self._interpreter.run("resolve.py", "--check", timeout=self._place.call_timeout_seconds)
        if ran.returncode != 0:
            raise Temporary(f"MLflow does not answer: {ran.last_words()}")
        servers = [server for found in everything(self._root) for server in found.servers]
        up = sum(server.look()["state"] == "starting" for server in servers)
        return f"{socket.gethostname()}: {ran.stdout.strip()}; {up} servers of models running"

    def logs(self, handle: Handle, variant: str | None, lines: int) -> str:
        """From the files that the servers write; with several variants each has its name above."""
        record = self._record(handle)
        wanted = {name: server for name, server in handle["servers"].items() if variant in (None, name)}
        tails = {name: record.server(server).tail(lines) for name, server in wanted.items()}
        if len(tails) == 1:
            return next(iter(tails.values()))
        return "\n".join(f"==> {name} <==\n{tail}" for name, tail in tails.items())

    def close(self) -> None:
        """Give back connections; the servers go on."""
        self._client.close()

    def _record(self, handle: Handle) -> Record:
        return Record(self._root, handle["uid"], self._place.installation)

    def _facts(self, handle: Handle, there: list[Found]) -> JSON:
        record = self._record(handle)
        why = conflict(there, self._place.installation, handle["uid"], handle["name"])
        try:
            serves = record.serves()
        except Conflict:
            return {"conflict": why, "folder": False, "serves": None, "servers": {}}
        servers = {server.id: server.look() for server in record.servers()}
        return {"conflict": why, "folder": record.folder.is_dir(), "serves": serves, "servers": servers}

    def _seen(self, handle: Handle, facts: JSON, ready: set[str]) -> Seen:
        record = self._record(handle)
        servers = {}
        for server, state in facts["servers"].items():
            if state.get("url") in ready:
                servers[server] = {**state, "state": "ready"}
            elif server in handle["servers"].values() and state["state"] != "absent":
                servers[server] = {**state, "tail": record.server(server).tail(FAILURE_LINES)}
            else:
                servers[server] = state
        facts = {**facts, "servers": servers}
        try:
            decision = decide(handle, facts, handle["toward"], self._pace, time.time())
        except Conflict as conflicting:
            return Seen(facts, conflicting.message, needs_write=False)
        return Seen(facts, decision.progress.message, needs_write=decision.effect is not None)

    def _perform(self, effect: Effect, record: Record, progress: Progress) -> None:
        match effect.verb:
            case "start":
                self._start(record, progress.handle, effect.on)
            case "publish":
                record.publish(_published(progress))
            case "restore":
                record.restore(progress.handle["change"])
            case "withdraw":
                record.withdraw()
            case "terminate":
                record.server(effect.on).terminate()
            case "kill":
                record.server(effect.on).kill()
            case "remove":
                record.server(effect.on).remove()
            case "close":
                record.close()
            case _:
                assert_never(effect.verb)

    def _start(self, record: Record, handle: Handle, variant: str) -> None:
        server: Server = record.server(handle["servers"][variant])
        model_uri = next(v["model_uri"] for v in handle["desired"]["variants"] if v["name"] == variant)
        wanted = {
            "installation": self._place.installation,
            "uid": handle["uid"],
            "name": handle["name"],
            "variant": variant,
            "change": handle["change"],
            "model_uri": model_uri,
            "config": handle["configs"][variant],
            "app": self._app,
            "bind": self._settings.bind,
            "run_as": self._settings.run_as,
            "limits": {
                "AS": self._settings.memory_bytes,
                "NOFILE": self._settings.open_files,
                "NPROC": self._settings.processes,
            },
        }
        server.start(wanted, self._interpreter, self._place.call_timeout_seconds)


def _published(progress: Progress) -> JSON:
    handle = progress.handle
    return {
        "uid": handle["uid"],
        "name": handle["name"],
        "change": handle["change"],
        "spec": handle["desired"],
        "content": handle["content"],
        "servers": handle["servers"],
        "route": progress.route,
    }


def _awaited(handle: Handle, facts: JSON) -> list[str]:
    """The addresses of those servers that the change wants and that live."""
    states = (facts["servers"].get(server, {}) for server in handle["servers"].values())
    return [state["url"] for state in states if state.get("state") == "starting"]


def _status(serves: JSON | None, up: set[str]) -> str:
    """``serving``, ``degraded`` (some variants' servers answer), ``down`` (none) or ``stray`` (nothing published)."""
    if serves is None:
        return "stray"
    wanted = set(serves["servers"].values())
    if wanted <= up:
        return "serving"
    return "degraded" if wanted & up else "down"


def _server_id(change: Change, variant: Variant, config: LocalConfig) -> str:
    return f"{variant.name}-{_digest(change.installation, change.uid, _content(variant, config))}"


def _content(variant: Variant, config: LocalConfig) -> list[object]:
    """Without defaults, so that a key which a later version brings does not make every server another one."""
    return [variant.name, variant.model_uri, variant.flavor, config.model_dump(mode="json", exclude_defaults=True)]


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
