"""What the fake API server takes and what it refuses: the schema, KServe's defaulting and KServe's validators.

From KServe's source (``inference_service_defaults.go``, ``inference_service_validation.go``); the schema is in
``kubernetes_schema.json``, whose head says where it is from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from tests.fakes.kubernetes_objects import Document, Refusal

SCHEMA = Path(__file__).with_name("kubernetes_schema.json")
MODE = "serving.kserve.io/deploymentMode"
MODES = {"RawDeployment": "Standard", "Serverless": "Knative"}
DEFAULTER = "inferenceservice.kserve-webhook-server.defaulter"
VALIDATOR = "inferenceservice.kserve-webhook-server.validator"
RESOURCES = {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "1", "memory": "2Gi"}}


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())["schema"])


def unknown_fields(patch: Document) -> list[str]:
    """Fields that the schema does not have."""
    return [
        ".".join(map(str, [*error.absolute_path, *_extra(error)]))
        for error in _errors(patch)
        if error.validator == "additionalProperties"
    ]


def admit(name: str, there: Document, old: Document | None, default_mode: str) -> Document:
    """The InferenceService with its defaults. Raises Refusal as the webhooks do."""
    metadata, spec = there["metadata"], there.get("spec") or {}
    wrong = [error for error in _errors(there) if error.validator != "additionalProperties"]
    if "predictor" not in spec:
        raise Refusal(422, "Invalid", f'InferenceService "{name}" is invalid: spec.predictor: Required value')
    if wrong:
        path = ".".join(map(str, wrong[0].absolute_path))
        raise Refusal(
            400, "BadRequest", f'admission webhook "{DEFAULTER}" denied the request: {path}: {wrong[0].message[:200]}'
        )
    predictor = spec.get("predictor") or {}
    if "model" not in predictor:
        raise Refusal(
            500,
            "InternalError",
            f'admission webhook "{DEFAULTER}" denied the request: runtime error: no implementation',
        )
    notes = metadata.setdefault("annotations", {})
    notes.setdefault(MODE, default_mode)
    notes[MODE] = MODES.get(notes[MODE], notes[MODE])
    predictor["model"].setdefault("name", "")
    predictor["model"].setdefault("resources", json.loads(json.dumps(RESOURCES)))
    for told in _refusals(name, there, old):
        raise Refusal(403, "Forbidden", f'admission webhook "{VALIDATOR}" denied the request: {told}')
    return there


def _refusals(name: str, there: Document, old: Document | None) -> Iterator[str]:
    notes, spec = there["metadata"]["annotations"], there["spec"]
    predictor, canaries = spec["predictor"], spec.get("canary") or []
    if re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) is None:
        yield f'the InferenceService "{name}" is invalid: a InferenceService name must consist of lower case'
    was = ((old or {}).get("status") or {}).get("deploymentMode")
    if was and notes[MODE] != was:
        yield f"update rejected: deploymentMode cannot be changed from '{was}' to '{notes[MODE]}'"
    if notes[MODE] not in ("Standard", "Knative", "ModelMesh"):
        yield f"unknown deployment mode {notes[MODE]}"
    before = ((old or {}).get("spec") or {}).get("predictor") or {}
    same_model = before.get("model", {}).get("storageUri") == predictor["model"].get("storageUri")
    if before and before.get("name") != predictor.get("name") and same_model:
        yield "predictor.name change requires a model change (e.g. storageUri)"
    if predictor.get("maxReplicas") and predictor.get("minReplicas", 0) > predictor["maxReplicas"]:
        yield "MinReplicas cannot be greater than MaxReplicas"
    if canaries and notes[MODE] != "Standard":
        yield "canary is only supported in Standard deployment mode"
    names = [canary["predictor"].get("name") for canary in canaries]
    if None in names or len(set(names)) < len(names) or predictor.get("name") in names:
        yield "canary predictor.name is required, and differs from all others"
    for canary in canaries:
        for key in ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
            if key in canary["predictor"]:
                yield f"canary {canary['predictor']['name']!r} must not set {key} (canary uses fixed replicas)"
        if canary["predictor"].get("minReplicas", 0) > predictor.get("minReplicas", 1):
            yield "canary minReplicas must not exceed stable predictor minReplicas"
    if sum(canary["trafficPercent"] for canary in canaries) > 100:
        yield "sum of canary trafficPercent values must be <= 100"


def _errors(document: Document) -> Iterator[jsonschema.ValidationError]:
    return _validator().iter_errors({key: value for key, value in document.items() if key != "status"})


def _extra(error: jsonschema.ValidationError) -> list[Any]:
    known = error.schema.get("properties", {})
    return [key for key in error.instance if key not in known][:1]
