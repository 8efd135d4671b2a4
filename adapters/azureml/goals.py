"""What a specification comes to: an endpoint, a deployment for each variant, and the models that are registered first.

A deployment is named after its variant and a digest of all that was asked of it, so that names and traffic tell what
serves. What belongs to the endpoint as a whole is remembered by a digest in the tag ``modelport_content``, which is
written in the same call as the traffic.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from adapters.azureml import shapes
from adapters.azureml.describe import ENDPOINT_WIDE, LONGEST_TAG_VALUE, AzureMlConfig
from adapters.azureml.models import Scope, asset_id, registered, registered_name, source, type_of
from adapters.contract import JSON, Change, Permanent, Spec, Variant

LONGEST_NAME = 32
DIGEST_LENGTH = 12
VERSION = "1"
NAMED = re.compile(rf"(.+)-[0-9a-f]{{{DIGEST_LENGTH}}}")
NOT_OWN = {*ENDPOINT_WIDE, "smoke_request"}
AUTH_MODES = {"key": "Key", "aml_token": "AMLToken", "aad_token": "AADToken"}

Shares = list[list[Any]]
"""Of each deployment with traffic its name and its percent."""


def goal(scope: Scope, change: Change, spec: Spec | None, kept: Mapping[str, str]) -> JSON | None:
    """The documents that bring about the specification. Raises Permanent where it cannot be one of Azure ML.

    ``kept`` has the names of deployments that are there already, by ``key_of`` what they serve.
    """
    if spec is None:
        return None
    configs = {variant.name: AzureMlConfig.model_validate(variant.config) for variant in spec.variants}
    wide = _wide(scope, configs)
    names = {v.name: kept.get(key_of(v)) or _name(v) for v in spec.variants}
    mirror = _mirror(spec, wide, names)
    shares = shares_of({names[v.name]: spec.traffic.get(v.name, 0) for v in spec.variants})
    frame = digest([wide, sorted(names.items())])
    return {
        "spec": spec.to_json(),
        "names": names,
        "bodies": {
            names[v.name]: _body(scope, change, v, _own(configs[v.name]), kubernetes="compute" in wide)
            for v in spec.variants
        },
        "register": _register(scope, change, spec.variants),
        "smoke": {names[name]: config.smoke_request for name, config in configs.items() if config.smoke_request},
        "wide": wide,
        "traffic": {names[v.name]: spec.traffic.get(v.name, 0) for v in spec.variants},
        "mirror": mirror,
        "frame": frame,
        "carries": carries(shares, shares_of(mirror)),
        "content": f"{frame}.{carries(shares, shares_of(mirror))}",
    }


def shares_of(traffic: Mapping[str, Any]) -> Shares:
    """The deployments that get anything, the same from what is asked and from what is shown."""
    return sorted([name, int(share)] for name, share in traffic.items() if share)


def carries(traffic: Shares, mirror: Shares) -> str:
    """A digest that differs as soon as other deployments serve, or with another share of the traffic."""
    return digest([traffic, mirror])


def marks(installation: str, uid: str) -> dict[str, str]:
    """The tags by which a thing is known as ours."""
    return {"modelport_installation": installation, "modelport_uid": uid}


def variants_of(names: Iterable[str]) -> dict[str, str]:
    """By variant the deployments' names, those of ours without their digest. The same names give the same."""
    found: dict[str, str] = {}
    for name in sorted(names):
        known = NAMED.fullmatch(name)
        variant = known[1] if known and known[1] not in found else name
        found[variant] = name
    return found


def key_of(variant: Variant) -> str:
    """What tells two variants apart: all that was asked of a deployment, nothing of what is the endpoint's."""
    own = _own(AzureMlConfig.model_validate(variant.config))
    return digest([variant.name, variant.model_uri, variant.flavor, own])


def digest(value: object) -> str:
    """Sixteen characters that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def endpoint_body(handle: JSON, goal: JSON, other: JSON | None, shown: JSON | None, *, serving: bool) -> JSON:
    """The whole document of the endpoint; ``serving`` False: with the traffic that is shown, none where it is made.

    Made from what is shown, so that what others added stays; what ``other`` asked for and ``goal`` does not goes back
    to Azure's default. Azure's ``PATCH`` cannot change traffic, and ``properties`` can only be added to.
    """
    wide, before = goal["wide"], (other or {"wide": {}})["wide"]
    there = (shown or {}).get("properties") or {}
    properties: JSON = {"properties": {**(there.get("properties") or {}), **_properties(wide)}}
    for key, arm, default in (
        ("auth_mode", "authMode", "Key"),
        ("description", "description", ""),
        ("public_network_access", "publicNetworkAccess", "Enabled"),
        ("compute", "compute", None),
    ):
        asked = _in_arm(key, wide[key]) if key in wide else None
        value = asked if key in wide else default if key in before or not there.get(arm) else there[arm]
        if value is not None and (key != "public_network_access" or "compute" not in wide):
            properties[arm] = value
    if shown and not serving:
        properties |= {key: there.get(key) or {} for key in ("traffic", "mirrorTraffic")}
    if serving:
        properties["traffic"] = goal["traffic"]
        mirrored = {k: v for k, v in (there.get("mirrorTraffic") or {}).items() if k in goal["traffic"]}
        properties["mirrorTraffic"] = goal["mirror"] if "mirror_traffic" in {**wide, **before} else mirrored
    tags = {k: v for k, v in ((shown or {}).get("tags") or {}).items() if k not in before.get("tags", {})}
    tags |= {**wide.get("tags", {}), **marks(handle["installation"], handle["uid"])}
    if serving:
        tags["modelport_content"] = goal["frame"]
    return {"tags": tags, "identity": _identity(wide, before, shown), "properties": properties}


def _in_arm(key: str, value: Any) -> Any:
    if key == "auth_mode":
        return AUTH_MODES[value]
    return value.capitalize() if key == "public_network_access" else value


def _properties(wide: JSON) -> JSON:
    if "secret_stores_access" not in wide:
        return {}
    return {"enforce_access_to_default_secret_stores": "enabled" if wide["secret_stores_access"] else "disabled"}


def _identity(wide: JSON, before: JSON, shown: JSON | None) -> JSON:
    there = (shown or {}).get("identity")
    if "identity" in wide or "identity" in before or not there:
        return shapes.identity(wide.get("identity", {}))
    users: JSON = {one: {} for one in there.get("userAssignedIdentities") or {}}
    return {"type": there.get("type", "SystemAssigned")} | ({"userAssignedIdentities": users} if users else {})


def _own(config: AzureMlConfig) -> JSON:
    return config.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude=NOT_OWN)


def _name(variant: Variant) -> str:
    told = key_of(variant)[:DIGEST_LENGTH]
    base = variant.name if variant.name[0].isalpha() else f"v{variant.name}"
    return f"{base[: LONGEST_NAME - DIGEST_LENGTH - 1].rstrip('-')}-{told}"


def _register(scope: Scope, change: Change, variants: Iterable[Variant]) -> JSON:
    """The models that are to be registered, by name: the body of each."""
    return {
        registered_name(change.installation, change.uid, change.name, variant): {
            "properties": {
                "modelUri": source(scope, variant),
                "modelType": type_of(variant),
                "description": f"registered by modelport for the endpoint {change.name}",
                "tags": marks(change.installation, change.uid),
            }
        }
        for variant in variants
        if registered(scope, variant) is None
    }


def _told(variant: Variant) -> dict[str, str]:
    """The URI that was asked for, where a tag has room for it: what is registered from files tells another."""
    return {"modelport_model": variant.model_uri} if len(variant.model_uri) <= LONGEST_TAG_VALUE else {}


def _body(scope: Scope, change: Change, variant: Variant, own: JSON, *, kubernetes: bool) -> JSON:
    model = registered(scope, variant)
    if model is None:
        name = registered_name(change.installation, change.uid, change.name, variant)
        model = scope.asset("models", name, VERSION)
    properties: JSON = {
        "endpointComputeType": "Kubernetes" if kubernetes else "Managed",
        "model": model,
        "environmentVariables": own.get("environment_variables", {}),
        "appInsightsEnabled": own.get("app_insights_enabled", False),
        "scaleSettings": shapes.scale(own.get("scale_settings")),
    }
    for key, arm in (("instance_type", "instanceType"), ("model_mount_path", "modelMountPath")):
        if key in own:
            properties[arm] = own[key]
    if "environment" in own:
        properties["environmentId"] = asset_id(scope, own["environment"])
    if "code_configuration" in own:
        code = own["code_configuration"]
        properties["codeConfiguration"] = {
            "codeId": asset_id(scope, code["code"], "codes"),
            "scoringScript": code["scoring_script"],
        }
    for key, arm in shapes.PROBES.items():
        if key in own:
            properties[arm] = shapes.probe(own[key])
    if "request_settings" in own:
        properties["requestSettings"] = shapes.requests(own["request_settings"])
    if "egress_public_network_access" in own:
        properties["egressPublicNetworkAccess"] = own["egress_public_network_access"].capitalize()
    if kubernetes and "resources" in own:
        properties["containerResourceRequirements"] = shapes.resources(own["resources"])
    return {
        "tags": marks(change.installation, change.uid) | _told(variant),
        "sku": {"name": "Default", "capacity": own.get("instance_count", 1)},
        "properties": properties,
    }


def _wide(scope: Scope, configs: Mapping[str, AzureMlConfig]) -> JSON:
    """What belongs to the endpoint; the variants that say something about it must say the same."""
    wide: JSON = {}
    for key in ENDPOINT_WIDE:
        given = [
            config.model_dump(mode="json", exclude_none=True, include={key})
            for config in configs.values()
            if getattr(config, key) is not None
        ]
        if any(one != given[0] for one in given):
            raise Permanent(f"{key} belongs to the whole endpoint, and the variants give it different values")
        wide.update(given[0] if given else {})
    if "compute" in wide and not wide["compute"].startswith("/"):
        wide["compute"] = f"{scope.path}/computes/{wide['compute']}"
    if "compute" in wide and any(config.egress_public_network_access for config in configs.values()):
        raise Permanent("Kubernetes compute has no egress_public_network_access")
    if "compute" not in wide and any(config.scale_settings or config.resources for config in configs.values()):
        raise Permanent("scale_settings and resources need compute, the name of an attached Kubernetes cluster")
    return wide


def _mirror(spec: Spec, wide: JSON, names: Mapping[str, str]) -> dict[str, int]:
    asked = {variant: share for variant, share in wide.get("mirror_traffic", {}).items() if share}
    for variant in asked:
        if variant not in names:
            raise Permanent(f"mirror_traffic names no variant: {variant}; there are: {', '.join(names)}")
        if spec.traffic.get(variant, 0):
            raise Permanent(f"variant {variant} cannot get copies of the requests beside traffic of its own")
    return {names[variant]: share for variant, share in asked.items()}
