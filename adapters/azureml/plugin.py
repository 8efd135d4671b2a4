"""``mlflow.deployments`` for Azure ML online endpoints, which MLflow has no client for.

``import adapters.azureml.plugin`` imports MLflow; the service never does. Signs in by azure-identity's default chain:
``AZURE_TENANT_ID``, ``AZURE_CLIENT_ID`` and ``AZURE_CLIENT_SECRET``, a workload's or machine's identity, ``az login``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow.exceptions import MlflowException

from adapters import plugin
from adapters.azureml.adapter import open_adapter
from adapters.azureml.describe import DESCRIPTION
from adapters.contract import AdapterError, Observed


class AzureMlDeploymentClient(plugin.AdapterDeploymentClient):
    """A deployment is an online endpoint with one deployment; ``config`` has the keys of both."""

    def _ours(self) -> list[Observed]:
        """With the specification that each endpoint shows, which the list does not tell."""
        found = [self._find(observed.name) for observed in super()._ours()]
        return [observed for observed in found if observed is not None]

    def _find(self, name: str) -> Observed | None:
        adapter = open_adapter(self._place)
        try:
            found = adapter.observe(name)
        except AdapterError as error:
            raise MlflowException(error.message) from error
        finally:
            adapter.close()
        return found if found is not None and found.uid is not None else None


def run_local(
    name: str,
    model_uri: str,
    flavor: str | None = None,
    config: Mapping[str, Any] | None = None,  # noqa: ARG001  # sizes and networks of a workspace
) -> None:
    """Serve the model on this machine, as the ``local`` target does; Azure's own config has no meaning there."""
    from adapters.local.plugin import run_local as on_this_machine

    on_this_machine(name, model_uri, flavor, {})


def target_help() -> str:
    """Every config key and setting, from the models that check them."""
    return DESCRIPTION.help()
