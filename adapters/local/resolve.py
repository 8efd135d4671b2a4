"""Ask MLflow what model URIs name now: ``python -P resolve.py`` reads a JSON object of variants and URIs from stdin.

A process of its own, because MLflow takes a second and 77 MB to import. On stdout, for every variant, either
``{"uri": fixed}`` or ``{"error": words, "kind": "permanent" | "denied" | "temporary"}``. With ``--check`` it says
instead, in one line, which MLflow and which tracking server answered, or exits 1 with the reason on stderr.
Reads only.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.store.artifact.utils.models import get_model_name_and_version

DENIED = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}
TEMPORARY = {
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "CANCELLED",
    "IO_ERROR",
}


def main(arguments: list[str]) -> int:
    """Answer on the stdout that we were given; whatever MLflow prints meanwhile goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answers, tempfile.TemporaryDirectory() as tempfile.tempdir:  # MLflow leaves what it downloads
        if arguments == ["--check"]:
            mlflow.MlflowClient().search_registered_models(max_results=1)
            answers.write(f"MLflow {mlflow.__version__}, registry {mlflow.get_registry_uri()}")
        else:
            json.dump({variant: answer(uri) for variant, uri in json.load(sys.stdin).items()}, answers)
    return 0


def answer(uri: str) -> dict[str, str]:
    """What one URI names, or why that is not known."""
    try:
        return {"uri": fixed(uri)}
    except MlflowException as error:
        return {"error": error.message, "kind": _kind(error)}
    except (FileNotFoundError, ImportError) as error:
        return {"error": str(error), "kind": "permanent"}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "kind": "temporary"}


def fixed(uri: str) -> str:
    """The URI that names the same model for ever. Raises what MLflow raises where it names nothing."""
    client = mlflow.MlflowClient()
    if not uri.startswith("models:/"):
        return _logged(uri)
    found = get_model_name_and_version(client, uri)  # type: ignore[no-untyped-call]
    if len(found) == 1:
        client.get_logged_model(found[0])
        return f"models:/{found[0]}"
    name, version = found
    client.get_model_version(name, version)
    return f"models:/{name}/{version}"


def _logged(uri: str) -> str:
    """Proves that the artifact is a model; what a run logged has an identity of its own since MLflow 3."""
    model = Model.load(uri)
    if uri.startswith("runs:/") and model.model_id:
        return f"models:/{model.model_id}"
    return uri


def _kind(error: Any) -> str:
    if error.error_code in DENIED:
        return "denied"
    return "temporary" if error.error_code in TEMPORARY else "permanent"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
