"""Which MLflow deployment plugins are installed here, read from package metadata: nothing of theirs is imported.

``crusoe``, ``triton-control://host:8080``: the name of a plugin that no adapter of ours has taken.
``mlflow+sagemaker:/eu-west-1``, ``mlflow+databricks``: MLflow's own client although we have an adapter.
``...#host=NAME``: the machine that the target belongs to, where that is not the one that registers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from urllib.parse import parse_qs, urlsplit

GROUP = "mlflow.deployments"
FORCED = "mlflow+"

# registered by MLflow's code (mlflow/deployments/interface.py) and not by an entry point
_BY_CODE = ("sagemaker",)

# the service itself: it would wait for its own answer
_OURS = "modelport.mlflow_plugin"


@dataclass(frozen=True)
class Plugin:
    """One plugin: its name in URIs, and the package and version that brought it."""

    name: str
    package: str


@cache
def plugins() -> dict[str, Plugin]:
    """Every plugin by its name; read once per process."""
    found = {
        entry.name: Plugin(entry.name, f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value)
        for entry in entry_points(group=GROUP)
        if entry.value.split(":")[0] != _OURS
    }
    if find_spec("mlflow") is not None:  # looked for and not imported
        for name in _BY_CODE:
            found.setdefault(name, Plugin(name, "MLflow itself"))
    return found


def name_in(uri: str) -> str:
    """What stands before the first colon of a target URI, its fragment apart."""
    bare = uri.partition("#")[0]
    return urlsplit(bare).scheme or bare.split(":", 1)[0]


def plugin_of(scheme: str) -> Plugin | None:
    """The plugin that this scheme names, whether or not it is forced."""
    return plugins().get(scheme.removeprefix(FORCED))


def plugin_uri(uri: str) -> str:
    """The URI as the plugin is given it: without what only the bridge understands."""
    return uri.partition("#")[0].removeprefix(FORCED)


def host_of(uri: str) -> str | None:
    """The machine that the URI binds its target to; None where it names none."""
    return next(iter(parse_qs(uri.partition("#")[2]).get("host", ())), None)
