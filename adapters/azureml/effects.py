"""What one step does to the workspace, and what it leaves in the handle; nothing here decides or calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adapters.contract import JSON, Handle, Phase, Progress, Temporary, Toward

Verb = Literal["endpoint", "repair", "traffic", "tags", "model", "deployment", "check", "drop", "unregister", "delete"]


@dataclass(frozen=True)
class Effect:
    """The one write of a step, or the one question to a new deployment."""

    verb: Verb
    name: str = ""
    goal: JSON | None = None
    other: JSON | None = None


@dataclass(frozen=True)
class Decision:
    """What to do, if anything; without it, ``progress`` is what the step came to."""

    progress: Progress
    effect: Effect | None = None


def turned(handle: Handle, toward: Toward) -> Handle:
    """The handle in this direction; what was counted in the other one is forgotten."""
    return handle if handle["toward"] == toward else {**handle, "toward": toward, "absent": 0, "late": 0, "tries": 0}


def accepted(handle: Handle, effect: Effect, operation: str | None) -> Handle:
    """The handle once Azure took the write, or the deployment answered well."""
    handle = {**handle, "absent": 0, "late": 0}
    if effect.verb == "check":
        return {**handle, "checked": [*handle["checked"], effect.name]}
    if effect.verb == "model":
        return {**handle, "registered": [*handle["registered"], effect.name]}
    if effect.verb == "unregister":
        gone = [name for name in handle["models"] if name != effect.name]
        return {**handle, "models": gone, "registered": [n for n in handle["registered"] if n != effect.name]}
    sent = {"verb": effect.verb, "name": effect.name, "toward": handle["toward"], "operation": operation}
    return {**handle, "sent": sent, "deleted": handle["deleted"] or effect.verb == "delete"}


def left(handle: Handle, effect: Effect, why: str) -> Handle:
    """The handle once something of before stays behind: the next change, or a reconcile, tries to remove it again."""
    kind = "model" if effect.verb == "unregister" else "deployment"
    return {**handle, "sent": None, "left": {**handle["left"], effect.name: [kind, why]}}


def put_off(handle: Handle, effect: Effect, phase: Phase, error: Temporary, look_seconds: float) -> Progress:
    """What a refusal for the moment comes to: the write is tried again after another look."""
    if interrupts(effect, handle["toward"], phase):
        handle = {**handle, "interrupted": True}
    return Progress(handle, "again", phase, again_in=error.retry_in or look_seconds, message=error.message)


def interrupts(effect: Effect, toward: Toward, phase: Phase) -> bool:
    """Whether it removes what is still being made, which is tried once: Azure need not let it."""
    return effect.verb == "drop" and toward == "back" and phase == "prepare"
