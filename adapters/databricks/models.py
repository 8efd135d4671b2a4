"""Which version of a registered model a URI names now; asked of Unity Catalog or the workspace's registry."""

from __future__ import annotations

from dataclasses import replace

from adapters.contract import Denied, Permanent, Spec, Variant
from adapters.databricks.describe import DatabricksConfig
from adapters.databricks.goals import EXTERNAL, alias_of, named
from adapters.databricks.workspace import Missing, Workspace


def fix(workspace: Workspace, spec: Spec) -> Spec:
    """The specification with a version in every URI. Raises Permanent naming the variant and URI that name nothing."""
    return replace(spec, variants=tuple(_fixed(workspace, variant) for variant in spec.variants))


def _fixed(workspace: Workspace, variant: Variant) -> Variant:
    if EXTERNAL.fullmatch(variant.model_uri):
        return variant
    model, version = named(variant, DatabricksConfig.model_validate(variant.config))
    alias = alias_of(variant)
    try:
        if alias is not None:
            version = workspace.alias(model, alias)
        elif version is not None:
            _check(workspace, model, version)
    except Missing as error:
        raise Permanent(f"variant {variant.name}: {variant.model_uri} names nothing: {error.message}") from error
    if version is None:
        raise Permanent(f"variant {variant.name}: {variant.model_uri} names no version: add /VERSION or @ALIAS")
    return replace(variant, model_uri=f"models:/{model}/{version}")


def _check(workspace: Workspace, model: str, version: str) -> None:
    try:
        workspace.check_version(model, version)
    except Denied:
        return  # who may serve a model need not be allowed to read it; a version that is not there fails the create
