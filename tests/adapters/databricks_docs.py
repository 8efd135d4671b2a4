"""The tables of ``docs/targets/databricks.md``. ``python -m tests.adapters.databricks_docs`` prints them anew."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel

from adapters.databricks.describe import DatabricksConfig, DatabricksSettings
from tests.adapters.databricks_matrix import FAULTS, KINDS

ENDS = {"lands": "lands", "undone": "fails, undone"}


def keys(model: type[BaseModel]) -> str:
    lines = ["| key | type | default | is |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        default = "" if info.default in (None, {}) else f"`{str(info.default).lower()}`"
        lines.append(f"| `{name}` | {_type(info.annotation)} | {default} | {info.description} |")
    return "\n".join(lines)


def faults() -> str:
    lines = ["| what goes wrong | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    for fault in FAULTS.values():
        cells = [ENDS[fault.delete_ends if kind == "delete" else fault.ends] for kind in KINDS]
        lines.append(f"| {fault.told} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _type(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(each) for each in inner if each is not type(None))
    if origin is typing.Literal:
        return ", ".join(map(str, inner))
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return "text by text"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation) or annotation.__name__


def main() -> None:
    print(keys(DatabricksConfig), keys(DatabricksSettings), faults(), sep="\n\n")


if __name__ == "__main__":
    main()
