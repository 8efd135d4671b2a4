"""What a specification comes to on KServe: the predictors of an InferenceService, and how each is told again.

Every predictor carries annotations of its own: its variant, a digest of all that was asked of it, and which of its
fields were set, with a sum over their values. KServe copies them to the child Deployment's pods and to the Knative
Revision (``buildObjectMeta`` in KServe's ``components/predictor.go``), so that a child tells what it serves; and a
field that somebody changed no longer fits the sum. None of them names a share: a change of traffic alone is to make
no new revision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from adapters.contract import JSON, Permanent, Spec, Variant
from adapters.kserve.describe import KServeConfig
from adapters.kubernetes.fields import digest, fields_of, sum_over
from adapters.kubernetes.settings import pod_fields

INSTALLATION, UID = "modelport/installation", "modelport/uid"
ADOPTED, FRAME = "modelport/adopted", "modelport/frame"
VARIANT, DIGEST, FIELDS, SUM = "modelport/variant", "modelport/digest", "modelport/fields", "modelport/sum"
MODE, TAGS = "serving.kserve.io/deploymentMode", "serving.kserve.io/enable-tag-routing"
MODES = {"Standard": "Standard", "RawDeployment": "Standard", "Knative": "Knative", "Serverless": "Knative"}
SCALING = ("maxReplicas", "scaleMetric", "scaleTarget", "scaleMetricType")
CHANGED = "changed"
CONTAINER = "kserve-container"
SCHEMES = ("gs://", "s3://", "hf://", "pvc://", "http://", "https://", "hdfs://", "webhdfs://", "oci://", "file://")


def goal(spec: Spec | None) -> JSON | None:
    """The predictors that bring about the specification. Raises Permanent where it cannot be one of KServe."""
    if spec is None:
        return None
    configs = {variant.name: KServeConfig.model_validate(variant.config) for variant in spec.variants}
    predictors = {variant.name: _predictor(variant, configs[variant.name]) for variant in spec.variants}
    frame = _frame(configs)
    shares = {variant.name: int(spec.traffic.get(variant.name, 0)) for variant in spec.variants}
    carried = [[name, predictors[name]["annotations"][DIGEST], share] for name, share in shares.items()]
    return {
        "spec": spec.to_json(),
        "predictors": predictors,
        "digests": {name: predictor["annotations"][DIGEST] for name, predictor in predictors.items()},
        "frame": frame,
        "mode": _agreed(configs, "deployment_mode"),
        "protocols": {name: config.protocol for name, config in configs.items()},
        "content": content(carried, frame_digest(frame, frame)),
    }


def content(carried: list[list[Any]], frame: str) -> str:
    """The string for what serves: of each variant its name, digest and share; and what belongs to the whole."""
    return f"{digest(sorted(carried))}.{frame}"


def frame_digest(frame: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """The digest of those labels and annotations that were asked for, as ``metadata`` has them."""
    shown = {
        kind: {key: (metadata.get(kind) or {}).get(key) for key in frame.get(kind, {})}
        for kind in ("labels", "annotations")
    }
    return digest(shown)


def marked(predictor: Mapping[str, Any]) -> list[str] | None:
    """The variant and digest that a predictor carries; the digest is ``changed`` where a field is another by now.

    None where it was not asked for by us.
    """
    notes = predictor.get("annotations") or {}
    if VARIANT not in notes or DIGEST not in notes:
        return None
    try:
        fits = sum_over(predictor, json.loads(notes.get(FIELDS, ""))) == notes.get(SUM)
    except (ValueError, TypeError):
        fits = False
    return [notes[VARIANT], notes[DIGEST] if fits else CHANGED]


def marked_by(notes: Mapping[str, str]) -> list[str] | None:
    """The variant and digest in a Revision's annotations, which cannot change; None where it is none of ours."""
    return [notes[VARIANT], notes[DIGEST]] if VARIANT in notes and DIGEST in notes else None


def beside(predictor: JSON, base: Mapping[str, Any]) -> JSON:
    """The predictor as a canary in Standard mode, which KServe gives no autoscaling and no more replicas than the
    other (``validateCanarySpecs``).
    """
    least = base.get("minReplicas", 1)
    kept = {key: value for key, value in predictor.items() if key not in SCALING}
    if kept.get("minReplicas", 0) > least:
        del kept["minReplicas"]
    return kept if kept == predictor else _noted(kept)


def _predictor(variant: Variant, config: KServeConfig) -> JSON:
    if not variant.model_uri.startswith(SCHEMES):
        raise Permanent(
            f"variant {variant.name}: {variant.model_uri} is no storage URI that KServe can read; it reads "
            f"{', '.join(SCHEMES)}"
        )
    container, pod = pod_fields(config)
    model = {
        # a canary's has to have one (the published schema of spec.canary[].predictor.model)
        "name": CONTAINER,
        "modelFormat": {"name": config.model_format}
        | ({"version": config.model_format_version} if config.model_format_version else {}),
        "protocolVersion": config.protocol,
        "storageUri": variant.model_uri,
        **({"runtime": config.runtime} if config.runtime else {}),
        **({"runtimeVersion": config.runtime_version} if config.runtime_version else {}),
        **container,
    }
    numbers = {
        "minReplicas": config.min_replicas,
        "maxReplicas": config.max_replicas,
        "scaleMetric": config.scale_metric,
        "scaleTarget": config.scale_target,
        "scaleMetricType": config.scale_metric_type,
        "containerConcurrency": config.container_concurrency,
        "timeout": config.timeout_seconds,
    }
    predictor = {"model": model, **pod, **{key: value for key, value in numbers.items() if value is not None}}
    asked = [variant.name, variant.model_uri, variant.flavor, predictor]
    return _noted({**predictor, "annotations": {VARIANT: variant.name, DIGEST: digest(asked)}})


def _noted(predictor: JSON) -> JSON:
    """With the notes of which fields are set, and the sum over them."""
    kept = {key: value for key, value in predictor["annotations"].items() if key in (VARIANT, DIGEST)}
    fields = fields_of({key: value for key, value in predictor.items() if key != "annotations"})
    notes = {**kept, FIELDS: json.dumps(fields, separators=(",", ":")), SUM: sum_over(predictor, fields)}
    return {**predictor, "annotations": notes}


def _frame(configs: dict[str, KServeConfig]) -> JSON:
    return {kind: _agreed(configs, kind) or {} for kind in ("labels", "annotations")}


def _agreed(configs: dict[str, KServeConfig], key: str) -> Any:
    """What belongs to the whole; the variants that say something about it must say the same."""
    given = [getattr(config, key) for config in configs.values() if getattr(config, key)]
    if any(one != given[0] for one in given):
        raise Permanent(f"{key} belongs to the whole InferenceService, and the variants give it different values")
    return given[0] if given else None
