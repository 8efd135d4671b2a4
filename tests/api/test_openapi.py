"""The OpenAPI document says all of what the interface does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api.app import create_app

DOCUMENT: dict[str, Any] = create_app().openapi()
OPERATIONS = [
    (path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]
IDS = [f"{method} {path}" for path, method, _ in OPERATIONS]

every = pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=IDS)


def test_the_routes_are_all_there() -> None:
    one, operation, target = "/v1/deployments/{target}/{name}", "/v1/operations/{operation_id}", "/v1/targets/{name}"
    assert {f"{method} {path}" for path, method, _ in OPERATIONS} >= {
        "post /v1/deployments", "get /v1/deployments", f"get {one}", f"put {one}", f"patch {one}", f"delete {one}",
        f"get {one}/revisions", f"get {one}/revisions/{{number}}", f"post {one}/rollback", f"put {one}/traffic",
        f"post {one}/predict", "get /v1/operations", f"get {operation}", f"get {operation}/events",
        f"post {operation}/cancel", f"post {operation}/retry", "get /v1/targets", f"get {target}", f"put {target}",
        f"delete {target}", f"get {target}/help", f"post {target}/check", "get /healthz", "get /readyz",
    }  # fmt: skip


@every
def test_errors_are_problems(path: str, method: str, operation: dict[str, Any]) -> None:
    errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
    assert errors or path == "/healthz"
    for status, answer in errors.items():
        assert list(answer["content"]) == ["application/problem+json"], (path, method, status)


@every
def test_every_operation_is_explained(path: str, method: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]


@every
def test_success_has_a_schema(path: str, method: str, operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        if status in {"200", "201", "202"}:
            assert answer["description"]
            assert all(media["schema"] for media in answer["content"].values()), (path, method, status)


def test_every_reference_leads_somewhere() -> None:
    found: list[str] = []

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                found.append(node["$ref"])
            for inner in node.values():
                collect(inner)
        elif isinstance(node, list):
            for inner in node:
                collect(inner)

    collect(DOCUMENT)
    assert found
    for reference in found:
        node = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node


def test_nothing_of_the_framework_shows_through() -> None:
    assert not {"HTTPValidationError", "ValidationError"} & DOCUMENT["components"]["schemas"].keys()


def test_the_document_and_its_page_are_served(offline: Callable[[str], httpx.Response]) -> None:
    assert offline("/openapi.json").json() == DOCUMENT
    assert offline("/docs").status_code == 200
