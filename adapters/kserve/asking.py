"""What an InferenceService serves, as it could have been asked for: for adopting it, and for MLflow's interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from adapters.contract import JSON, Spec, Variant
from adapters.kserve import goals
from adapters.kserve.describe import KServeConfig
from adapters.kserve.things import frame_keys
from adapters.kubernetes.settings import reference_to


def spec_of(shown: JSON) -> Spec | None:
    """What it serves, as it could be asked for; None where nobody can ask for it here: a split, a transformer, ..."""
    metadata, spec = shown["metadata"], shown.get("spec") or {}
    predictor = spec.get("predictor") or {}
    model = predictor.get("model") or {}
    if set(spec) - {"predictor"} or predictor.get("canaryTrafficPercent") not in (None, 100):
        return None
    notes = metadata.get("annotations") or {}
    given = {
        "model_format": (model.get("modelFormat") or {}).get("name"),
        "model_format_version": (model.get("modelFormat") or {}).get("version"),
        "protocol": model.get("protocolVersion"),
        "runtime": model.get("runtime"),
        "runtime_version": model.get("runtimeVersion"),
        "args": model.get("args"),
        "resources": model.get("resources"),
        "env": _variables(model.get("env") or []) or None,
        "service_account": predictor.get("serviceAccountName"),
        "node_selector": predictor.get("nodeSelector"),
        "tolerations": [
            {"toleration_seconds" if key == "tolerationSeconds" else key: value for key, value in each.items()}
            for each in predictor.get("tolerations") or []
        ]
        or None,
        "min_replicas": predictor.get("minReplicas"),
        "max_replicas": predictor.get("maxReplicas") or None,
        "scale_metric": predictor.get("scaleMetric"),
        "scale_target": predictor.get("scaleTarget"),
        "scale_metric_type": predictor.get("scaleMetricType"),
        "container_concurrency": predictor.get("containerConcurrency"),
        "timeout_seconds": predictor.get("timeout"),
        "labels": _frame_part(notes, metadata, "labels"),
        "annotations": _frame_part(notes, metadata, "annotations"),
    }
    try:
        config = KServeConfig.model_validate({key: value for key, value in given.items() if value is not None})
        uri = model["storageUri"]
    except (ValidationError, KeyError):
        return None
    name = (goals.marked(predictor) or ["main"])[0]
    return Spec((Variant(name, uri, None, config.model_dump(mode="json", exclude_defaults=True)),), {name: 100})


def _frame_part(notes: Mapping[str, str], metadata: JSON, kind: str) -> dict[str, str] | None:
    shown = metadata.get(kind) or {}
    return {key: shown[key] for key in frame_keys(notes).get(kind, {}) if key in shown} or None


def _variables(env: Iterable[JSON]) -> dict[str, str | None]:
    """By name their values; None, which no config takes, for those that come from anything but a Secret."""
    found: dict[str, str | None] = {}
    for each in env:
        reference = (each.get("valueFrom") or {}).get("secretKeyRef")
        found[each["name"]] = reference_to(reference["name"], reference["key"]) if reference else each.get("value")
    return found
