"""Declared deployments: files that say what shall serve, for one or hundreds of deployments::

    defaults:                       # for every deployment below; labels and config are merged key by key
      target: prod
      labels: {managed-by: models-repo}
    deployments:
      - name: iris
        model_uri: models:/iris/3
        config: {replicas: 2}
      - name: fraud
        variants: {stable: models:/fraud/7, next: models:/fraud/8}
        traffic: {stable: 90, next: 10}

YAML, JSON or TOML; YAML may hold several documents. Unknown keys and keys given twice are refused, never ignored.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Hashable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from modelport.calls.request import Specification

JSON = dict[str, Any]


class Undeclared(ValueError):
    """A file that does not declare deployments; the message says where and what would."""


class Variant(BaseModel):
    """One model behind a deployment."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    name: str
    model_uri: str
    flavor: str | None = None
    config: JSON = {}


class Declared(BaseModel):
    """What one deployment shall be. ``labels`` None: they are left as they are."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    target: str
    name: str
    variants: list[Variant]
    traffic: dict[str, int] | None = None
    labels: dict[str, str] | None = None
    deadline_seconds: float | None = None

    @property
    def address(self) -> str:
        """``target/name``."""
        return f"{self.target}/{self.name}"

    def specification(self) -> Specification:
        """What is sent."""
        return Specification(
            variants=[variant.model_dump() for variant in self.variants],
            traffic=self.traffic,
            labels=self.labels,
            deadline_seconds=self.deadline_seconds,
        )


def read(text: str, source: str) -> list[Declared]:
    """The deployments that a file declares; its name tells the format, YAML where it does not. Raises Undeclared."""
    found = []
    for document in documents(text, source):
        if not isinstance(document, dict):
            raise Undeclared(f"{source}: it should be an object with deployments, and perhaps defaults")
        unknown = document.keys() - {"defaults", "deployments"}
        if unknown:
            raise Undeclared(f"{source}: {sorted(map(str, unknown))[0]} is not known beside deployments and defaults")
        deployments, defaults = document.get("deployments"), document.get("defaults") or {}
        if not isinstance(deployments, list) or not isinstance(defaults, dict):
            raise Undeclared(f"{source}: deployments should be a list, and defaults an object")
        found += [_declared(each, defaults, f"{source}: deployments[{n}]") for n, each in enumerate(deployments)]
    return found


def unique(declared: Iterable[Declared]) -> list[Declared]:
    """The same, once each is known to be there once and that there is one at all. Raises Undeclared."""
    found: dict[str, Declared] = {}
    for each in declared:
        if each.address in found:
            raise Undeclared(f"{each.address} is declared twice")
        found[each.address] = each
    if not found:
        raise Undeclared("no deployment is declared; to delete what is there: modelport rm")
    return list(found.values())


def documents(text: str, source: str) -> list[Any]:
    """What is in a file of JSON or TOML by its name, else of YAML. Raises Undeclared."""
    try:
        match PurePath(source).suffix:
            case ".json":
                return [json.loads(text)]
            case ".toml":
                return [tomllib.loads(text)]
            case _:
                return [each for each in yaml.load_all(text, _Loader) if each is not None]
    except (ValueError, yaml.YAMLError) as error:
        raise Undeclared(f"{source} cannot be read: {' '.join(str(error).split())}") from error


def _declared(given: Any, defaults: JSON, where: str) -> Declared:
    if not isinstance(given, dict):
        raise Undeclared(f"{where} should be an object with target, name and model_uri")
    merged = {**defaults, **given}
    for key in ("labels", "config"):
        if isinstance(defaults.get(key), dict) and isinstance(given.get(key, {}), dict):
            merged[key] = {**defaults[key], **given.get(key, {})}
    short = {key: merged.pop(key) for key in ("model_uri", "flavor", "config") if key in merged}
    merged["variants"] = _variants(merged.get("variants"), short, where)
    name = f" ({merged['name']})" if isinstance(merged.get("name"), str) else ""
    try:
        return Declared.model_validate(merged)
    except ValidationError as error:
        told = "; ".join(f"{_place(each['loc'])}: {each['msg']}" for each in error.errors(include_url=False))
        raise Undeclared(f"{where}{name}: {told}") from error


def _variants(given: Any, short: JSON, where: str) -> Any:
    """The variants with what is said for all of them; without any, the one that the short form describes."""
    if given is None:
        if "model_uri" not in short:
            raise Undeclared(f"{where} should say what to deploy: model_uri, or variants")
        return [{"name": "main", **{key: value for key, value in short.items() if value is not None}}]
    if "model_uri" in short:
        raise Undeclared(f"{where} should have either model_uri or variants")
    if isinstance(given, Mapping):
        given = [{"name": name, "model_uri": uri} for name, uri in given.items()]
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise Undeclared(f"{where}: variants should be an object of model URIs by name, or a list of objects")
    config = short.get("config") or {}
    return [
        {**({"flavor": short["flavor"]} if "flavor" in short else {}), **each, "config": _over(config, each)}
        for each in given
    ]


def _over(config: Any, variant: JSON) -> Any:
    own = variant.get("config") or {}
    return {**config, **own} if isinstance(config, dict) and isinstance(own, dict) else own


def _place(parts: Iterable[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML's loader would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)
