"""A specification: variants and their traffic, checked against what the target can do, in one canonical form.

Everything here is decided from the request and the target's rules alone; no database is asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from operations import disclosure, model_uris
from operations.problems import (
    FieldError,
    Invalid,
    InvalidConfig,
    InvalidField,
    InvalidName,
    InvalidTraffic,
    NotSupportedByTarget,
)

Document = dict[str, Any]

DEFAULT_VARIANT = "main"
VARIANT_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Rules:
    """What the target of a request allows. ``config`` validates one variant's config and returns its JSON."""

    scheme: str
    max_variants: int
    can_split: bool
    name_pattern: str
    deadline_seconds: float
    require_if_match: bool
    config: Callable[[Document], Document]
    variants_at_create: bool = True
    model_schemes: Sequence[str] = ()
    names_models: bool = False


def rules(description: Any, settings: Mapping[str, Any]) -> Rules:
    """What a target with these settings allows; ``description`` is its kind's, as adapters give it."""
    able = description.capabilities

    def config(document: Document) -> Document:
        checked: BaseModel = description.config_model.model_validate(document)
        return checked.model_dump(mode="json", exclude_unset=True)

    return Rules(
        scheme=description.scheme,
        max_variants=able.max_variants,
        can_split=able.can_split,
        name_pattern=able.name_pattern,
        deadline_seconds=description.deadline_seconds,
        require_if_match=bool(settings.get("require_if_match")),
        variants_at_create=able.variants_at_create,
        model_schemes=able.model_schemes,
        names_models=able.names_models,
        config=config,
    )


def build(
    rules: Rules,
    *,
    model_uri: str | None = None,
    flavor: str | None = None,
    config: Document | None = None,
    variants: Sequence[Document] | None = None,
    traffic: Mapping[str, int] | None = None,
) -> Document:
    """The canonical document of a request's shorthand (one model) or list of variants. Raises Invalid, field named."""
    if variants is not None and (model_uri is not None or flavor is not None or config is not None):
        raise InvalidField.one("variants", "stands beside model_uri", "give either variants, or model_uri with config")
    if variants is None:
        if model_uri is None:
            raise InvalidField.one("model_uri", "is missing", "give model_uri, or variants")
        shorthand = {"name": DEFAULT_VARIANT, "model_uri": model_uri, "flavor": flavor, "config": config or {}}
        made = [_variant(rules, shorthand, "")]
    else:
        made = [_variant(rules, variant, f"variants[{place}].") for place, variant in enumerate(variants)]
    _check_variants(rules, made)
    return {"variants": made, "traffic": split(rules, [variant["name"] for variant in made], traffic)}


def split(rules: Rules, names: Sequence[str], traffic: Mapping[str, int] | None) -> dict[str, int]:
    """The traffic of these variants in whole percent, summing to 100. Raises InvalidTraffic, NotSupportedByTarget."""
    if traffic is None:
        if len(names) > 1:
            raise InvalidTraffic.one("traffic", "is missing", "with several variants, say how traffic splits")
        return {names[0]: 100}
    for name, share in traffic.items():
        if name not in names:
            known = ", ".join(names)
            raise InvalidTraffic.one(f"traffic.{name}", "names no variant", f"the variants are: {known}")
        if not 0 <= share <= 100:
            raise InvalidTraffic.one(f"traffic.{name}", f"is {share}", "give a whole number from 0 to 100")
    total = sum(traffic.values())
    if total != 100:
        raise InvalidTraffic.one("traffic", f"sums to {total}, not 100", InvalidTraffic.remedy)
    if not rules.can_split and sum(share > 0 for share in traffic.values()) > 1:
        raise NotSupportedByTarget.one(
            "traffic", f"the {rules.scheme} target cannot split traffic", "send all of it to one variant"
        )
    return {name: traffic.get(name, 0) for name in names}


def check_creation(rules: Rules, spec: Document) -> None:
    """Raises NotSupportedByTarget where a deployment must begin with one variant."""
    if len(spec["variants"]) > 1 and not rules.variants_at_create:
        raise NotSupportedByTarget.one(
            "variants", f"the {rules.scheme} target begins with one variant", "create it with one, then add the others"
        )


def check_name(rules: Rules, name: str, field: str = "name") -> None:
    """Raises InvalidName unless the target allows a deployment of this name."""
    if not re.fullmatch(rules.name_pattern, name):
        raise InvalidName.one(
            field, f"{name[:80]!r} is not allowed on this target", f"it must match {rules.name_pattern}"
        )


def merged(spec: Document, change: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``build`` that change ``spec`` by the fields sent. Config merges key by key; null removes."""
    if "variants" in change:
        return {name: change[name] for name in ("variants", "traffic") if name in change}
    short = {name: change[name] for name in ("model_uri", "flavor", "config") if name in change}
    variants = [dict(variant) for variant in spec["variants"]]
    if short:
        if len(variants) != 1:
            field = next(iter(short))
            raise InvalidField.one(field, "the deployment has several variants", "send variants instead")
        config = {**variants[0]["config"], **(short.pop("config", None) or {})}
        variants[0] |= short | {"config": {key: value for key, value in config.items() if value is not None}}
    return {"variants": variants, "traffic": change.get("traffic", spec["traffic"])}


def content_hash(spec: Document) -> str:
    """The same for equal specifications, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(_plain(spec), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Whole floats as integers: PostgreSQL gives 1e20 back as an integer."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _variant(rules: Rules, variant: Document, prefix: str) -> Document:
    name, uri = variant["name"], variant["model_uri"]
    if not VARIANT_NAME.fullmatch(name):
        raise InvalidName.one(f"{prefix}name", f"{name[:80]!r} is not allowed", f"it must match {VARIANT_NAME.pattern}")
    check_model_uri(rules, uri, f"{prefix}model_uri")
    # before it is validated: a refusal of the target quotes values
    disclosure.check(dict(variant.get("config") or {}), f"{prefix}config")
    try:
        config = rules.config(dict(variant.get("config") or {}))
    except ValidationError as error:
        raise _invalid_config(error, f"{prefix}config") from error
    return {"name": name, "model_uri": uri, "flavor": variant.get("flavor"), "config": config}


def check_model_uri(rules: Rules, uri: str, field: str) -> None:
    """Whether it is a model URI that is taken here. Raises InvalidModelUri, SecretInConfig."""
    model_uris.check(uri, field, schemes=rules.model_schemes, names=rules.names_models)


def _check_variants(rules: Rules, variants: Sequence[Document]) -> None:
    if not variants:
        raise InvalidField.one("variants", "is empty", "give at least one variant")
    if len(variants) > rules.max_variants:
        raise NotSupportedByTarget.one(
            "variants",
            f"the {rules.scheme} target takes {rules.max_variants} at most, not {len(variants)}",
            "send fewer variants",
        )
    names = [variant["name"] for variant in variants]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidField.one(f"variants[{place}].name", f"{name!r} is there twice", "give each its own name")


def _invalid_config(error: ValidationError, prefix: str) -> Invalid:
    errors = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"])
        unknown = fault["type"] == "extra_forbidden"
        message = "is not a config key of this target" if unknown else fault["msg"]
        errors.append(FieldError(f"{prefix}{path}", message, InvalidConfig.remedy))
    return InvalidConfig(f"{errors[0].field}: {errors[0].message}", errors)
