"""Makes the one write of a step, and says what came of it."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from adapters.contract import JSON, Denied, Handle, Permanent, Progress
from adapters.sagemaker.calls import Calls
from adapters.sagemaker.naming import Owner
from adapters.sagemaker.packing import Packing
from adapters.sagemaker.records import REMOVALS, SWITCHES, Effect, done
from adapters.sagemaker.refusals import Absent, Busy, Exists, Lost, PartMissing
from adapters.sagemaker.rollout import LAG, Pace

PART_SECONDS = 2.0
_KINDS = {
    "tag": "tags",
    "untag": "tags",
    "delete_config": "endpoint configuration",
    "delete_model": "model",
    "delete_object": "S3 object",
}


def perform(
    calls: Calls, packing: Packing, progress: Progress, facts: JSON, effect: Effect, pace: Pace
) -> tuple[Progress, JSON | None]:
    """Write. The facts that hold afterwards, or None where the next step needs a look first.

    A change of the endpoint whose answer was lost is not an error: it is looked for. What cannot be removed is left.
    """
    handle = progress.handle
    try:
        effect = _write(calls, packing, handle, effect)
    except Exists as error:
        if effect.verb != "create_endpoint":
            return _after(progress, facts, effect)
        # ours whose answer was lost, or another's: the look tells
        return _looked_for(progress, facts, effect, pace, error.message, exists=True)
    except Lost as error:
        if effect.verb not in SWITCHES:
            raise
        return _looked_for(progress, facts, effect, pace, error.message)
    except Busy as error:
        return replace(progress, again_in=pace.look_seconds, message=error.message), None
    except PartMissing as error:
        return _part_missing(progress, error)
    except Absent as error:
        if effect.verb == "delete_endpoint":
            return _after(progress, facts, effect)
        return replace(progress, again_in=pace.lag_seconds, message=error.message), None
    except (Denied, Permanent) as error:
        if effect.verb not in REMOVALS:
            raise
        return _left_behind(progress, effect, error), facts
    return _after(progress, facts, effect, wait=pace.look_seconds if effect.verb in SWITCHES else 0.0)


def _write(calls: Calls, packing: Packing, handle: Handle, effect: Effect) -> Effect:
    """Returns the effect as it is to be remembered."""
    name, body = effect.name, effect.body
    match effect.verb:
        case "pack":
            return replace(effect, body=packing.start(name, body))
        case "create_model":
            calls.create_model(body)
        case "create_config":
            calls.create_config(body)
        case "create_endpoint":
            owner = Owner(handle["installation"], handle["uid"], handle["name"])
            calls.create_endpoint(name, body["config"], {**body["tags"], **owner.tags})
        case "update_endpoint":
            calls.update_endpoint(name, body["config"], body["update"])
        case "update_weights":
            calls.update_weights(name, body)
        case "delete_endpoint":
            calls.delete_endpoint(name)
        case "adopt":
            calls.tag(name, Owner(handle["installation"], handle["uid"], handle["name"]).tags)
        case "tag":
            calls.tag(name, body)
        case "untag":
            calls.untag(name, body)
        case "delete_config":
            calls.delete_config(name)
        case "delete_model":
            calls.delete_model(name)
        case "delete_object":
            packing.stop(name)
            url = body or _artefact(calls, name)
            if url is not None:
                calls.delete_object(url)
        case _:
            assert_never(effect.verb)
    return effect


def _artefact(calls: Calls, model: str) -> str | None:
    """Where the model of this name has its artefact, if it was packed for it alone."""
    described = calls.model(model) or {}
    url = described.get("PrimaryContainer", {}).get("ModelDataUrl")
    return str(url) if url and f"/{model}/" in url else None


def _after(progress: Progress, facts: JSON, effect: Effect, wait: float = 0.0) -> tuple[Progress, JSON | None]:
    handle, facts = done(progress.handle, facts, effect)
    return replace(progress, handle=handle, again_in=wait), None if effect.verb in SWITCHES else facts


def _looked_for(
    progress: Progress, facts: JSON, effect: Effect, pace: Pace, message: str, *, exists: bool = False
) -> tuple[Progress, JSON | None]:
    handle, _ = done(progress.handle, facts, effect, unsure=True, exists=exists)
    return replace(progress, handle=handle, again_in=pace.lag_seconds, message=message), None


def _part_missing(progress: Progress, error: PartMissing) -> tuple[Progress, JSON | None]:
    """Models and configurations show a moment after they were made; what does not show for long is made again."""
    handle = progress.handle
    again = handle["parts"] >= LAG
    handle = {**handle, "parts": 0 if again else handle["parts"] + 1, "made": [] if again else handle["made"]}
    return replace(progress, handle=handle, again_in=PART_SECONDS, message=error.message), None


def _left_behind(progress: Progress, effect: Effect, error: Permanent) -> Progress:
    name = f"{effect.name}/model.tar.gz" if effect.verb == "delete_object" else effect.name
    left = {"kind": _KINDS[effect.verb], "name": name, "why": error.message}
    handle = {**progress.handle, "leftovers": [*progress.handle["leftovers"], left]}
    return replace(progress, handle=handle)
