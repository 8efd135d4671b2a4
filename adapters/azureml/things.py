"""An endpoint and its deployments as Azure shows them, in the few facts that decide about them; no call is made here.

The list of a workspace's endpoints tells state, tags, traffic and address of each; its deployments are another call.
Both carry the address of their last operation under ``properties.AzureAsyncOperationUri``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from adapters.azureml import shapes
from adapters.azureml.describe import DESCRIPTION, MARKS, AzureMlConfig
from adapters.azureml.goals import AUTH_MODES, carries, shares_of, variants_of
from adapters.azureml.models import Scope, uri_of
from adapters.contract import JSON, Spec, Variant

GOOD = "Succeeded"
GAVE_UP = ("Failed", "Canceled", "Cancelled")
SETTLED = (GOOD, *GAVE_UP)
MOST_VARIANTS = DESCRIPTION.capabilities.max_variants
MODES = {arm: key for key, arm in AUTH_MODES.items()}


def endpoint(shown: JSON) -> JSON:
    """The facts that an endpoint's own document tells."""
    properties = shown.get("properties") or {}
    return {
        "name": shown["name"],
        "tags": dict(shown.get("tags") or {}),
        "state": properties.get("provisioningState") or "",
        "traffic": dict(properties.get("traffic") or {}),
        "mirror": dict(properties.get("mirrorTraffic") or {}),
        "scoring_uri": properties.get("scoringUri"),
        "auth": MODES.get(properties.get("authMode") or "", "key"),
        "compute": properties.get("compute"),
        "location": shown.get("location"),
        "operation": operation_of(properties),
        "deployments": None,
    }


def deployment(shown: JSON) -> JSON:
    """The facts of one deployment."""
    properties = shown.get("properties") or {}
    return {
        "tags": dict(shown.get("tags") or {}),
        "state": properties.get("provisioningState") or "",
        "model": properties.get("model"),
        "operation": operation_of(properties),
    }


def operation_of(properties: JSON) -> str | None:
    """The address of a thing's last operation."""
    return (properties.get("properties") or {}).get("AzureAsyncOperationUri")


def owner(facts: JSON) -> tuple[str, str] | None:
    """The installation and the uid whose marks are on it; None where nobody's are."""
    tags = facts["tags"]
    if "modelport_installation" not in tags and "modelport_uid" not in tags:
        return None
    return tags.get("modelport_installation", ""), tags.get("modelport_uid", "")


def is_busy(state: str) -> bool:
    """Whether something is under way; what Azure may call it some day counts as that too."""
    return state not in SETTLED


def carried(facts: JSON) -> str:
    """The digest of what serves."""
    return carries(shares_of(facts["traffic"]), shares_of(facts["mirror"]))


def content(facts: JSON) -> str | None:
    """The string that the plan of what serves now has as its content; None where nobody's marks are on it."""
    return None if owner(facts) is None else f"{facts['tags'].get('modelport_content', '')}.{carried(facts)}"


def status(facts: JSON) -> str:
    """In a word for people: ``serving``, ``updating``, ``creating``, ``deleting``, ``failed`` or ``not serving``."""
    if facts["state"] == "Deleting":
        return "deleting"
    if is_busy(facts["state"]):
        return "updating" if shares_of(facts["traffic"]) else "creating"
    if facts["state"] in GAVE_UP:
        return "failed"
    return "serving" if shares_of(facts["traffic"]) else "not serving"


def route(facts: JSON, names: Mapping[str, str] | None = None) -> JSON | None:
    """Where predictions go; ``names`` are the deployments by variant where they are known better than by traffic."""
    if not shares_of(facts["traffic"]) or not facts["scoring_uri"]:
        return None
    known = names if names and set(facts["traffic"]) <= set(names.values()) else variants_of(facts["traffic"])
    if owner(facts) is None:
        known = {name: name for name in facts["traffic"]}
    return {
        "name": facts["name"],
        "scoring_uri": facts["scoring_uri"],
        "auth": facts["auth"],
        "deployments": dict(known),
    }


def spec_of(scope: Scope, shown: JSON, deployments: Iterable[JSON], *, ours: bool = False) -> Spec | None:
    """What an endpoint serves, as it could be asked for; None where it serves what nobody can ask for.

    Such are endpoints without traffic, and variables that hold what looks like a secret in plain text. Variants are
    named as the deployments are; of ours they are those that were asked for, and what is about to go is none of them.
    """
    there = {each["name"]: each for each in deployments}
    traffic = endpoint(shown)["traffic"]
    names = variants_of(name for name in traffic if name in there) if ours else {name: name for name in sorted(there)}
    try:
        wide = _wide(shown, {name: variant for variant, name in names.items()})
        made = tuple(_variant(scope, variant, there[name], wide) for variant, name in names.items())
    except (ValidationError, KeyError, TypeError, AttributeError):
        return None
    shares = {variant: int(traffic.get(name) or 0) for variant, name in names.items()}
    return Spec(made, shares) if sum(shares.values()) == 100 and len(made) <= MOST_VARIANTS else None


def _wide(shown: JSON, variants: Mapping[str, str]) -> JSON:
    properties = shown.get("properties") or {}
    wide: JSON = {"auth_mode": MODES[properties["authMode"]]}
    for key, value in (
        ("compute", properties.get("compute")),
        ("description", properties.get("description")),
        ("identity", shapes.identity_of(shown.get("identity") or {})),
        ("tags", {k: v for k, v in (shown.get("tags") or {}).items() if k not in MARKS}),
        ("mirror_traffic", {variants[n]: int(s) for n, s in (properties.get("mirrorTraffic") or {}).items() if s}),
    ):
        if value:
            wide[key] = value
    if not wide.get("compute") and properties.get("publicNetworkAccess"):
        wide["public_network_access"] = properties["publicNetworkAccess"].lower()
    return wide


def _variant(scope: Scope, name: str, shown: JSON, wide: JSON) -> Variant:
    properties: JSON = shown["properties"]
    given: JSON = dict(wide)
    for key, value in (
        ("instance_type", properties.get("instanceType")),
        ("instance_count", (shown.get("sku") or {}).get("capacity")),
        ("environment", properties.get("environmentId")),
        ("environment_variables", properties.get("environmentVariables")),
        ("model_mount_path", properties.get("modelMountPath")),
        ("app_insights_enabled", properties.get("appInsightsEnabled")),
        ("code_configuration", _code(properties.get("codeConfiguration"))),
        ("request_settings", shapes.requests_of(properties.get("requestSettings") or {})),
        ("egress_public_network_access", _lower(properties.get("egressPublicNetworkAccess"))),
        ("scale_settings", shapes.scale_of(properties.get("scaleSettings") or {})),
        ("resources", shapes.resources_of(properties.get("containerResourceRequirements") or {})),
        *((key, shapes.probe_of(properties.get(arm) or {})) for key, arm in shapes.PROBES.items()),
    ):
        if value:
            given[key] = value
    config = AzureMlConfig.model_validate(given)
    uri = (shown.get("tags") or {}).get("modelport_model") or uri_of(scope, properties["model"])
    return Variant(name, uri, None, config.model_dump(mode="json", exclude_unset=True))


def _code(shown: JSON | None) -> JSON | None:
    if not shown or not shown.get("codeId"):
        return None
    return {"code": shown["codeId"], "scoring_script": shown.get("scoringScript") or "score.py"}


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value
