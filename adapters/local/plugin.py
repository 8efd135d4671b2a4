"""``mlflow.deployments`` for this machine. ``import adapters.local.plugin`` imports MLflow; the service never does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlflow

from adapters import plugin
from adapters.contract import JSON
from adapters.local.describe import DESCRIPTION


class LocalDeploymentClient(plugin.AdapterDeploymentClient):
    """Models on this machine, found by the tracking server and registry that this process talks to."""

    def target_settings(self) -> JSON:
        """MLflow's own settings in this process."""
        return {"tracking_uri": mlflow.get_tracking_uri(), "registry_uri": mlflow.get_registry_uri()}


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, Any] | None = None) -> None:
    """Deploy on this machine and wait until it serves; ``delete_deployment`` of a ``local`` client ends it."""
    LocalDeploymentClient(DESCRIPTION.scheme).create_deployment(name, model_uri, flavor, config)


def target_help() -> str:
    """Every config key and setting, from the models that check them."""
    return DESCRIPTION.help()
