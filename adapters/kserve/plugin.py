"""``mlflow.deployments`` for KServe, straight on a namespace: its target URI is ``kserve:/NAMESPACE``.

``import adapters.kserve.plugin`` imports MLflow; the service never does. Signs in as kubectl does: the kubeconfig
(``KUBECONFIG``, ``~/.kube/config``), or the service account of the pod that it runs in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mlflow.exceptions import MlflowException

from adapters import plugin
from adapters.contract import JSON, AdapterError, Observed
from adapters.kserve.adapter import open_adapter
from adapters.kserve.describe import DESCRIPTION


class KServeDeploymentClient(plugin.AdapterDeploymentClient):
    """A deployment is an InferenceService. ``MODELPORT_GATEWAY_URL`` is where predictions reach the ingress gateway."""

    def target_settings(self) -> JSON:
        """Where the gateway is, if the environment says so."""
        gateway = os.environ.get("MODELPORT_GATEWAY_URL")
        return {"gateway_url": gateway} if gateway else {}

    def _ours(self) -> list[Observed]:
        """With the specification that each shows, which the list does not tell."""
        found = [self._find(observed.name) for observed in super()._ours()]
        return [observed for observed in found if observed is not None]

    def _find(self, name: str) -> Observed | None:
        adapter = open_adapter(self._place)
        try:
            found = adapter.observe(name)
        except AdapterError as error:
            raise MlflowException(error.message) from error
        return found if found is not None and found.uid is not None else None


def run_local(
    name: str,
    model_uri: str,
    flavor: str | None = None,
    config: Mapping[str, Any] | None = None,  # noqa: ARG001  # of a cluster
) -> None:
    """Serve the model on this machine, as the ``local`` target does; a cluster's config has no meaning there."""
    from adapters.local.plugin import run_local as on_this_machine

    on_this_machine(name, model_uri, flavor, {})


def target_help() -> str:
    """Every config key and setting, from the models that check them."""
    return DESCRIPTION.help()
