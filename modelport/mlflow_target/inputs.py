"""Inputs of a prediction as the body that the server takes: MLflow's four shapes, in strict JSON.

MLflow's own ``dump_input_data`` is not used: it writes NaN, which is no JSON, and fails on dicts, and in 2.22 without
scipy. Neither pandas nor numpy has to be there.
"""

from __future__ import annotations

import base64
import math
from typing import Any

from modelport.mlflow_target.config import Unfit

SHAPES = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})
TALKS = frozenset({"messages", "prompt", "input"})
"""What models that talk are asked with, and whatever they know beside it."""


def document(inputs: Any) -> dict[str, Any]:
    """What is sent for inputs of any kind.

    A dict in one of the four shapes, or for a model that talks, as it is; a data frame as ``dataframe_split``; anything
    else as ``inputs``. NaN, which JSON has not, becomes null as in pandas; bytes become base64, as MLflow's servers
    read them. Raises Unfit for what JSON cannot carry.
    """
    if isinstance(inputs, dict) and (SHAPES | TALKS) & inputs.keys():
        return {str(key): _plain(value) for key, value in inputs.items()}
    if hasattr(inputs, "columns") and hasattr(inputs, "to_dict"):
        return {"dataframe_split": _plain(inputs.to_dict(orient="split"))}
    return {"inputs": _plain(inputs.toarray() if hasattr(inputs, "toarray") else inputs)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return _number(value)
    if hasattr(value, "tolist"):  # arrays and scalars of numpy
        return _plain(value.tolist())
    if type(value).__name__ in {"NAType", "NaTType"}:  # missing, to pandas
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise Unfit(f"the inputs have a {type(value).__name__}, which JSON cannot carry")


def _number(value: float) -> float | None:
    if math.isinf(value):
        raise Unfit("the inputs have an infinite number, which JSON cannot carry")
    return None if math.isnan(value) else value
