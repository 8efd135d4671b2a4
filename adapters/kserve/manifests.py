"""The document that is applied for a shape. Fields that ours had before and that it leaves out are removed by that."""

from __future__ import annotations

import json
from typing import Any

from adapters.contract import JSON, Handle, Permanent
from adapters.kserve import goals
from adapters.kserve.shapes import Shape
from adapters.kubernetes.fields import digest


def manifest(handle: Handle, goal: JSON, shape: Shape, facts: JSON | None) -> JSON:
    """The InferenceService of this shape; on what is there it builds on the version that was seen.

    Raises Permanent where it would need another deployment mode, or a predictor that nobody knows any more.
    """
    predictors = known(handle)
    mode = facts["mode"] if facts else None
    if shape.side is None:
        spec: JSON = {"predictor": _predictor(predictors, shape.base)}
    elif mode == "Standard":
        base = _predictor(predictors, shape.base)
        side = goals.beside(_predictor(predictors, shape.side), base)
        entry = {"predictor": {**side, "name": shape.side_slot}, "trafficPercent": shape.share}
        spec = {"predictor": base, "canary": [entry]}
    else:
        spec = {"predictor": {**_predictor(predictors, shape.side), "canaryTrafficPercent": shape.share}}
    if shape.base_slot and mode == "Standard":
        spec["predictor"] = {**spec["predictor"], "name": shape.base_slot}
    metadata = {
        "name": handle["name"],
        "labels": goal["frame"]["labels"],
        "annotations": {
            **goal["frame"]["annotations"],
            **_marks(handle),
            goals.FRAME: _frame(goal["frame"]),
            goals.TAGS: "true",
            **_mode(handle, goal, facts),
        },
    }
    if facts:
        metadata |= {"uid": facts["uid"], "resourceVersion": facts["version"]}
    return {"metadata": metadata, "spec": spec}


def adopting(handle: Handle, goal: JSON, facts: JSON, spec: JSON) -> JSON:
    """The document that marks what is there as ours and asks for nothing else."""
    marks = {**_marks(handle), goals.ADOPTED: f"{digest(spec)}/{goal['content']}"}
    metadata = {"name": handle["name"], "uid": facts["uid"], "resourceVersion": facts["version"], "annotations": marks}
    return {"metadata": metadata}


def probe(goal: JSON, variant: str, name: str) -> JSON:
    """A document to ask the API server about without anything being made."""
    annotations = {**goal["frame"]["annotations"], goals.FRAME: _frame(goal["frame"])}
    annotations |= {goals.MODE: goal["mode"]} if goal["mode"] else {}
    metadata = {"name": name, "labels": goal["frame"]["labels"], "annotations": annotations}
    return {"metadata": metadata, "spec": {"predictor": goal["predictors"][variant]}}


def refuse_another_mode(handle: Handle, goal: JSON, facts: JSON) -> None:
    """Raises Permanent where the goal asks for another deployment mode than that of what is there."""
    if goal["mode"] is not None and goals.MODES[goal["mode"]] != facts["mode"]:
        raise Permanent(
            f"InferenceService {handle['name']} is in {facts['mode']} mode, which cannot be changed: leave "
            "deployment_mode out, or delete the deployment and create it anew"
        )


def _mode(handle: Handle, goal: JSON, facts: JSON | None) -> dict[str, str]:
    """The mode's annotation as it is shown: it is never rewritten, and left out it would be taken away."""
    if facts is None:
        return {goals.MODE: goal["mode"]} if goal["mode"] else {}
    refuse_another_mode(handle, goal, facts)
    return {goals.MODE: facts["mode_note"]} if facts["mode_note"] else {}


def known(handle: Handle) -> dict[tuple[str, str], JSON]:
    """The predictors of the change, by variant and digest."""
    found: dict[tuple[str, str], JSON] = {}
    for goal in (handle["previous"], handle["desired"]):
        for name, told in (goal or {"digests": {}})["digests"].items():
            found[name, told] = goal["predictors"][name]
    return found


def _predictor(predictors: dict[tuple[str, str], JSON], which: tuple[str, str] | None) -> Any:
    if which is None or which not in predictors:
        raise Permanent(f"variant {which[0] if which else '?'} is served and nobody knows how it was asked for")
    return predictors[which]


def _marks(handle: Handle) -> dict[str, str]:
    return {goals.INSTALLATION: handle["installation"], goals.UID: handle["uid"]}


def _frame(frame: JSON) -> str:
    keys = {kind: sorted(frame[kind]) for kind in ("labels", "annotations")}
    return json.dumps({**keys, "sum": digest(frame)}, sort_keys=True, separators=(",", ":"))
