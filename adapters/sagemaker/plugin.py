"""``mlflow.deployments`` for SageMaker. ``import adapters.sagemaker.plugin`` imports MLflow; the service never does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import mlflow

from adapters import plugin
from adapters.contract import JSON, Observed, Spec
from adapters.sagemaker.adapter import SageMakerAdapter
from adapters.sagemaker.describe import DESCRIPTION


class SageMakerDeploymentClient(plugin.AdapterDeploymentClient):
    """Endpoints of the account that this process has credentials for, under MLflow's own URI and config keys.

    Beyond MLflow's own client: an update keeps every setting that it does not name, a failure says why and leaves
    nothing behind, and deleting what is not there is done.
    """

    def target_settings(self) -> JSON:
        """MLflow's and AWS' own settings in this process."""
        settings = {
            "tracking_uri": mlflow.get_tracking_uri(),
            "registry_uri": mlflow.get_registry_uri(),
            "endpoint_url": os.environ.get("AWS_ENDPOINT_URL"),
            "profile": os.environ.get("AWS_PROFILE"),
        }
        return {key: value for key, value in settings.items() if value}

    def _spec(self, model_uri: str, flavor: str | None, config: Mapping[str, Any]) -> Spec:
        """The one variant has the name that MLflow's key ``variant_name`` gives it."""
        spec = super()._spec(model_uri, flavor, config)
        (variant,) = spec.variants
        name = variant.config.get("variant_name") or variant.name
        return Spec((replace(variant, name=name),), {name: 100})

    def _ours(self) -> list[Observed]:
        """With what each is made of, which the service has on record and need not read."""
        adapter = cast(SageMakerAdapter, self._adapter)
        return [replace(found, spec=_named(adapter.specification(found.name))) for found in super()._ours()]


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, Any] | None = None) -> None:
    """Serve the model on this machine, in the scoring server that SageMaker's container runs. Needs the local extra.

    Of the config only ``env`` means something here.
    """
    from adapters.local.plugin import run_local as serve

    serve(name, model_uri, flavor, {"env": config["env"]} if config and config.get("env") else None)


def target_help() -> str:
    """Every config key and setting, from the models that check them."""
    return DESCRIPTION.help()


def _named(spec: Spec | None) -> Spec | None:
    """What is read back keeps the name of its variant when it is updated."""
    if spec is None:
        return None
    named = (
        replace(each, config={**each.config, **({"variant_name": each.name} if each.name != plugin.VARIANT else {})})
        for each in spec.variants
    )
    return replace(spec, variants=tuple(named))
