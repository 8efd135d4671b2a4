"""Reading of MLflow's ``config``: what concerns the call, what the deployment, and what is left for the target.

From a shell every value is text. What is ours is read here; what is the target's is made ready for its config model,
which reads plain numbers and truths from text by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = dict[str, Any]

CALL = frozenset({"wait", "synchronous", "timeout_seconds"})
CHANGE = CALL | {"deadline_seconds", "if_match", "traffic", "labels"}
DELETION = CALL | {"if_match", "traffic", "cancel_pending"}
ENDPOINT = CHANGE | {"variants", "model_uri", "flavor"}

TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Unfit(ValueError):
    """A value that cannot be read, or a key that does not belong here; the message says which and what would do."""


@dataclass(frozen=True)
class Given:
    """A config, read. ``target`` is what is left for the target's config model. None: not given.

    ``share`` is the traffic of one variant in percent, ``traffic`` that of all of them.
    """

    wait: bool | None = None
    timeout_seconds: float | None = None
    deadline_seconds: float | None = None
    if_match: str | None = None
    cancel_pending: bool = False
    labels: dict[str, str | None] | None = None
    share: int | None = None
    traffic: dict[str, int] | None = None
    variants: list[JSON] | None = None
    model_uri: str | None = None
    flavor: str | None = None
    target: JSON = field(default_factory=dict)


def read(config: Mapping[str, Any] | None, ours: frozenset[str], schema: JSON | None = None) -> Given:
    """Reads a config whose keys in ``ours`` are not the target's. Raises Unfit."""
    config = dict(config or {})
    mine = {key: config[key] for key in config if key in ours and config[key] is not None}
    share, split = _traffic(mine.get("traffic"))
    return Given(
        wait=_wait(mine),
        timeout_seconds=seconds("timeout_seconds", mine.get("timeout_seconds")),
        deadline_seconds=seconds("deadline_seconds", mine.get("deadline_seconds")),
        if_match=str(mine["if_match"]) if "if_match" in mine else None,
        cancel_pending=truth("cancel_pending", mine.get("cancel_pending", False)),
        labels=_labels(mine.get("labels")),
        share=share,
        traffic=split,
        variants=_variants(mine.get("variants"), schema),
        model_uri=mine.get("model_uri"),
        flavor=mine.get("flavor"),
        target={key: coerced(key, value, schema) for key, value in config.items() if key not in ours},
    )


def nothing_new(given: Given, is_target: Callable[[str], bool], what: str) -> None:
    """Raises Unfit unless what is left asks for nothing, or repeats what the target's URI and settings say.

    MLflow's scripts repeat region and role with every call; another one than the target's must not be ignored.
    """
    for key, value in given.target.items():
        if value and str(value).lower() not in {"false", "none", "null"} and not is_target(str(value)):
            raise Unfit(f"{what} takes no config {key}, except for what the target is anyway")


def nothing_else(given: Given, what: str) -> None:
    """Raises Unfit where keys are left that nobody reads."""
    if given.target:
        raise Unfit(f"{what} takes no config {', '.join(sorted(given.target))}")


def coerced(key: str, value: Any, schema: JSON | None) -> Any:
    """Text from a shell as the target's config model can read it; anything else as it is.

    With the JSON schema of the model: JSON, unless the key takes text. Without: only what pydantic does not read from
    text by itself, which is lists, objects and null.
    """
    if not isinstance(value, str):
        return value
    if schema is None:
        return _json_or_text(value) if value == "null" or value[:1] in {"{", "["} else value
    properties = schema.get("properties", {})
    if key not in properties:
        return value if schema.get("additionalProperties") is False else _json_or_text(value)
    return value if _takes_text(properties[key], schema.get("$defs", {})) else _json_or_text(value)


def truth(key: str, value: Any) -> bool:
    """Yes or no, also as text. Raises Unfit."""
    if isinstance(value, bool):
        return value
    found = TRUTHS.get(str(value).strip().lower())
    if found is None:
        raise Unfit(f"{key} is {value!r} and should be true or false")
    return found


def seconds(key: str, value: Any) -> float | None:
    """A length of time above 0, also as text; None where none is given. Raises Unfit."""
    if value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = -1.0
    if not 0 < found < float("inf"):
        raise Unfit(f"{key} is {value!r} and should be a number of seconds above 0")
    return found


def _wait(mine: JSON) -> bool | None:
    said = {truth(key, mine[key]) for key in ("wait", "synchronous") if key in mine}
    if len(said) == 2:
        raise Unfit("wait and synchronous mean the same and say different things")
    return said.pop() if said else None


def _traffic(value: Any) -> tuple[int | None, dict[str, int] | None]:
    """A share (``20``), or a whole split: ``{"a": 80, "b": 20}``, as JSON too, or ``a=80,b=20``."""
    if value is None:
        return None, None
    found = _pairs(value) if isinstance(value, str) and "=" in value else value
    if isinstance(found, str):
        found = _json_or_text(found.strip().removesuffix("%"))
    if isinstance(found, Mapping):
        return None, {str(name): _percent(share) for name, share in found.items()}
    return _percent(found), None


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {name.strip(): share.strip().removesuffix("%") for name, _, share in pairs}


def _percent(value: Any) -> int:
    try:
        share = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else -1
    except ValueError:
        share = -1
    if not 0 <= share <= 100:
        raise Unfit(f"traffic is {value!r} and should be whole percent, alone or by variant as in a=80,b=20")
    return share


def _labels(value: Any) -> dict[str, str | None] | None:
    found = _pairs(value) if isinstance(value, str) and not value.startswith("{") else value
    if isinstance(found, str):
        found = _json_or_text(found)
    if found is None:
        return None
    if not isinstance(found, Mapping):
        raise Unfit(f"labels are {value!r} and should be an object, or text as in team=vision,stage=prod")
    return {str(key): None if label is None else str(label) for key, label in found.items()}


def _variants(value: Any, schema: JSON | None) -> list[JSON] | None:
    """Documents, or ``{name: model URI}``, also as JSON."""
    found = _json_or_text(value) if isinstance(value, str) else value
    if found is None:
        return None
    if isinstance(found, Mapping):
        found = [{"name": name, "model_uri": uri} for name, uri in found.items()]
    if not isinstance(found, list | tuple) or not all(isinstance(each, Mapping) for each in found):
        raise Unfit("variants should be an object of model URIs by name, or a list of objects with name and model_uri")
    return [
        {
            **each,
            "config": {key: coerced(key, inner, schema) for key, inner in dict(each.get("config") or {}).items()},
        }
        for each in found
    ]


def _takes_text(schema: JSON, definitions: JSON) -> bool:
    if "$ref" in schema:
        return _takes_text(definitions.get(str(schema["$ref"]).rpartition("/")[2], {}), definitions)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return any(_takes_text(each, definitions) for each in schema[several])
    kinds = schema.get("type", [])
    known = [schema["const"]] if "const" in schema else schema.get("enum", [])
    return "string" in ([kinds] if isinstance(kinds, str) else kinds) or any(isinstance(each, str) for each in known)


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
