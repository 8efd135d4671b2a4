"""``run_local``: MLflow's own scoring server with a model, in the foreground, for testing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelport.mlflow_target.config import Unfit
from modelport.output import note

OPTIONS = {
    "host": "--host",
    "port": "--port",
    "workers": "--workers",
    "timeout": "--timeout",
    "env_manager": "--env-manager",
}
DEFAULTS = {"host": "127.0.0.1", "port": 5000, "env_manager": "local"}
GENERIC = "python_function"


def serve(name: str, model_uri: str, flavor: str | None, config: Mapping[str, Any] | None) -> None:
    """Serve the model until Ctrl-C, as ``mlflow models serve`` does. Raises Unfit, CalledProcessError."""
    if flavor not in {None, GENERIC}:
        raise Unfit(f"run_local serves {GENERIC}, which every MLflow model has; leave the flavor {flavor!r} out")
    given = {**DEFAULTS, **(config or {})}
    unknown = given.keys() - OPTIONS.keys()
    if unknown:
        raise Unfit(f"run_local takes no config {', '.join(sorted(unknown))}; there are {', '.join(OPTIONS)}")
    options = [part for key, value in given.items() for part in (OPTIONS[key], str(value))]
    note(f"{name}: http://{given['host']}:{given['port']}/invocations, until Ctrl-C")
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model_uri, *options]
    # it looks for its server, uvicorn, on the PATH
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})
