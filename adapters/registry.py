"""Which kinds of target there are, and where their code lives.

A table in code for our own; third parties add theirs with the entry-point group ``modelport.adapters``, whose value
names a package laid out like ours: ``describe.DESCRIPTION``, ``invoke.invoke``, ``adapter.open_adapter``.
What is in neither and is the name of an MLflow deployment plugin is served by ``adapters.bridge``; so is
``mlflow+NAME``, whatever there is of ours, and then by MLflow's own client.
Nothing of a target is imported before it is used, and its SDK only where its adapter is opened.
"""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import cast
from urllib.parse import urlsplit

from adapters.bridge import installed
from adapters.contract import JSON, Adapter, Answer, Place, Request
from adapters.description import Description

BUILT_IN = {
    "azureml": "adapters.azureml",
    "databricks": "adapters.databricks",
    "http": "adapters.http",
    "https": "adapters.http",
    "kserve": "adapters.kserve",
    "kubernetes": "adapters.kubernetes",
    "local": "adapters.local",
    "sagemaker": "adapters.sagemaker",
}

BRIDGE = "adapters.bridge"

Invoke = Callable[[Place, JSON, Request, float], Answer]


class UnknownScheme(LookupError):
    """No kind of target has this scheme."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__(f"{uri!r} names no kind of target; there are: {', '.join(schemes())}")


class MissingExtra(RuntimeError):
    """The target's SDK is not installed here."""

    def __init__(self, scheme: str, extra: str | None, missing: str | None) -> None:
        self.extra = extra
        remedy = f"install it on the worker: pip install 'modelport[{extra}]'" if extra else "install it on the worker"
        super().__init__(f"the {scheme} target needs {missing or 'a package'} which is not installed here; {remedy}")


def schemes() -> list[str]:
    """Every scheme known here: ours, third parties', and MLflow's plugins, with ``mlflow+`` behind one of ours."""
    taken = {*BUILT_IN, *_third_party()}
    return sorted(taken | {installed.FORCED * (name in taken) + name for name in installed.plugins()})


def scheme_of(uri: str) -> str:
    """The kind that a target URI names: ``sagemaker:/us-east-1`` and ``local`` alike. Raises UnknownScheme."""
    scheme = installed.name_in(uri)
    if scheme not in BUILT_IN and scheme not in _third_party() and installed.plugin_of(scheme) is None:
        raise UnknownScheme(uri)
    return scheme


def describe(uri: str) -> Description:
    """What this kind of target says about itself. Raises UnknownScheme."""
    package = _package(uri)
    module = importlib.import_module(f"{package}.describe")
    return cast(Description, module.describe(scheme_of(uri)) if package == BRIDGE else module.DESCRIPTION)


def requirement(uri: str) -> str:
    """What a worker must offer to serve this target: its scheme, and the host that it belongs to where it does.

    ``local`` belongs to one, and so does what a plugin of MLflow serves: its calls under way are processes and files.
    """
    scheme = scheme_of(uri)
    if scheme == "local":
        return f"local@{urlsplit(uri).netloc or socket.gethostname()}"
    if _package(uri) == BRIDGE:
        plugin = scheme.removeprefix(installed.FORCED)
        return f"{installed.FORCED}{plugin}@{installed.host_of(uri) or socket.gethostname()}"
    return scheme


def offered() -> dict[str, str | None]:
    """What a worker on this machine can serve, as requirements; beside each, None or why it cannot."""
    offers: dict[str, str | None] = {}
    for scheme in schemes():
        try:
            _adapter_module(scheme)
            offers[requirement(scheme)] = None
        except MissingExtra as reason:
            offers[requirement(scheme)] = str(reason)
        except Exception as reason:
            # one broken adapter must not keep a worker from serving the others
            offers[requirement(scheme)] = f"its adapter cannot be loaded: {type(reason).__name__}: {reason}"
    return offers


def invoker(uri: str) -> Invoke:
    """The function that sends one prediction along a recorded route: ``invoke(place, route, request, timeout)``."""
    return cast(Invoke, importlib.import_module(f"{_package(uri)}.invoke").invoke)


def open_adapter(place: Place) -> Adapter:
    """An adapter for this target. Raises MissingExtra, naming what to install, and UnknownScheme."""
    return cast(Adapter, _adapter_module(scheme_of(place.uri)).open_adapter(place))


def _adapter_module(scheme: str):  # type: ignore[no-untyped-def]  # a module has no narrower static type
    try:
        return importlib.import_module(f"{_package(scheme)}.adapter")
    except ModuleNotFoundError as error:
        raise MissingExtra(scheme, describe(scheme).extra, error.name) from error


def _package(uri: str) -> str:
    scheme = scheme_of(uri)
    return BUILT_IN.get(scheme) or _third_party().get(scheme) or BRIDGE


@cache
def _third_party() -> dict[str, str]:
    return {entry.name: entry.value for entry in entry_points(group="modelport.adapters")}
