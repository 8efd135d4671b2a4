"""What a specification comes to on an endpoint: served entities, traffic, and what belongs to the endpoint as a whole.

A served entity is named after its variant and a digest of all that was asked of it, so that names and traffic tell what
serves although the workspace fills in defaults and shows no secret. So an update of models, config or traffic is one
write; the settings of the whole endpoint are remembered by a digest in the tag ``modelport_content``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from adapters.contract import JSON, Permanent, Spec, Variant
from adapters.databricks.describe import ENDPOINT_WIDE, SIZED, DatabricksConfig
from adapters.databricks.external import CONFIG_OF

# Databricks documents the characters of an entity's name, not its length: as long as an endpoint's may be
LONGEST_NAME = 63
DIGEST_LENGTH = 12
MODEL = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))?")
EXTERNAL = re.compile(r"external:/(?P<provider>[^/]+)/(?P<name>.+)")
FIXED = ("route_optimized", "budget_policy_id", "description")

Rows = list[list[Any]]
"""Of each served entity its name, its model, that one's version, and its share of the traffic."""


def goal(spec: Spec | None) -> JSON | None:
    """The documents that bring about the specification. Raises Permanent where it cannot be one of Databricks."""
    if spec is None:
        return None
    configs = {variant.name: DatabricksConfig.model_validate(variant.config) for variant in spec.variants}
    entities = [_entity(variant, configs[variant.name]) for variant in spec.variants]
    names = {variant.name: entity["name"] for variant, entity in zip(spec.variants, entities, strict=True)}
    wide = _wide(configs)
    rows = [
        row(entity["name"], entity.get("entity_name"), entity.get("entity_version"), spec.traffic.get(variant, 0))
        for variant, entity in zip(names, entities, strict=True)
    ]
    frame = digest(wide)
    return {
        "spec": spec.to_json(),
        "names": names,
        "entities": entities,
        "rows": rows,
        "wide": wide,
        "frame": frame,
        "carries": carries(rows),
        "content": f"{frame}.{carries(rows)}",
    }


def row(name: str, model: str | None, version: str | int | None, share: int) -> list[Any]:
    """One line of ``Rows``, the same from what is asked and from what is shown."""
    return [name, model or "", "" if version is None else str(version), share]


def carries(rows: Rows) -> str:
    """A digest that differs as soon as other entities serve, or with another share of the traffic."""
    return digest(sorted(rows))


def config_body(goal: JSON) -> JSON:
    """The body of a PUT of the endpoint's config, and the config of a create."""
    routes = [{"served_entity_name": name, "traffic_percentage": share} for name, _, _, share in goal["rows"]]
    capture = goal["wide"].get("auto_capture_config")
    return {
        "served_entities": goal["entities"],
        "traffic_config": {"routes": routes},
        **({"auto_capture_config": capture} if capture else {}),
    }


def marks(installation: str, uid: str, frame: str) -> dict[str, str]:
    """The tags by which an endpoint is known as ours; letters and underscores, which every kind of tag may have."""
    return {"modelport_installation": installation, "modelport_uid": uid, "modelport_content": frame}


def variants_of(names: Iterable[str]) -> dict[str, str]:
    """By variant the served entities' names, those of ours without their digest. The same names give the same."""
    found: dict[str, str] = {}
    for name in sorted(names):
        known = re.fullmatch(rf"(.+)-[0-9a-f]{{{DIGEST_LENGTH}}}", name)
        base = re.sub(r"[^A-Za-z0-9]+", "-", known[1] if known else name).strip("-") or "entity"
        variant, number = base, 2
        while variant in found:
            variant, number = f"{base}-{number}", number + 1
        found[variant] = name
    return found


def digest(value: object) -> str:
    """Sixteen characters that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def _entity(variant: Variant, config: DatabricksConfig) -> JSON:
    given = config.model_dump(mode="json", exclude_defaults=True, exclude=set(ENDPOINT_WIDE))
    name = _name(variant, given)
    if config.external_model is not None or variant.model_uri.startswith("external:"):
        return {"name": name, "external_model": _external(variant, config)}
    model, version = _model(variant, config)
    sized = any(key in given for key in SIZED)
    return {
        "name": name,
        **given,
        "entity_name": model,
        "entity_version": version,
        "scale_to_zero_enabled": config.scale_to_zero_enabled,
        **({} if sized else {"workload_size": "Small"}),
    }


def _name(variant: Variant, given: JSON) -> str:
    told = digest([variant.name, variant.model_uri, variant.flavor, given])[:DIGEST_LENGTH]
    return f"{variant.name[: LONGEST_NAME - DIGEST_LENGTH - 1]}-{told}"


def _model(variant: Variant, config: DatabricksConfig) -> tuple[str, str]:
    name, version = named(variant, config)
    if version is None:
        raise Permanent(f"variant {variant.name}: {variant.model_uri} names no version")
    return name, version


def named(variant: Variant, config: DatabricksConfig) -> tuple[str, str | None]:
    """The registered model that a variant asks for, and its version if the URI or the config has one.

    Raises Permanent where the URI names none or the config contradicts it.
    """
    found = MODEL.fullmatch(variant.model_uri)
    if found is None:
        raise Permanent(
            f"variant {variant.name}: {variant.model_uri} is no model that Databricks can serve; register it and use "
            "models:/NAME/VERSION, models:/CATALOG.SCHEMA.NAME/VERSION, or the same with @ALIAS; or external:/..."
        )
    if config.entity_name not in (None, found["name"]):
        raise Permanent(f"variant {variant.name}: entity_name {config.entity_name} is not the model of its URI")
    version = found["version"] or (None if found["alias"] else config.entity_version)
    if config.entity_version not in (None, version):
        raise Permanent(f"variant {variant.name}: entity_version {config.entity_version} is not that of its URI")
    return found["name"], version


def alias_of(variant: Variant) -> str | None:
    """The alias in the variant's URI, if it has one."""
    found = MODEL.fullmatch(variant.model_uri)
    return found["alias"] if found else None


def _external(variant: Variant, config: DatabricksConfig) -> JSON:
    found, external = EXTERNAL.fullmatch(variant.model_uri), config.external_model
    if found is None or external is None:
        raise Permanent(
            f"variant {variant.name}: an external model needs the URI external:/PROVIDER/NAME and external_model in "
            f"its config, not {variant.model_uri}"
        )
    own = external.model_copy(update=found.groupdict())
    key = CONFIG_OF.get(found["provider"])
    if key is None or getattr(own, key) is None or external.provider not in (None, found["provider"]):
        raise Permanent(f"variant {variant.name}: external_model is not of the provider {found['provider']}")
    if external.name not in (None, found["name"]):
        raise Permanent(f"variant {variant.name}: external_model is not the model {found['name']}")
    return own.model_dump(mode="json", exclude_none=True)


def _wide(configs: dict[str, DatabricksConfig]) -> JSON:
    """What belongs to the endpoint; the variants that say something about it must say the same."""
    wide: JSON = {}
    for key in ENDPOINT_WIDE:
        given: Sequence[JSON] = [
            config.model_dump(mode="json", exclude_none=True, include={key})
            for config in configs.values()
            if getattr(config, key) is not None
        ]
        if any(one != given[0] for one in given):
            raise Permanent(f"{key} belongs to the whole endpoint, and the variants give it different values")
        wide.update(given[0] if given else {})
    return wide
