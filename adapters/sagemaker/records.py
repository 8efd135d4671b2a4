"""The writes of a rollout, and how each is remembered. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from adapters.contract import JSON, Handle

Verb = Literal[
    "pack",
    "create_model",
    "create_config",
    "create_endpoint",
    "update_endpoint",
    "update_weights",
    "delete_endpoint",
    "adopt",
    "tag",
    "untag",
    "delete_config",
    "delete_model",
    "delete_object",
]
SWITCHES = frozenset({"create_endpoint", "update_endpoint", "update_weights", "delete_endpoint"})
REMOVALS = frozenset({"delete_config", "delete_model", "delete_object", "tag", "untag"})


@dataclass(frozen=True)
class Effect:
    """The one write of a step: what, on the thing of which name, and with what."""

    verb: Verb
    name: str
    body: Any = None


def done(
    handle: Handle, facts: JSON, effect: Effect, *, unsure: bool = False, exists: bool = False
) -> tuple[Handle, JSON]:
    """The handle and what is known once this write was made.

    ``unsure``: its answer was lost; ``exists``: the answer was that the endpoint is there already.
    """
    if effect.verb in SWITCHES:
        there = facts["endpoint"]
        asked = {
            "what": effect.verb,
            "toward": handle["toward"],
            "base": there["modified"] if there else None,
            "seen": False,
            "unsure": unsure or exists,
            "exists": exists,
        }
        return {**handle, "asked": asked, "misses": 0}, facts
    if effect.verb in ("create_model", "create_config"):
        return {**handle, "made": [*handle["made"], effect.name]}, facts
    if effect.verb == "pack":
        return {**handle, "packing": {**handle["packing"], effect.name: effect.body}}, {**facts, "packages": {}}
    if effect.verb == "adopt":
        return handle, {**facts, "owner": "ours"}
    if effect.verb in ("tag", "untag"):
        tagged = {**(handle["tagged"] or {}), **effect.body} if effect.verb == "tag" else handle["desired"]["tags"]
        return {**handle, "tagged": tagged}, facts
    packing = {name: each for name, each in handle["packing"].items() if name != effect.name}
    left = facts["left"]
    if effect.verb == "delete_object":
        return {**handle, "packing": packing, "emptied": [*handle["emptied"], effect.name]}, facts
    kind = "configs" if effect.verb == "delete_config" else "models"
    rest = [name for name in left[kind] if name != effect.name]
    made = [name for name in handle["made"] if name != effect.name]
    return {**handle, "made": made}, {**facts, "left": {**left, kind: rest}}
