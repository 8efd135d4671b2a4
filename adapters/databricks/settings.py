"""The settings of a whole endpoint, brought about one write at a time after the config; no call is made here.

The tag ``modelport_content`` is written last and remembers them, so that a change of models or traffic alone, the usual
one, costs a single write of the fifty that a workspace takes in five minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from adapters.contract import JSON, Handle, Permanent
from adapters.databricks.goals import FIXED, marks

Verb = Literal["create", "configure", "gateway", "rate_limits", "notifications", "tags", "delete"]
SHOWN: tuple[tuple[Verb, str, str], ...] = (
    ("gateway", "ai_gateway", "gateway"),
    ("notifications", "email_notifications", "notifications"),
)


@dataclass(frozen=True)
class Effect:
    """The one write of a step."""

    verb: Verb
    goal: JSON | None = None
    value: Any = None


def next_setting(handle: Handle, thing: JSON, goal: JSON, other: JSON | None) -> Effect | None:
    """The next write towards the goal's settings; None where they are as they should be.

    ``other`` is the goal that this one takes the place of, as far as it is known: what that one asked for and this one
    does not is dropped, what neither asked for is left alone. Each is written once at most in each direction: what
    the workspace makes of it is its own affair.
    """
    wide, others = goal["wide"], (other or {"wide": {}})["wide"]
    made = handle["made"][handle["toward"]]
    if "auto_capture" not in made and not _is_within(wide.get("auto_capture_config"), thing["auto_capture"]):
        return Effect("configure", goal)
    for verb, key, there in SHOWN:
        dropped = key not in wide and key in others and bool(thing[there])
        if verb not in made and (dropped or not _is_within(wide.get(key), thing[there])):
            return Effect(verb, goal, wide.get(key, {}))
    # no answer shows these: what is remembered counts, except on the way back from having written others
    differ = wide.get("rate_limits") != others.get("rate_limits")
    remembered = thing["tags"].get("modelport_content") == goal["frame"]
    if "rate_limits" not in made and differ and (handle["toward"] == "back" or not remembered):
        return Effect("rate_limits", goal, wide.get("rate_limits", []))
    return None if "tags" in made else _tagging(handle, thing, goal, others)


def refuse_fixed(handle: Handle, thing: JSON, goal: JSON) -> None:
    """Raises Permanent where the goal asks for another value of what is fixed when an endpoint is made."""
    before = (handle["previous"] or {"wide": {}})["wide"]
    for key in FIXED:
        asked, there = goal["wide"].get(key), thing["fixed"][key]
        there = before.get(key) if there is None else there
        if asked is not None and asked != there and not (asked is False and there is None):
            told = "unset" if there is None else repr(there)
            raise Permanent(
                f"{key} of an endpoint cannot be changed, and is {told}: leave it out, or delete the deployment and "
                "create it anew"
            )


def _tagging(handle: Handle, thing: JSON, goal: JSON, others: JSON) -> Effect | None:
    shown = thing["tags"]
    wanted = {**goal["wide"].get("tags", {}), **marks(handle["installation"], handle["uid"], goal["frame"])}
    add = {key: value for key, value in wanted.items() if shown.get(key) != value}
    dropped = [key for key in others.get("tags", {}) if key in shown and key not in wanted]
    return Effect("tags", goal, {"add": add, "delete": dropped}) if add or dropped else None


def _is_within(asked: Any, shown: Any) -> bool:
    """Whether what is shown has all that was asked, whatever it has besides."""
    if asked is None:
        return True
    if isinstance(asked, dict):
        return isinstance(shown, dict) and all(_is_within(value, shown.get(key)) for key, value in asked.items())
    if isinstance(asked, list):
        return isinstance(shown, list) and len(asked) == len(shown) and all(map(_is_within, asked, shown))
    return bool(asked == shown)
