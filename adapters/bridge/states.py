"""What ready and failed look like in what a plugin's ``get`` shows, where MLflow's own clients return before that."""

from __future__ import annotations

from adapters.bridge.describe import BridgeSettings, States

# DescribeEndpoint's EndpointStatus (botocore 2017-07-24): what is settled, and serves, or does not
_SAGEMAKER: tuple[States, States] = (
    {"EndpointStatus": ["InService"]},
    {"EndpointStatus": ["Failed", "OutOfService", "UpdateRollbackFailed"]},
)

# databricks-sdk's EndpointState: the client returns as soon as the workspace has accepted a change
_DATABRICKS: tuple[States, States] = (
    {"state.ready": ["READY"], "state.config_update": ["NOT_UPDATING"]},
    {"state.config_update": ["UPDATE_FAILED", "UPDATE_CANCELED"]},
)

KNOWN = {"sagemaker": _SAGEMAKER, "databricks": _DATABRICKS}


def states_of(plugin: str, settings: BridgeSettings) -> tuple[States | None, States]:
    """``ready`` and ``failed`` of the settings; without either, those of a known client; None: to be guessed."""
    if settings.ready is None and settings.failed is None:
        return KNOWN.get(plugin, (None, {}))
    return settings.ready or {}, settings.failed or {}
