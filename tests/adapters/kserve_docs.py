"""The tables of ``docs/targets/kserve.md``. ``python -m tests.adapters.kserve_docs`` prints them anew."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel

from adapters.kserve.describe import KServeConfig, KServeSettings
from adapters.kubernetes.describe import KubernetesConfig, KubernetesSettings
from adapters.kubernetes.settings import ClusterSettings, PodConfig
from tests.adapters.kserve_matrix import FAULTS, WAYS, Way, kinds

ENDS = {"lands": "lands", "undone": "fails, undone"}
TITLES: dict[Way, str] = {"Standard": "KServe", "Knative": "KServe", "plain": "without KServe"}


def keys(model: type[BaseModel], without: type[BaseModel] | None = None) -> str:
    lines = ["| key | type | default | is |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        if without is not None and name in without.model_fields:
            continue
        default = "" if info.default in (None, {}, []) else f"`{_shown(info.default)}`"
        lines.append(f"| `{name}` | {_type(info.annotation)} | {default} | {info.description} |")
    return "\n".join(lines)


def faults(way: Way) -> str:
    lines = [f"| what goes wrong, {TITLES[way]} | " + " | ".join(kinds(way)) + " |"]
    lines.append("|---" * (len(kinds(way)) + 1) + "|")
    for fault in FAULTS.values():
        cells = [ENDS[fault.expected(kind, way)] for kind in kinds(way)]
        lines.append(f"| {fault.told} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    return {
        "pods": keys(PodConfig),
        "kserve": keys(KServeConfig, PodConfig),
        "kubernetes": keys(KubernetesConfig, PodConfig),
        "cluster": keys(ClusterSettings),
        "kserve settings": keys(KServeSettings, ClusterSettings),
        "kubernetes settings": keys(KubernetesSettings, ClusterSettings),
        **{f"faults {TITLES[way]}": faults(way) for way in WAYS if way != "Knative"},
    }


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(each) for each in inner if each is not type(None))
    if origin is typing.Annotated:
        return _type(inner[0])
    if origin is typing.Literal:
        return ", ".join(map(str, inner))
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return "text by text"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation) or annotation.__name__


def main() -> None:
    print("\n\n".join(f"<!-- {name} -->\n{table}" for name, table in tables().items()))


if __name__ == "__main__":
    main()
