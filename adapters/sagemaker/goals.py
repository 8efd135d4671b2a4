"""What a specification comes to on SageMaker: every request that brings it about, and the names that they use.

A goal is JSON and is kept in the handle, so that neither later settings nor a later release changes what was planned.
Pure: nothing here calls anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.contract import JSON, Permanent, Spec, Variant
from adapters.sagemaker.describe import SageMakerConfig, SageMakerSettings
from adapters.sagemaker.naming import CONTENT_TAG, MODEL_TAG, Owner, content_of, digest, tag_value

# How a change is made, and what has no effect: none of it is part of what serves.
_NO_CONTENT = frozenset(
    {
        "deployment_config",
        "retain_all_variant_properties",
        "archive",
        "variant_name",
        "region_name",
        "assume_role_arn",
        "mode",
        "synchronous",
        "timeout_seconds",
    }
)
_WHOLE_ENDPOINT = (
    "tags",
    "kms_key",
    "data_capture_config",
    "async_inference_config",
    "deployment_config",
    "retain_all_variant_properties",
    "archive",
)
_OF_THE_MODEL = (
    "image_url",
    "execution_role_arn",
    "env",
    "vpc_config",
    "enable_network_isolation",
    "container_mode",
    "bucket",
)
PACKED_FLAVOR = "python_function"


@dataclass(frozen=True)
class Defaults:
    """What variants get that name nothing: from the target's settings and the worker's environment."""

    image_url: str | None = None
    execution_role_arn: str | None = None
    bucket: str | None = None
    prefix: str = "modelport"

    @classmethod
    def of(cls, settings: SageMakerSettings, environment: Mapping[str, str]) -> Defaults:
        """Those of this target in a process with this environment."""
        image = settings.image_url or environment.get("MLFLOW_SAGEMAKER_DEPLOY_IMG_URL")
        return cls(image, settings.execution_role_arn, settings.bucket, settings.prefix)


def is_artefact(variant: Variant) -> bool:
    """Whether the model URI is taken as it is: an archive on S3, or the prefix of many. All else is MLflow's."""
    uri, many = variant.model_uri, variant.config.get("container_mode") == "MultiModel"
    return uri.startswith("s3://") and (many or uri.endswith(".tar.gz"))


def filled(spec: Spec, defaults: Defaults) -> Spec:
    """The specification with what its variants need and do not name. Twice is the same as once.

    Raises Permanent naming the variant and what to set.
    """
    return Spec(tuple(_filled(variant, defaults) for variant in spec.variants), spec.traffic)


def goal_of(owner: Owner, spec: Spec, defaults: Defaults) -> JSON:
    """The requests of this specification and their names. Raises Permanent where its variants do not fit together."""
    spec = filled(spec, defaults)
    configs = {v.name: SageMakerConfig.model_validate(v.config) for v in spec.variants}
    shared = _shared(configs)
    _check(spec, configs)
    wide = {key: value for key, value in shared.items() if key not in _NO_CONTENT}
    fleet = digest([wide, [[v.name, v.model_uri, v.flavor, _own(configs[v.name])] for v in spec.variants]], 12)
    traffic = {v.name: spec.traffic.get(v.name, 0) for v in spec.variants if configs[v.name].shadow_percent is None}
    tags = dict(shared.get("tags", {}))
    models: dict[str, JSON] = {}
    chosen: dict[str, str] = {}
    for variant in spec.variants:
        name, model = _model(owner, variant, configs[variant.name], tags, defaults.prefix)
        models[name], chosen[variant.name] = model, name
    name = owner.config(fleet, traffic)
    return {
        "config": name,
        "request": {
            "EndpointConfigName": name,
            **_variants(spec, configs, chosen, traffic),
            **_renamed(shared, data_capture_config="DataCaptureConfig", kms_key="KmsKeyId"),
            **_renamed(shared, async_inference_config="AsyncInferenceConfig"),
            "Tags": _tags({**tags, **owner.tags, CONTENT_TAG: fleet}),
        },
        "models": models,
        "traffic": traffic,
        "fleet": fleet,
        "content": content_of(fleet, traffic),
        "tags": tags,
        "update": _update(shared),
        "archive": bool(shared.get("archive")),
        "asynchronous": "async_inference_config" in shared,
    }


def _filled(variant: Variant, defaults: Defaults) -> Variant:
    config, artefact = dict(variant.config), is_artefact(variant)
    wanted = {"execution_role_arn": defaults.execution_role_arn, "image_url": defaults.image_url}
    if not artefact:
        wanted["bucket"] = defaults.bucket
    for key, default in wanted.items():
        if config.get(key) is None:
            if default is None:
                raise Permanent(
                    f"variant {variant.name} has no {key}: set it in the variant's config or in the target's settings"
                )
            config[key] = default
    if config.get("container_mode") == "MultiModel" and not artefact:
        raise Permanent(f"variant {variant.name}: MultiModel needs an S3 prefix as model_uri, not {variant.model_uri}")
    flavor = variant.flavor
    if flavor not in (None, PACKED_FLAVOR):
        raise Permanent(
            f"variant {variant.name}: flavor {flavor!r} cannot be served here; MLflow's container serves "
            f"{PACKED_FLAVOR}, so leave the flavor out"
        )
    return Variant(variant.name, variant.model_uri, flavor, config)


def _shared(configs: Mapping[str, SageMakerConfig]) -> JSON:
    """What the variants say of the whole endpoint. Raises Permanent where two of them differ."""
    found: JSON = {}
    for name, config in configs.items():
        said = config.model_dump(mode="json", exclude_none=True, exclude_defaults=True, include=set(_WHOLE_ENDPOINT))
        for key, value in said.items():
            if found.setdefault(key, value) != value:
                raise Permanent(
                    f"variant {name}: {key} is of the whole endpoint, and another variant of this revision has another"
                )
    return found


def _check(spec: Spec, configs: Mapping[str, SageMakerConfig]) -> None:
    shadows = [name for name, config in configs.items() if config.shadow_percent is not None]
    if shadows and (len(shadows) > 1 or len(configs) != 2 or spec.traffic.get(shadows[0])):
        raise Permanent("a shadow variant has traffic 0 and stands beside one variant with all of it")
    serverless = [name for name, config in configs.items() if config.serverless_config is not None]
    if serverless and len(configs) > 1:
        raise Permanent(f"variant {serverless[0]} is serverless, and SageMaker has no serverless endpoint of several")
    for name, config in configs.items():
        if config.variant_name not in (None, name):
            raise Permanent(f"variant {name}: variant_name is {config.variant_name}; leave it out, or make both equal")


def _own(config: SageMakerConfig) -> JSON:
    """What the variant says of itself and serves, without what it says as everybody does who says nothing."""
    without = _NO_CONTENT | set(_WHOLE_ENDPOINT)
    return config.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude=set(without))


def _model(
    owner: Owner, variant: Variant, config: SageMakerConfig, tags: Mapping[str, str], prefix: str
) -> tuple[str, JSON]:
    own = {key: value for key, value in _own(config).items() if key in _OF_THE_MODEL}
    artefact = is_artefact(variant)
    content = digest([variant.model_uri, variant.flavor, own, dict(tags)], 12)
    name = owner.model(content, packed=not artefact)
    environment = dict(config.env or {})
    if not artefact:
        flavor = variant.flavor or PACKED_FLAVOR
        environment = {"MLFLOW_DEPLOYMENT_FLAVOR_NAME": flavor, "SERVING_ENVIRONMENT": "SageMaker", **environment}
    url = variant.model_uri if artefact else f"s3://{config.bucket}/{prefix}/{name}/model.tar.gz"
    container: JSON = {"Image": config.image_url, "ModelDataUrl": url, "Environment": environment}
    if config.container_mode != "SingleModel":
        container["Mode"] = config.container_mode
    marks = {**tags, **owner.tags, CONTENT_TAG: content, MODEL_TAG: tag_value(variant.model_uri)}
    request: JSON = {
        "ModelName": name,
        "PrimaryContainer": container,
        "ExecutionRoleArn": config.execution_role_arn,
        "Tags": _tags(marks),
    }
    if config.vpc_config is not None:
        request["VpcConfig"] = config.vpc_config.model_dump(mode="json")
    if config.enable_network_isolation:
        request["EnableNetworkIsolation"] = True
    return name, {"request": request, "pack": None if artefact else {"model_uri": variant.model_uri, "url": url}}


def _variants(
    spec: Spec, configs: Mapping[str, SageMakerConfig], chosen: Mapping[str, str], traffic: Mapping[str, int]
) -> JSON:
    production: list[JSON] = []
    shadows: list[JSON] = []
    for variant in spec.variants:
        config = configs[variant.name]
        # a shadow's weight is the part of the one variant's traffic that it gets a copy of
        weight = traffic[variant.name] if config.shadow_percent is None else config.shadow_percent
        made: JSON = {
            "VariantName": variant.name,
            "ModelName": chosen[variant.name],
            "InitialVariantWeight": float(weight),
        }
        if config.serverless_config is not None:
            made["ServerlessConfig"] = config.serverless_config.model_dump(mode="json", exclude_none=True)
        else:
            made |= {"InstanceType": config.instance_type, "InitialInstanceCount": config.instance_count}
        optional = {
            "VolumeSizeInGB": config.volume_size,
            "ModelDataDownloadTimeoutInSeconds": config.model_data_download_timeout,
            "ContainerStartupHealthCheckTimeoutInSeconds": config.container_startup_health_check_timeout,
        }
        made |= {key: value for key, value in optional.items() if value is not None}
        (production if config.shadow_percent is None else shadows).append(made)
    return {"ProductionVariants": production, **({"ShadowProductionVariants": shadows} if shadows else {})}


def _update(shared: JSON) -> JSON:
    """What an update says beside the names. Traffic is always the revision's, whatever else is retained."""
    said = _renamed(shared, deployment_config="DeploymentConfig")
    if shared.get("retain_all_variant_properties"):
        excluded = ["DesiredWeight", *(["DataCaptureConfig"] if "data_capture_config" in shared else [])]
        said["RetainAllVariantProperties"] = True
        said["ExcludeRetainedVariantProperties"] = [{"VariantPropertyType": kind} for kind in excluded]
    return said


def _renamed(shared: JSON, **names: str) -> JSON:
    return {theirs: shared[ours] for ours, theirs in names.items() if ours in shared}


def _tags(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
