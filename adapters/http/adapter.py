"""The verbs of an in-house platform. What they send and understand is ``docs/targets/http-openapi.yaml``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from adapters.contract import (
    JSON,
    AdapterError,
    Change,
    Conflict,
    Fence,
    Handle,
    Observed,
    Place,
    Progress,
    Seen,
    Spec,
    Temporary,
    Toward,
    Variant,
)
from adapters.http.describe import DESCRIPTION, HttpConfig, HttpSettings
from adapters.http.platform import Accepted, Busy, Owner, Platform
from adapters.http.rollout import Effect, accepted, asks_operation, decide, raises_fence

SINGLE_LOOKS = 3


def open_adapter(place: Place) -> HttpAdapter:
    """The adapter of this target; opens no connection yet. Raises Permanent where its URI is none."""
    return HttpAdapter(place)


class HttpAdapter:
    """Serves one platform. It keeps nothing but connections, so any process can go on with a change."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._platform = Platform(place)
        self._look_seconds = HttpSettings.model_validate(place.settings).look_seconds or DESCRIPTION.look_seconds

    def resolve(self, spec: Spec) -> Spec:
        """As it is: which model an alias names is the platform's to know."""
        return spec

    def plan(self, change: Change) -> Handle:
        """The deployment keeps its name on the platform; what tells two revisions apart is their content's hash."""
        return {
            "installation": change.installation,
            "uid": change.uid,
            "name": change.name,
            "labels": dict(change.labels),
            "desired": _goal(change.desired),
            "previous": _goal(change.current),
            "content": _digest(change.desired.to_json()) if change.desired else None,
            "toward": "forward",
            "adopt": change.adopt,
            "accepted": None,
            "busy": None,
            "fenced": 0,
        }

    def look_many(self, handles: Mapping[str, Handle]) -> Mapping[str, Seen | AdapterError]:
        """Three at most are asked for one by one, more with one list."""
        things = self._listed(handles) if len(handles) > SINGLE_LOOKS else self._single(handles)
        seen: dict[str, Seen | AdapterError] = {}
        for key, thing in things.items():
            try:
                seen[key] = thing if isinstance(thing, AdapterError) else self._seen(handles[key], thing)
            except AdapterError as error:
                seen[key] = error
        return seen

    def step(self, handle: Handle, seen: Seen, toward: Toward, fence: Fence) -> Progress:
        """One PUT or one DELETE, which builds on the ETag that was seen and carries the fence."""
        decision = decide(handle, seen.facts, toward, self._look_seconds)
        equal = raises_fence(handle, seen.facts, decision, fence.floor)
        if equal is not None:
            self._write(decision.progress.handle, equal, fence)
            fenced = {**handle, "fenced": fence.number}
            return Progress(fenced, "again", "switch", message="making late calls of a lost worker void")
        if decision.effect is None:
            return decision.progress
        handle = decision.progress.handle
        if not seen.needs_write:
            # the look knew nothing of the new direction: the next one does, and a write is counted as one
            return Progress(handle, "again", "switch", message="turning back")
        try:
            answer = self._write(handle, decision.effect, fence)
        except Busy as error:
            after = {**handle, "busy": decision.effect.base}
            wait = error.retry_in or self._look_seconds
            return Progress(after, "again", "switch", again_in=wait, message=error.message)
        return self._after({**handle, "fenced": fence.number}, decision.effect, answer, toward)

    def observe_all(self) -> Iterable[Observed]:
        """The platform's list, page by page; what is not ours comes without its uid."""
        for document in self._platform.list():
            thing = self._platform.thing(document)
            owner = thing["owner"]
            ours = owner is not None and owner["installation"] == self._place.installation
            yield Observed(
                name=thing["name"],
                uid=owner["uid"] if ours else None,
                status=thing["status"],
                spec=_spec(thing) if thing["content"] is not None else None,
                content=thing["content"],
                route={"name": thing["name"]},
                detail={"etag": thing["etag"], "operation": thing["operation"], "message": thing["message"]},
            )

    def check(self) -> str:
        """Asks for one page of one deployment."""
        empty = next(self._platform.list(page_size=1), None) is None
        return f"{self._place.uri} answers" + ("; it has no deployments" if empty else "")

    def logs(self, handle: Handle, variant: str | None, lines: int) -> str:  # noqa: ARG002
        """None: the contract has no logs."""
        return ""

    def close(self) -> None:
        """Give back connections."""
        self._platform.close()

    def _listed(self, handles: Mapping[str, Handle]) -> Mapping[str, JSON | AdapterError | None]:
        wanted = {handle["name"] for handle in handles.values()}
        found: dict[str, JSON | AdapterError | None] = {}
        for document in self._platform.list():
            name = document.get("name") if isinstance(document, dict) else None
            if isinstance(name, str) and name in wanted:
                try:
                    found[name] = self._platform.thing(document)
                except AdapterError as error:
                    found[name] = error
                if len(found) == len(wanted):
                    break
        return {key: found.get(handle["name"]) for key, handle in handles.items()}

    def _single(self, handles: Mapping[str, Handle]) -> Mapping[str, JSON | AdapterError | None]:
        found: dict[str, JSON | AdapterError | None] = {}
        for key, handle in handles.items():
            try:
                found[key] = self._platform.get(handle["name"])
            except Temporary as error:
                found[key] = error
        failures = [thing for thing in found.values() if isinstance(thing, AdapterError)]
        if failures and len(failures) == len(found):
            raise failures[0]
        return found

    def _seen(self, handle: Handle, thing: JSON | None) -> Seen:
        operation = None
        if asks_operation(handle, thing):
            operation = self._platform.operation(handle["accepted"]["location"])
        facts = {"thing": thing, "operation": operation}
        try:
            decision = decide(handle, facts, handle["toward"], self._look_seconds)
        except Conflict as conflict:
            return Seen(facts, conflict.message, needs_write=False)
        return Seen(facts, decision.progress.message, needs_write=decision.effect is not None)

    def _write(self, handle: Handle, effect: Effect, fence: Fence) -> Accepted:
        name = handle["name"]
        if effect.goal is None:
            owner = Owner(installation=handle["installation"], uid=handle["uid"])
            return self._platform.delete(name, owner, fence=fence.number, base=effect.base)
        body = {
            "owner": {"installation": handle["installation"], "uid": handle["uid"]},
            "content": effect.goal["content"],
            "variants": [_sent(variant) for variant in effect.goal["spec"]["variants"]],
            "traffic": effect.goal["spec"]["traffic"],
            "labels": handle["labels"],
        }
        # the same content on the same base is the same request, whoever repeats it and whenever
        key = _digest([handle["installation"], handle["uid"], effect.base, effect.goal["content"]])
        adopt = effect.verb == "adopt"
        return self._platform.put(name, body, key=key, fence=fence.number, base=effect.base, adopt=adopt)

    def _after(self, handle: Handle, effect: Effect, answer: Accepted, toward: Toward) -> Progress:
        operation = answer.thing["operation"] if answer.thing else None
        after = accepted(handle, effect.base, operation, answer.location, answer.retry_after)
        gone = effect.verb == "delete" and answer.status != 202
        if answer.thing is not None or gone:
            following = decide(after, {"thing": answer.thing, "operation": None}, toward, self._look_seconds)
            if following.effect is None:
                return following.progress
        wait = answer.retry_after or self._look_seconds
        return Progress(after, "again", "switch", again_in=wait, message="accepted by the platform")


def _goal(spec: Spec | None) -> JSON | None:
    return {"content": _digest(spec.to_json()), "spec": spec.to_json()} if spec else None


def _sent(variant: JSON) -> JSON:
    config = HttpConfig.model_validate(variant["config"])
    return {
        "name": variant["name"],
        "model_uri": variant["model_uri"],
        "flavor": variant["flavor"],
        "replicas": config.replicas,
        "platform": config.platform,
    }


def _spec(thing: JSON) -> Spec | None:
    """What the platform shows, as it was asked for; None where it shows something else."""
    try:
        variants = tuple(
            Variant(
                shown["name"],
                shown["model_uri"],
                shown.get("flavor"),
                HttpConfig(replicas=shown.get("replicas"), platform=shown.get("platform") or {}).model_dump(
                    exclude_defaults=True
                ),
            )
            for shown in thing["variants"]
        )
    except (KeyError, TypeError, ValueError):
        return None
    return Spec(variants, thing["traffic"])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
