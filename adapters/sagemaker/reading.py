"""What SageMaker's descriptions mean: facts for the rollout, and the specification that an endpoint came from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract import JSON, Handle, Spec, Variant
from adapters.sagemaker.describe import SageMakerConfig
from adapters.sagemaker.goals import PACKED_FLAVOR
from adapters.sagemaker.naming import INSTALLATION_TAG, MODEL_TAG, UID_TAG, Owner, from_tag, shares
from adapters.sagemaker.rollout import IN_PROGRESS

_FLAVOR = "MLFLOW_DEPLOYMENT_FLAVOR_NAME"
_SERVING = "SERVING_ENVIRONMENT"


def endpoint_facts(document: JSON) -> JSON:
    """What a rollout needs to know of a described endpoint."""
    pending = document.get("PendingDeploymentSummary")
    return {
        "name": document["EndpointName"],
        "arn": document["EndpointArn"],
        "status": document["EndpointStatus"],
        "config": document.get("EndpointConfigName"),
        "pending": pending["EndpointConfigName"] if pending else None,
        "modified": moment(document["LastModifiedTime"]),
        "created": moment(document["CreationTime"]),
        "failure": document.get("FailureReason"),
        "traffic": traffic_of(document),
    }


def under_way_facts(name: str, arn: str, status: str) -> JSON:
    """What a listing tells of an endpoint under change: all that is needed of a change known to be ours."""
    return {"name": name, "arn": arn, "status": status}


def needs_description(handle: Handle, status: str) -> bool:
    """Whether more than the status has to be known: it has settled, or what is under way may not be this change."""
    asked = handle["asked"]
    return status not in IN_PROGRESS or asked is None or (asked["unsure"] and not asked["seen"])


def traffic_of(document: JSON) -> dict[str, int]:
    """The traffic of the production variants as it is now, in percent."""
    variants = document.get("ProductionVariants", [])
    return shares({v["VariantName"]: float(v.get("CurrentWeight", v.get("DesiredWeight", 0))) for v in variants})


def owner_by_tags(owner: Owner, tags: Mapping[str, str]) -> str:
    """``ours``, ``another`` deployment's or installation's, or ``nobody``'s."""
    if all(tags.get(key) == value for key, value in owner.tags.items()):
        return "ours"
    return "another" if INSTALLATION_TAG in tags or UID_TAG in tags else "nobody"


def moment(value: Any) -> float:
    """Seconds since 1970, exact to the millisecond as the vendor tells it."""
    return round(float(value.timestamp()), 3)


def spec_of(endpoint: JSON, config: JSON, models: Mapping[str, tuple[JSON, Mapping[str, str]]]) -> Spec | None:
    """The specification that these came from; None where they hold more than this target's config can say.

    ``models`` are descriptions and tags by name. What a variant is sent decides, not how it began: traffic is as it is.
    """
    shadows = config.get("ShadowProductionVariants", [])
    shared = _present(
        kms_key=config.get("KmsKeyId"),
        data_capture_config=config.get("DataCaptureConfig"),
        async_inference_config=config.get("AsyncInferenceConfig"),
    )
    traffic = traffic_of(endpoint)
    variants = []
    for place, described in enumerate([*config["ProductionVariants"], *shadows]):
        model = models.get(described.get("ModelName", ""))
        shadow = place >= len(config["ProductionVariants"])
        variant = _variant(described, *model, shared, shadow=shadow) if model else None
        if variant is None:
            return None
        variants.append(variant)
    unknown = {"ExplainerConfig", "ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation", "MetricsConfig"}
    if any(config.get(key) for key in unknown) or sum(traffic.values()) != 100:
        return None
    return Spec(tuple(variants), {v.name: traffic.get(v.name, 0) for v in variants})


def _variant(described: JSON, model: JSON, tags: Mapping[str, str], shared: JSON, *, shadow: bool) -> Variant | None:
    container = dict(model.get("PrimaryContainer") or {})
    environment = dict(container.pop("Environment", None) or {})
    flavor = environment.pop(_FLAVOR, None) if environment.get(_FLAVOR) == PACKED_FLAVOR else None
    uri = container.pop("ModelDataUrl", None)
    packed = from_tag(tags[MODEL_TAG]) if MODEL_TAG in tags else None
    config: JSON = {
        "image_url": container.pop("Image", None),
        "execution_role_arn": model.get("ExecutionRoleArn"),
        "env": environment,
        "vpc_config": model.get("VpcConfig"),
        "enable_network_isolation": model.get("EnableNetworkIsolation") or None,
        "container_mode": container.pop("Mode", None),
        "tags": {key: value for key, value in tags.items() if not key.startswith(("modelport:", "aws:"))},
        "volume_size": described.get("VolumeSizeInGB"),
        "model_data_download_timeout": described.get("ModelDataDownloadTimeoutInSeconds"),
        "container_startup_health_check_timeout": described.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        "serverless_config": described.get("ServerlessConfig"),
        **shared,
    }
    if shadow:
        config["shadow_percent"] = int(described.get("InitialVariantWeight", 0))
    if described.get("ServerlessConfig") is None:
        config |= {
            "instance_type": described.get("InstanceType"),
            "instance_count": described.get("InitialInstanceCount"),
        }
    if flavor is not None and packed is not None and packed != uri:
        environment.pop(_SERVING, None)
        config["bucket"] = str(uri).removeprefix("s3://").partition("/")[0]
        uri, flavor = packed, None
    elif flavor is not None:
        environment[_FLAVOR], flavor = flavor, None
    rest = {
        key: value for key, value in container.items() if value not in (None, [], {}) and key != "ContainerHostname"
    }
    if model.get("Containers") or rest or not uri or not config["image_url"]:
        return None
    try:
        checked = SageMakerConfig.model_validate(_present(**config))
    except ValueError:
        return None
    said = checked.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    return Variant(described["VariantName"], uri, flavor, said)


def _present(**values: Any) -> JSON:
    return {key: value for key, value in values.items() if value not in (None, {}, [], "")}
