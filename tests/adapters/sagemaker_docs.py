"""The tables of ``docs/targets/sagemaker.md``. ``python -m tests.adapters.sagemaker_docs`` prints them anew."""

from __future__ import annotations

import json
import types
import typing
from typing import Any

from pydantic import BaseModel

from adapters.sagemaker.describe import SageMakerConfig, SageMakerSettings
from tests.adapters.test_sagemaker_matrix import EXPECTED, FAULTS, VERBS


def keys(model: type[BaseModel]) -> str:
    lines = ["| key | type | default | is |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        default = "" if info.default is None else f"`{json.dumps(info.default).strip(chr(34))}`"
        lines.append(f"| `{name}` | {_type(info.annotation)} | {default} | {info.description} |")
    return "\n".join(lines)


def faults() -> str:
    lines = [f"| what goes wrong | {' | '.join(VERBS)} |", f"|{'---|' * (len(VERBS) + 1)}"]
    lines += [f"| {fault} | {' | '.join(EXPECTED[verb, fault] for verb in VERBS)} |" for fault in FAULTS]
    return "\n".join(lines)


def _type(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(each) for each in inner if each is not type(None))
    if origin is typing.Annotated:
        return _type(inner[0])
    if origin is typing.Literal:
        return ", ".join(map(str, inner))
    if origin is dict:
        return "text by text"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation) or str(annotation.__name__)


def main() -> None:
    print(keys(SageMakerConfig), keys(SageMakerSettings), faults(), sep="\n\n")


if __name__ == "__main__":
    main()
