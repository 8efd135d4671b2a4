"""MLflow's side of the bridge: the only module of it that imports MLflow, and so only ever in a process of its own."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.deployments import get_deploy_client
from mlflow.deployments.base import BaseDeploymentClient
from mlflow.deployments.interface import plugin_store
from mlflow.deployments.utils import parse_target_uri

from adapters.bridge.failures import failure, kind_of
from adapters.bridge.shapes import JSON, MOVING, document, is_same, items, name_of, show, state

PLACEHOLDER = re.compile(r"\$\{(model_uri|model_name|model_version)\}")

# one list instead of more single gets than this
SINGLE_GETS = 3


class Unsupported(Exception):
    """The plugin's method has no parameter for what was asked."""


def load(uri: str) -> None:
    """Import the plugin of this target, which may take seconds. Raises what its import raises."""
    plugin_store[parse_target_uri(uri)]  # type: ignore[no-untyped-call]


def target_help(name: str) -> str:
    """What the plugin says about its config and its URIs."""
    return str(plugin_store[name].target_help() or "The plugin gives no help.")


def run_local(uri: str, name: str, model_uri: str, flavor: str | None, config: JSON) -> None:
    """The plugin's own ``run_local``, which some declare with a target in front. Blocks as long as it does."""
    target = parse_target_uri(uri)  # type: ignore[no-untyped-call]
    method = plugin_store[target].run_local
    if "target" in _parameters(method):
        method(target, name, model_uri, flavor, config)
    else:
        method(name, model_uri, flavor, config)


class Client:
    """A plugin's client, driven by JSON. Opened for one request and used by one thread.

    ``family`` is ``deployments``, ``endpoints`` or ``auto``; ``endpoint`` what the plugin's deployments are in.
    """

    def __init__(self, uri: str, family: str = "auto", endpoint: str | None = None) -> None:
        self._client: Any = get_deploy_client(uri)  # type: ignore[no-untyped-call]
        self._endpoint = endpoint
        self._listed: list[JSON] | None = None
        self.family = self._family() if family == "auto" else family

    def create(self, name: str, variant: Mapping[str, Any]) -> JSON:
        """``create_deployment``, or ``create_endpoint`` with the variant's config. Returns what the plugin does."""
        if self.family == "endpoints":
            return document(self._call("create_endpoint", name, config=_filled(variant)))
        return document(self._call("create_deployment", name, variant["model_uri"], **_given(variant)))

    def update(self, name: str, variant: Mapping[str, Any]) -> JSON:
        """The same for what is there."""
        if self.family == "endpoints":
            return document(self._call("update_endpoint", name, config=_filled(variant)))
        return document(self._call("update_deployment", name, model_uri=variant["model_uri"], **_given(variant)))

    def delete(self, name: str, config: JSON) -> JSON:
        """``delete_deployment`` or ``delete_endpoint``."""
        if self.family == "endpoints":
            return document(self._call("delete_endpoint", name))
        return document(self._call("delete_deployment", name, **({"config": config} if config else {})))

    def everything(self) -> list[JSON]:
        """Every deployment, or endpoint, that the plugin's list tells. It may be a page of them only."""
        if self._listed is None:
            endpoints = self.family == "endpoints"
            try:
                self._listed = items(self._call("list_endpoints" if endpoints else "list_deployments"))
            except AttributeError as error:
                # MLflow 3.17's Databricks client reads a field that an empty workspace's answer has not
                if not endpoints or error.name != "endpoints":
                    raise
                self._listed = []
        return self._listed

    def get(self, name: str) -> JSON:
        """What the plugin shows of one."""
        return document(self._call("get_endpoint" if self.family == "endpoints" else "get_deployment", name))

    def predict(self, name: str, inputs: Any, params: Any) -> Any:
        """What the plugin's ``predict`` returns, as it is."""
        given = {"params": params} if params is not None else {}
        if self.family == "endpoints":
            return self._call("predict", inputs=inputs, endpoint=name, **given)
        return self._call("predict", name, inputs, **given)

    def look(self, names: list[str], ready: Mapping[str, list[str]] | None, failed: Mapping[str, list[str]]) -> JSON:
        """How each of these stands: ``there`` (None: the plugin cannot tell), ``state`` and the words for it.

        A failure to find out is ``{"kind": ..., "message": ...}`` in its place.
        """
        listed = self._find_all() if len(names) > SINGLE_GETS else {}
        return {name: self._look(name, listed, ready, failed) for name in names}

    def _look(self, name: str, listed: Mapping[str, JSON], ready: Any, failed: Any) -> JSON:
        shown = next((each for told, each in listed.items() if is_same(told, name)), None)
        if shown is not None:
            found, said = state(shown, ready, failed)
            if found != "incomplete":
                return {"there": True, "state": found, "said": said}
        try:
            shown = self.get(name)
        except Exception as error:
            return self._missed(name, error)
        found, said = state(shown, ready, failed)
        return {"there": True, "state": "ready" if found == "incomplete" else found, "said": said}

    def _missed(self, name: str, error: Exception) -> JSON:
        """After a get that raised: plugins raise anything for what is absent, so that the list has to agree."""
        kind = kind_of(error)
        if kind in ("denied", "temporary", "unknown"):
            return failure(error)
        listed = self._find_all()
        if listed is not None and any(is_same(told, name) for told in listed):
            return {"there": True, "state": "ready", "said": ""}
        if kind == "absent" or (listed is not None and kind == "permanent"):
            return {"there": False, "state": "absent", "said": ""}
        if kind == "unsupported":
            # without get, a list that can be had tells; without both, nobody knows
            return {"there": None if listed is None else False, "state": "unknown", "said": ""}
        return failure(error)

    def _find_all(self) -> Any:
        """What the list tells by name; None where there is no list to be had."""
        try:
            return {told: shown for shown in self.everything() if (told := name_of(shown)) is not None}
        except Exception:
            return None

    def _family(self) -> str:
        if type(self._client).create_endpoint is BaseDeploymentClient.create_endpoint:
            return "deployments"
        try:
            self._listed = items(self._call("list_deployments"))
        except NotImplementedError:
            return "endpoints"
        except Exception:
            return "deployments"
        return "deployments"

    def _call(self, method: str, *args: Any, **given: Any) -> Any:
        """Call what the plugin has, with ``endpoint`` where it takes one, as MLflow's command line does.

        Raises Unsupported for what is given and not taken: left out silently, something else would be deployed.
        """
        bound = getattr(self._client, method)
        parameters = _parameters(bound)
        if self._endpoint is not None and "endpoint" in parameters:
            given.setdefault("endpoint", self._endpoint)
        takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        refused = [key for key in given if key not in parameters and not takes_any]
        if refused:
            raise Unsupported(f"{method} of this plugin takes no {' and no '.join(refused)}: this is not supported")
        return bound(*args, **given)


def resolve(uri: str) -> str:
    """The version that an alias, a stage or ``latest`` of MLflow's registry names now; any other URI as it is."""
    if not MOVING.fullmatch(uri):
        return uri
    from mlflow import MlflowClient
    from mlflow.store.artifact.utils.models import get_model_name_and_version

    found = get_model_name_and_version(MlflowClient(), uri)  # type: ignore[no-untyped-call]
    return f"models:/{found[0]}/{found[1]}" if len(found) == 2 else f"models:/{found[0]}"


def listing(client: Client, ready: Mapping[str, list[str]] | None, failed: Mapping[str, list[str]]) -> list[JSON]:
    """Name, state and what may be shown of everything that the plugin's list tells by name."""
    told = []
    for shown in client.everything():
        name = name_of(shown)
        if name is not None:
            found, said = state(shown, ready, failed)
            told.append({"name": name, "state": found, "said": said, "shown": show(shown)})
    return told


def _given(variant: Mapping[str, Any]) -> JSON:
    """Flavor and config, where there are any."""
    return {key: variant[key] for key in ("flavor", "config") if variant[key]}


def _filled(variant: Mapping[str, Any]) -> JSON:
    """An endpoint's config names its model itself; ``${model_uri}`` in it and its parts come from the variant."""
    uri = variant["model_uri"]
    name, _, version = uri.removeprefix("models:/").rpartition("/")
    parts = {"model_uri": uri, "model_name": name, "model_version": version}

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(each) for key, each in value.items()}
        if isinstance(value, list):
            return [fill(each) for each in value]
        return PLACEHOLDER.sub(lambda found: parts[found[1]], value) if isinstance(value, str) else value

    return dict(fill(variant["config"]))


def _parameters(method: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(method).parameters
    except ValueError:
        return {}
