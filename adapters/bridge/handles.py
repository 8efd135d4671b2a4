"""What a change's handle tells: its calls and their outcomes, what was deployed before, and under which name.

A call is first intended (the handle is stored with it), then begun (once, whatever happens to who began it), then
concluded: its outcome goes into the handle.
"""

from __future__ import annotations

from typing import Literal

from adapters.bridge.shapes import is_same
from adapters.contract import JSON, Handle, Toward

CHANGED_NOTHING = frozenset({"void", "unsupported", "denied", "exists"})
UNKNOWN = frozenset({"unknown", "lost"})

Verb = Literal["create", "update", "delete"]


def intended(handle: Handle, verb: Verb, spec: JSON | None, toward: Toward, fence: int, family: str | None) -> Handle:
    """The handle with one more call. Fences grow from claim to claim, so that no two operations share a call's name."""
    calls = handle["calls"]
    identity = f"{fence}-{toward}-{len(calls)}-{verb}"
    call = {"id": identity, "verb": verb, "toward": toward, "spec": spec, "outcome": None}
    return {**handle, "family": family, "calls": [*calls, call]}


def concluded(handle: Handle, seen: JSON) -> Handle:
    """The handle with the outcome of its last call, by how the call's files look."""
    answer = seen.get("answer", {})
    if answer:
        outcome = {"kind": answer["kind"], "message": answer.get("message", "")}
    elif seen["state"] == "void":
        outcome = {"kind": "void", "message": ""}
    else:
        outcome = {"kind": "lost", "message": "the process of the call ended without an answer"}
    after = {**handle, "calls": [*handle["calls"][:-1], {**handle["calls"][-1], "outcome": outcome}]}
    after["family"] = answer.get("family") or after["family"]
    if is_same(answer.get("name"), after["name"]):
        after["known_as"] = answer["name"]
    return after


def pending(handle: Handle) -> JSON | None:
    """The call that was intended and is not concluded."""
    last: JSON | None = handle["calls"][-1] if handle["calls"] else None
    return last if last is not None and last["outcome"] is None else None


def asks_plugin(handle: Handle) -> bool:
    """Whether the next step depends on what the plugin shows; while a call is under way it does not."""
    return pending(handle) is None


def served(handle: Handle, record: JSON | None) -> JSON | None:
    """What was deployed before this change, by the record on this machine, or else by the handle of the last change."""
    return record or handle["before"]


def known_as(handle: Handle, record: JSON | None) -> str:
    """The name to ask the plugin for."""
    before = served(handle, record)
    return str(handle["known_as"] or (before and before["known_as"]) or handle["name"])


def is_void(call: JSON) -> bool:
    """Whether it never began, and never will."""
    return call["outcome"] is not None and call["outcome"]["kind"] == "void"


def changed(call: JSON) -> bool:
    """Whether it may have changed something, by its outcome."""
    return call["outcome"] is None or call["outcome"]["kind"] not in CHANGED_NOTHING


def doing(call: JSON) -> str:
    """What goes on while it is under way."""
    return f"the plugin {call['verb']}s"
