"""Inputs of a prediction as the body that the server takes: MLflow's four shapes, in strict JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from modelport.mlflow_target.config import Unfit

SHAPES = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})


def document(inputs: Any) -> Any:
    """What is sent for dicts and lists: one of the four shapes as it is, anything else as ``inputs``.

    NaN, which JSON has not, becomes null as in pandas. Raises Unfit for what JSON cannot carry.
    """
    shaped = isinstance(inputs, dict) and SHAPES & inputs.keys()
    return _plain(inputs if shaped else {"inputs": inputs})


def text_document(text: str) -> bytes:
    """A document that MLflow has written, without its NaN."""
    return json.dumps(_plain(json.loads(text))).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # arrays and scalars of numpy, which need not be there
        return _plain(value.tolist())
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, float) and math.isinf(value):
        raise Unfit("the inputs have an infinite number, which JSON cannot carry")
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise Unfit(f"the inputs have a {type(value).__name__}, which JSON cannot carry")
