"""What plugins return, made into JSON, and the little that can be told from it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

JSON = dict[str, Any]

NAMES = ("name", "deploymentname", "endpointname", "appname", "modelname", "servicename", "deployment", "id")
SECRET = re.compile(r"secret|password|passwd|token|api_?key|access_?key|authorization|credential", re.IGNORECASE)
SHOWN_CHARACTERS = 4000

STATE_PATHS = ("status", "state", "phase")
FAILED_WORDS = frozenset({"failed", "failure", "error", "errored", "crashed", "createfailed", "updatefailed"})
BUSY_WORDS = frozenset(
    {"creating", "starting", "pending", "queued", "provisioning", "building", "deploying", "initializing", "loading"}
    | {"updating", "scaling", "inprogress", "progressing", "notready", "deleting", "stopping", "terminating"}
)

# a model URI of MLflow's registry that names another version tomorrow: an alias, a stage, the latest
MOVING = re.compile(r"models:/[^/@]+(@.+|/(latest|[A-Za-z][A-Za-z_]*))")


def plain(value: Any) -> Any:
    """The value as JSON can carry it: numbers that JSON has not become null, what is unknown becomes its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    for method, keywords in (("to_dict", {"orient": "records"}), ("tolist", {}), ("model_dump", {}), ("to_dict", {})):
        made = _called(value, method, keywords)
        if made is not None:
            return plain(made)
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    return str(value)


def document(value: Any) -> JSON:
    """A returned value as a document; ``{}`` for what is none, such as None."""
    found = plain(value)
    return found if isinstance(found, dict) else {}


def items(value: Any) -> list[JSON]:
    """The documents of a list: a list of dicts or of names, or a dict with one list in it, as MLflow allows."""
    found = plain(value)
    if isinstance(found, dict):
        lists = [each for each in found.values() if isinstance(each, list)]
        found = lists[0] if len(lists) == 1 else []
    if not isinstance(found, list):
        return []
    return [each if isinstance(each, dict) else {"name": str(each)} for each in found]


def name_of(shown: JSON) -> str | None:
    """Under whichever key a plugin keeps the name; None where it tells none."""
    by_key = {re.sub(r"[^a-z]", "", key.lower()): each for key, each in shown.items() if isinstance(each, (str, int))}
    return next((str(by_key[key]) for key in NAMES if key in by_key), None)


def is_same(told: str | None, name: str) -> bool:
    """Whether a name that the plugin tells is this one, with or without a version behind it."""
    return told is not None and (told == name or (told.startswith(name) and told[len(name)] in "/:@"))


def state(shown: JSON, ready: Mapping[str, list[str]] | None, failed: Mapping[str, list[str]]) -> tuple[str, str]:
    """``ready``, ``failed`` or ``busy`` by what is shown at these paths, and the words there.

    With ``ready`` None the words under ``status`` or ``state`` are believed where they are plain. With no paths to look
    at, what is there is ready. ``incomplete`` where the document has none of the paths.
    """
    if ready is None:
        return _guessed(shown)
    found = {path: at(shown, path) for path in {**ready, **failed}}
    said = ", ".join(f"{path} {value}" for path, value in found.items() if value is not None)
    if any(value is not None and str(value) in failed.get(path, ()) for path, value in found.items()):
        return "failed", said
    if found and all(value is None for value in found.values()):
        return "incomplete", ""
    if all(str(found[path]) in values for path, values in ready.items()):
        return "ready", said
    return "busy", said


def _guessed(shown: JSON) -> tuple[str, str]:
    for path in STATE_PATHS:
        word = at(shown, path)
        plain_word = re.sub(r"[^a-z]", "", word.lower()) if isinstance(word, str) else ""
        if plain_word in FAILED_WORDS:
            return "failed", f"{path} {word}"
        if plain_word in BUSY_WORDS:
            return "busy", f"{path} {word}"
    return "ready", ""


def at(shown: Any, path: str) -> Any:
    """What stands at a dotted path."""
    for key in path.split("."):
        shown = shown.get(key) if isinstance(shown, dict) else None
    return shown


def show(shown: JSON) -> JSON:
    """What people may see of a document: without secrets, and cut where it is long."""
    blotted = _blot(shown)
    text = json.dumps(blotted)
    return blotted if len(text) <= SHOWN_CHARACTERS else {"cut": text[:SHOWN_CHARACTERS]}


def _blot(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "***" if SECRET.search(key) and each else _blot(each) for key, each in value.items()}
    return [_blot(each) for each in value] if isinstance(value, list) else value


def _called(value: Any, method: str, keywords: dict[str, Any]) -> Any:
    if not callable(getattr(value, method, None)):
        return None
    try:
        return getattr(value, method)(**keywords)
    except TypeError:
        return None
