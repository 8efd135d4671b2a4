"""What a model URI names: a registered model by its id, or a place from which one is registered. No call is made here.

===========================================================  ======================================================
``models:/NAME/VERSION``, ``azureml:NAME:VERSION``           a model of the workspace
``models:/NAME/latest``, either with ``@latest``             its newest version when the operation starts
``azureml://registries/R/models/NAME/versions/VERSION``      a model of a registry
``azureml:/subscriptions/.../models/NAME/versions/VERSION``  a model by its ARM id
``azureml://[subscriptions/.../]datastores/D/paths/P``       files in a datastore: registered first
``azureml://[subscriptions/.../]jobs/J/outputs/O/paths/P``   what a job wrote: registered first
``runs:/J/P``                                                the same among a job's artifacts
===========================================================  ======================================================

Forms from azure-ai-ml's ``constants/_common.py``; ``runs:/J/P`` is MLflow's way to say a path in a job's artifacts.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from adapters.contract import Permanent, Place, Variant

TARGET = re.compile(r"azureml:/?/?/?(?P<subscription>[^/?#@:]+)/(?P<group>[^/?#@:]+)/(?P<workspace>[^/?#@:]+)/?")
SHORT = re.compile(r"azureml:(?P<name>[\w.-]+)(?::(?P<version>[\w.-]+)|@(?P<label>[\w-]+))")
MLFLOW = re.compile(r"models:/(?P<name>[\w.-]+)(?:/(?P<version>[\w.-]+)|@(?P<label>[\w-]+))")
REGISTRY = re.compile(r"azureml://registries/[\w.-]+/models/[\w.-]+/versions/[\w.-]+")
ARM_ID = re.compile(
    r"(?:azureml:)?(?P<id>/subscriptions/[^/]+/resource[gG]roups/[^/]+/providers/Microsoft\.MachineLearningServices/.+)"
)
FILES = re.compile(
    r"azureml://(?P<long>subscriptions/[^/]+/resource[gG]roups/[^/]+/workspaces/[^/]+/)?"
    r"(?P<rest>(?:datastores/[\w.-]+|jobs/[\w.-]+/outputs/[\w.-]+)/paths/.+)"
)
RUN = re.compile(r"runs:/(?P<run>[\w.-]+)/(?P<path>.+)")
LATEST = "latest"
TYPES = {"custom": "custom_model", "triton": "triton_model"}
HELP = (
    "use models:/NAME/VERSION or models:/NAME/latest, azureml://registries/.../versions/VERSION, "
    "azureml:/subscriptions/..., azureml://datastores/.../paths/..., azureml://jobs/.../paths/... or runs:/RUN/PATH"
)


@dataclass(frozen=True)
class Scope:
    """The workspace that a target's URI names."""

    subscription: str
    group: str
    workspace: str

    @property
    def path(self) -> str:
        """The workspace's own path under Azure Resource Manager, and the beginning of its things' ids."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace}"
        )

    def asset(self, kind: str, name: str, version: str) -> str:
        """The id of a version of one of the workspace's assets."""
        return f"{self.path}/{kind}/{name}/versions/{version}"


def scope_of(place: Place) -> Scope:
    """The workspace of a target. Raises Permanent where the URI names none."""
    found = TARGET.fullmatch(place.uri)
    if found is None:
        raise Permanent(
            f"the URI of target {place.name} is not of the form azureml:/SUBSCRIPTION/RESOURCE_GROUP/WORKSPACE"
        )
    return Scope(**found.groupdict())


def moving(variant: Variant) -> str | None:
    """The name of the workspace's model whose newest version is meant; None for a URI that fixes what it means.

    Raises Permanent where the URI is none of those above.
    """
    found = SHORT.fullmatch(variant.model_uri) or MLFLOW.fullmatch(variant.model_uri)
    if found is None:
        _checked(variant)
        return None
    if LATEST in (found["label"], found["version"]):
        return found["name"]
    if found["label"]:
        raise Permanent(
            f"variant {variant.name}: {variant.model_uri} names no version: Azure knows the label latest only, no "
            "aliases of MLflow; say which version"
        )
    return None


def registered(scope: Scope, variant: Variant) -> str | None:
    """The id by which a deployment refers to a registered model; None where it has to be registered first."""
    uri = variant.model_uri
    found = SHORT.fullmatch(uri) or MLFLOW.fullmatch(uri)
    if found is not None:
        if found["version"] in (None, LATEST):
            raise Permanent(f"variant {variant.name}: {uri} names no version")
        return scope.asset("models", found["name"], found["version"])
    _checked(variant)
    known = ARM_ID.fullmatch(uri)
    return known["id"] if known else uri if REGISTRY.fullmatch(uri) else None


def source(scope: Scope, variant: Variant) -> str:
    """Where the files are from which a model is registered, in full."""
    run = RUN.fullmatch(variant.model_uri)
    if run is not None:
        return f"azureml://jobs/{run['run']}/outputs/artifacts/paths/{run['path']}"
    found = FILES.fullmatch(variant.model_uri)
    if found is None or found["long"] or found["rest"].startswith("jobs/"):
        return variant.model_uri
    own = f"subscriptions/{scope.subscription}/resourcegroups/{scope.group}/workspaces/{scope.workspace}/"
    return f"azureml://{own}{found['rest']}"


def type_of(variant: Variant) -> str:
    """What kind of model is registered: one of MLflow unless the flavor says otherwise."""
    return TYPES.get(variant.flavor or "", "mlflow_model")


def registered_name(installation: str, uid: str, deployment: str, variant: Variant) -> str:
    """The name of the model that is registered for a variant: one for each deployment and place, for no one else."""
    told = "\0".join((installation, uid, variant.model_uri, variant.flavor or ""))
    return f"{deployment}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def uri_of(scope: Scope, model: str) -> str:
    """The URI with which a model that a deployment shows can be asked for again."""
    prefix = f"{scope.path}/models/".lower()
    if model.lower().startswith(prefix):
        name, _, version = model[len(prefix) :].partition("/versions/")
        return f"models:/{name}/{version}"
    return f"azureml:{model}" if ARM_ID.fullmatch(model) else model


def asset_id(scope: Scope, given: str, kind: str = "environments") -> str:
    """The id of an environment, or of another kind of asset, that is given as ``azureml:NAME:VERSION`` or by its id."""
    found, known = SHORT.fullmatch(given), ARM_ID.fullmatch(given)
    if found and found["version"]:
        return scope.asset(kind, found["name"], found["version"])
    return known["id"] if known else given


def _checked(variant: Variant) -> None:
    uri = variant.model_uri
    if not any(known.fullmatch(uri) for known in (REGISTRY, ARM_ID, FILES, RUN)):
        raise Permanent(f"variant {variant.name}: {uri} is no model that Azure ML can serve; {HELP}")
