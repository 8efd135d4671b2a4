"""What the ``local`` target takes and can do. Imports pydantic only."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from adapters.description import Capabilities, Description, Limits, Strict


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class LocalConfig(Strict):
    """Config of one variant. Every key is part of the server's identity: changing one starts a new server."""

    env: dict[EnvironmentName, str] = Field({}, description="environment variables of the model's server")
    startup_timeout_seconds: float = Field(
        300.0, gt=0, description="how long downloading and loading the model may take before it counts as failed"
    )
    request_timeout_seconds: int = Field(
        60, gt=0, description="how long the model's server works on one prediction before it answers 504"
    )


class LocalSettings(Strict):
    """Settings of a target on this machine."""

    tracking_uri: str | None = Field(
        None,
        description="MLflow tracking server of runs:/ and models:/ URIs; absent: MLFLOW_TRACKING_URI of the worker",
    )
    registry_uri: str | None = Field(None, description="MLflow model registry; absent: MLflow's own choice")
    bind: Annotated[str, AfterValidator(_address)] = Field(
        "127.0.0.1",
        description="address that the models' servers listen on; they ask for no password, so past loopback anybody "
        "who reaches it can predict",
    )
    drain_seconds: float = Field(
        2.0,
        ge=0,
        description="how long old servers take requests after the switch, for callers that read the old route",
    )
    stop_seconds: float = Field(
        60.0, ge=0, description="how long a stopping server may finish predictions in flight before it is killed"
    )
    python: str | None = Field(
        None,
        description="interpreter of the models' servers, with mlflow, uvicorn, psutil and the models' own packages; "
        "absent: the worker's",
    )
    run_as: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] | None = Field(
        None,
        description="user of this machine that the models' servers become before they load anything, for which the "
        "worker must run as root; the user must be able to read the interpreter and models given as paths",
    )
    memory_bytes: int | None = Field(None, gt=0, description="address space of one server; absent: no limit")
    open_files: int | None = Field(None, gt=0, description="files that one server may have open; absent: the worker's")
    processes: int | None = Field(
        None, gt=0, description="processes and threads of the servers' user; absent: the worker's"
    )
    pass_environment: tuple[EnvironmentName, ...] = Field(
        (),
        description="further variables of the worker that the servers get, such as AWS_PROFILE; model code sees them",
    )


DESCRIPTION = Description(
    scheme="local",
    title="This machine: MLflow's own scoring server, one process per variant; local or local://HOSTNAME",
    config_model=LocalConfig,
    settings_model=LocalSettings,
    capabilities=Capabilities(max_variants=10, can_split=True, can_pin=True, has_logs=True, has_preconditions=True),
    extra="local",
    limits=Limits(parallel=4),  # a model that loads keeps a core busy for seconds
    deadline_seconds=600.0,
    look_seconds=0.5,
)
