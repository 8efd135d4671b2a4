"""The published contract of the ``http`` target, and calls held against it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import yaml

DOCUMENT = Path(__file__).parents[2] / "docs/targets/http-openapi.yaml"


@cache
def document() -> dict[str, Any]:
    return dict(yaml.load(DOCUMENT.read_text(), yaml.CSafeLoader))


def broken_by_request(method: str, url: str, headers: Mapping[str, str], body: bytes) -> list[str]:
    """What of this request the contract does not have, in words."""
    operation, told = _operation(method, url)
    if operation is None:
        return [told]
    query = parse_qs(urlsplit(url).query)
    found, known = [], set()
    for parameter in (_resolved(each) for each in operation.get("parameters", [])):
        given = headers.get(parameter["name"]) if parameter["in"] == "header" else None
        if parameter["in"] == "query":
            known.add(parameter["name"])
            given = query.get(parameter["name"], [None])[0]
        if given is None and parameter.get("required"):
            found.append(f"{told}: {parameter['name']} is missing")
        elif given is not None:
            value = int(given) if parameter["schema"].get("type") == "integer" else given
            found += _misfits(value, parameter["schema"], f"{told}: {parameter['name']}")
    found += [f"{told}: {name} is not in the contract" for name in query.keys() - known]
    if "requestBody" in operation and body:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        found += _misfits(json.loads(body), schema, told) if schema else []
    return found


def broken_by_answer(method: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> list[str]:
    """What of this answer the contract does not have, in words."""
    operation, told = _operation(method, url)
    if operation is None:
        return [] if status == 404 else [told]
    responses = operation["responses"]
    response = responses.get(str(status))
    if response is None:
        if status < 400 or "default" not in responses:
            return [f"{told}: {status} is not in the contract"]
        response = _resolved(responses["default"])
    found = [
        f"{told}: {status} without {name}"
        for name, header in response.get("headers", {}).items()
        if _resolved(header).get("required") and name not in headers
    ]
    schema = response.get("content", {}).get("application/json", {}).get("schema")
    if schema:
        found += _misfits(json.loads(body), schema, f"{told}: {status}")
    elif "content" not in response and body:
        found.append(f"{told}: {status} with a body")
    return found


def _operation(method: str, url: str) -> tuple[dict[str, Any] | None, str]:
    path = urlsplit(url).path
    for template, item in document()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in item:
            return item[method.lower()], f"{method} {template}"
    return None, f"{method} {path} is not in the contract"


def _resolved(each: dict[str, Any]) -> dict[str, Any]:
    found: Any = document()
    if "$ref" not in each:
        return each
    for part in each["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _misfits(value: Any, schema: dict[str, Any], told: str) -> list[str]:
    validator = _validator(json.dumps(schema))
    return [f"{told}: {error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]


@cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**json.loads(schema), "components": document()["components"]})
