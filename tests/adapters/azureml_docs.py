"""The tables of ``docs/targets/azureml.md``. ``python -m tests.adapters.azureml_docs`` prints them anew."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel

from adapters.azureml.describe import AzureMlConfig, AzureMlSettings
from tests.adapters.azureml_matrix import FAULTS, KINDS, expected

ENDS = {"lands": "lands", "undone": "fails, undone"}


def keys(model: type[BaseModel]) -> str:
    lines = ["| key | type | default | is |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        default = "" if info.default in (None, {}) else f"`{str(info.default).lower()}`"
        lines.append(f"| `{name}` | {_type(info.annotation)} | {default} | {info.description} |")
    return "\n".join(lines)


def faults() -> str:
    lines = ["| what goes wrong | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    for name, fault in FAULTS.items():
        cells = [ENDS[expected(name, kind)] for kind in KINDS]
        lines.append(f"| {fault.told} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _type(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(each) for each in inner if each is not type(None))
    if origin is typing.Literal:
        return ", ".join(map(str, inner))
    if origin is dict:
        return f"{_type(inner[1])} by name"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return ", ".join(f"`{name}`" for name in annotation.model_fields)
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation, "JSON")


def main() -> None:
    print(keys(AzureMlConfig), keys(AzureMlSettings), faults(), sep="\n\n")


if __name__ == "__main__":
    main()
