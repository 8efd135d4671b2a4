"""What a specification comes to without KServe: a Deployment named after its content, and a Service that selects it.

Both carry annotations: whose they are, which of their fields were set, and a sum over those, by which what somebody
changed is told. The number of replicas is not in the name, so that more pods are more pods of the same Deployment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from adapters.contract import JSON, Permanent, Spec, Variant
from adapters.kubernetes.describe import KubernetesConfig, KubernetesSettings
from adapters.kubernetes.fields import digest, fields_of, sum_over
from adapters.kubernetes.settings import pod_fields

INSTALLATION, UID, VARIANT, URI = "modelport/installation", "modelport/uid", "modelport/variant", "modelport/model-uri"
CONFIG, FIELDS, SUM = "modelport/config", "modelport/fields", "modelport/sum"
NAME_LABEL, DIGEST_LABEL = "modelport/name", "modelport/digest"
MANAGED = {"app.kubernetes.io/managed-by": "modelport"}
CONTAINER = "model"
NAME_DIGITS = 8


def goal(spec: Spec | None, settings: KubernetesSettings, name: str) -> JSON | None:
    """The documents that bring about the specification. Raises Permanent where it cannot be one here."""
    if spec is None:
        return None
    if len(spec.variants) != 1:
        raise Permanent("a deployment has one variant here: one Service sends to all of its pods alike")
    variant = spec.variants[0]
    config = KubernetesConfig.model_validate(variant.config)
    pod = _pod(variant, config, settings)
    told = digest([variant.name, variant.model_uri, variant.flavor, pod, config.labels, config.annotations])
    labels = {**config.labels, **MANAGED, NAME_LABEL: name}
    selector = {NAME_LABEL: name, DIGEST_LABEL: told}
    notes = {**config.annotations, VARIANT: variant.name, URI: variant.model_uri, CONFIG: json.dumps(variant.config)}
    template = {
        "metadata": {"labels": {**labels, **selector}, "annotations": {**config.annotations, VARIANT: variant.name}},
        "spec": pod,
    }
    deployment = {
        "replicas": config.replicas,
        "progressDeadlineSeconds": config.start_seconds,
        "selector": {"matchLabels": selector},
        "template": template,
    }
    port = {"name": "http", "port": settings.service_port, "targetPort": config.port}
    service = {"type": settings.service_type, "selector": selector, "ports": [port]}
    documents = {
        "deployment": _noted(
            {"name": f"{name}-{told[:NAME_DIGITS]}", "labels": labels, "annotations": notes}, deployment
        ),
        "service": _noted({"name": name, "labels": labels, "annotations": notes}, service),
    }
    sums = {kind: document["metadata"]["annotations"][SUM] for kind, document in documents.items()}
    return {
        "spec": spec.to_json(),
        "variant": variant.name,
        "digest": told,
        **documents,
        "sums": sums,
        "content": content(told, sums["deployment"], sums["service"]),
    }


def content(selected: str | None, deployment: str | None, service: str | None) -> str:
    """The string for what serves: which Deployment is selected, and what it and the Service are."""
    return f"{selected}.{deployment}.{service}"


def sum_shown(document: Mapping[str, Any]) -> str | None:
    """The sum over what was asked for, as the document shows it now; None where it was not asked for by us."""
    fields = (document["metadata"].get("annotations") or {}).get(FIELDS)
    if fields is None:
        return None
    try:
        return sum_over(_counted(document["metadata"], document.get("spec") or {}), json.loads(fields))
    except (ValueError, TypeError):
        return ""


def spec_shown(document: Mapping[str, Any]) -> Spec | None:
    """The specification that a Deployment was made for."""
    notes = document["metadata"].get("annotations") or {}
    try:
        variant = Variant(notes[VARIANT], notes[URI], None, json.loads(notes[CONFIG]))
    except (KeyError, ValueError):
        return None
    return Spec((variant,), {variant.name: 100})


def _pod(variant: Variant, config: KubernetesConfig, settings: KubernetesSettings) -> JSON:
    image = config.image or settings.image
    if image is None:
        raise Permanent(f"variant {variant.name}: no image: set image in its config, or in the target's settings")
    container, pod = pod_fields(config)
    command = config.command
    if not config.holds_model and command is None:
        command = ["mlflow"]
        serve = ["models", "serve", "--model-uri", variant.model_uri, "--host", "0.0.0.0", "--port", str(config.port)]  # noqa: S104  # inside of its pod
        container.setdefault("args", [*serve, "--env-manager", "local"])
    filled = {
        key: [each.replace("{model_uri}", variant.model_uri) for each in value]
        for key, value in (("command", command), ("args", container.get("args")))
        if value is not None
    }
    return {
        **pod,
        "terminationGracePeriodSeconds": config.stop_seconds,
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                **container,
                **filled,
                "ports": [{"containerPort": config.port, "protocol": "TCP"}],
                "readinessProbe": {
                    "httpGet": {"path": config.health_path, "port": config.port},
                    "periodSeconds": 2,
                    "failureThreshold": 2,
                },
            }
        ],
    }


def _noted(metadata: JSON, spec: JSON) -> JSON:
    fields = [field for field in fields_of(_counted(metadata, spec)) if field[-1] != NAME_LABEL]
    notes = {FIELDS: json.dumps(fields, separators=(",", ":")), SUM: sum_over(_counted(metadata, spec), fields)}
    return {"metadata": {**metadata, "annotations": {**metadata["annotations"], **notes}}, "spec": spec}


def _counted(metadata: Mapping[str, Any], spec: JSON) -> JSON:
    notes = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in (FIELDS, SUM, INSTALLATION, UID)}
    return {"labels": metadata.get("labels") or {}, "annotations": notes, "spec": spec}
