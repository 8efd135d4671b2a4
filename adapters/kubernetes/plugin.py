"""``mlflow.deployments`` for Kubernetes without KServe: its target URI is ``kubernetes:/NAMESPACE``.

``import adapters.kubernetes.plugin`` imports MLflow; the service never does. Signs in as kubectl does: the kubeconfig
(``KUBECONFIG``, ``~/.kube/config``), or the service account of the pod that it runs in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from adapters import plugin
from adapters.contract import JSON
from adapters.kubernetes.describe import DESCRIPTION


class KubernetesDeploymentClient(plugin.AdapterDeploymentClient):
    """A deployment is a Service with a Deployment. ``MODELPORT_SERVICE_URL`` is where predictions reach Services."""

    def target_settings(self) -> JSON:
        """Where Services are reached, if the environment says so."""
        url = os.environ.get("MODELPORT_SERVICE_URL")
        return {"service_url": url} if url else {}


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
