"""Bad input: each its own problem type, the field named, what to do said, nothing stored; over both databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from operations.database import Database
from operations.problems import kinds
from operations.settings import settings
from tests.api.serving import stored

IRIS = "/v1/deployments/here/iris"
NEW = "/v1/deployments/here/new"
MODEL = {"model_uri": "models:/iris/1"}
JSON_TYPE = {"Content-Type": "application/json"}
VARIANTS = [{"name": "a", **MODEL}, {"name": "b", **MODEL}]


@dataclass(frozen=True)
class Case:
    """A request, and the problem that it is answered with: type, status and the fields at fault."""

    slug: str
    status: int
    fields: list[str]
    path: str = NEW
    method: str = "PUT"
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes | None:
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()


def invalid(slug: str, field: str, body: Any, **rest: Any) -> Case:
    return Case(slug, 422, [field], body=body, **rest)


def unread(body: bytes, **rest: Any) -> Case:
    return Case("invalid-body", 400, rest.pop("fields", ["body"]), body=body, **rest)


CASES = {
    "a target that is not there": Case("unknown-target", 404, ["target"], "/v1/deployments/nowhere/new", body=MODEL),
    "a target in the body that is not there": Case(
        "unknown-target", 404, ["target"], "/v1/deployments", "POST", {"target": "nowhere", "name": "new", **MODEL}
    ),
    "an unknown field": invalid("unknown-field", "replicas", {**MODEL, "replicas": 2}),
    "a config value that JSON cannot carry": invalid(
        "invalid-config", "config.share", {**MODEL, "config": {"share": "inf"}}
    ),
    "an unknown field of a variant": invalid(
        "unknown-field", "variants[1].weight", {"variants": [VARIANTS[0], {**VARIANTS[1], "weight": 1}]}
    ),
    "an unknown config key": invalid("invalid-config", "config.shape", {**MODEL, "config": {"shape": 1}}),
    "a config value of another type": invalid(
        "invalid-config", "variants[0].config.size", {"variants": [{**VARIANTS[0], "config": {"size": "big"}}]}
    ),
    "a name outside the pattern": invalid("invalid-name", "name", MODEL, path="/v1/deployments/here/Not_Allowed"),
    "a name outside the pattern in the body": invalid(
        "invalid-name",
        "name",
        {"target": "here", "name": "Not Allowed", **MODEL},
        path="/v1/deployments",
        method="POST",
    ),
    "a variant's name outside the pattern": invalid(
        "invalid-name", "variants[0].name", {"variants": [{"name": "a b", **MODEL}]}
    ),
    "a variant twice": invalid("invalid-field", "variants[1].name", {"variants": [VARIANTS[0]] * 2}),
    "no model": invalid("invalid-field", "model_uri", {}),
    "an empty model URI": invalid("invalid-model-uri", "model_uri", {"model_uri": "  "}),
    "a model URI that is too long": invalid("invalid-model-uri", "model_uri", {"model_uri": "m" * 3000}),
    "a model URI that is no string": invalid("invalid-model-uri", "model_uri", {"model_uri": 7}),
    "variants beside a model": invalid("invalid-field", "variants", {**MODEL, "variants": VARIANTS}),
    "no variants": invalid("invalid-field", "variants", {"variants": []}),
    "more variants than the target takes": invalid(
        "not-supported-by-target",
        "variants",
        {"variants": [{"name": f"v{number}", **MODEL} for number in range(11)], "traffic": {"v1": 100}},
    ),
    "traffic that does not sum to 100": invalid(
        "invalid-traffic", "traffic", {"variants": VARIANTS, "traffic": {"a": 80, "b": 10}}
    ),
    "traffic of no variant": invalid(
        "invalid-traffic", "traffic.c", {"variants": VARIANTS, "traffic": {"a": 80, "c": 20}}
    ),
    "traffic that is missing": invalid("invalid-traffic", "traffic", {"variants": VARIANTS}),
    "traffic as text": invalid("invalid-traffic", "traffic.a", {"variants": VARIANTS, "traffic": {"a": "80", "b": 20}}),
    "traffic as a boolean": invalid(
        "invalid-traffic", "traffic.a", {"variants": VARIANTS, "traffic": {"a": True, "b": 99}}
    ),
    "traffic as a fraction": invalid(
        "invalid-traffic", "traffic.a", {"variants": VARIANTS, "traffic": {"a": 79.5, "b": 20}}
    ),
    "negative traffic": invalid(
        "invalid-traffic", "traffic.b", {"variants": VARIANTS, "traffic": {"b": -20, "a": 120}}
    ),
    "a label that is no string": invalid("invalid-field", "labels.team", {**MODEL, "labels": {"team": 7}}),
    "a deadline that is over": invalid("invalid-field", "deadline_seconds", {**MODEL, "deadline_seconds": 0}),
    "a deadline as text": invalid("invalid-field", "deadline_seconds", {**MODEL, "deadline_seconds": "90"}),
    "an unknown way to treat conflicts": invalid("invalid-field", "on_conflict", MODEL, path=f"{NEW}?on_conflict=x"),
    "an unknown query parameter": invalid("unknown-field", "on_conflicts", MODEL, path=f"{NEW}?on_conflicts=queue"),
    "an empty idempotency key": invalid("invalid-field", "Idempotency-Key", MODEL, headers={"Idempotency-Key": ""}),
    "an idempotency key with a space": invalid(
        "invalid-field", "Idempotency-Key", MODEL, headers={"Idempotency-Key": "a b"}
    ),
    "an idempotency key that is too long": invalid(
        "invalid-field", "Idempotency-Key", MODEL, headers={"Idempotency-Key": "k" * 256}
    ),
    "a create of what exists": Case(
        "deployment-exists", 409, ["name"], "/v1/deployments", "POST", {"target": "here", "name": "iris", **MODEL}
    ),
    "a change of what does not exist": Case("deployment-not-found", 404, ["name"], method="PATCH", body=MODEL),
    "a delete of what does not exist": Case("deployment-not-found", 404, ["name"], method="DELETE"),
    "a stale If-Match": Case("stale-generation", 412, ["If-Match"], IRIS, "PATCH", MODEL, {"If-Match": '"77"'}),
    "a revision that is not there": Case(
        "revision-not-found", 404, ["revision"], f"{IRIS}/rollback", "POST", {"revision": 9}
    ),
    "a revision beyond all numbers": Case(
        "invalid-field", 422, ["revision"], f"{IRIS}/rollback", "POST", {"revision": 2**40}
    ),
    "a rollback with nothing before": Case("no-previous-revision", 409, [], f"{IRIS}/rollback", "POST"),
    "a null where there must be a value": invalid(
        "invalid-model-uri", "model_uri", {"model_uri": None}, path=IRIS, method="PATCH"
    ),
    "an operation that is not there": Case(
        "operation-not-found", 404, ["operation_id"], "/v1/operations/none/cancel", "POST"
    ),
    "a body that is not JSON": unread(b"{"),
    "a body that is no object": unread(b"[]"),
    "no body": unread(b""),
    "a body that is not UTF-8": unread('{"model_uri": "models:/é"}'.encode("latin-1")),
    "a body in UTF-16": unread(json.dumps(MODEL).encode("utf-16")),
    "a number that JSON does not know": unread(b'{"model_uri": "m", "config": {"size": NaN}}'),
    "a number that is too large": unread(b'{"model_uri": "m", "config": {"size": 1e999}}', fields=["config.size"]),
    "an integer of thousands of digits": unread(b'{"model_uri": "m", "config": {"size": ' + b"9" * 5000 + b"}}"),
    "a key that is there twice": unread(b'{"model_uri": "m", "model_uri": "n"}'),
    "a NUL": unread(rb'{"model_uri": "m", "labels": {"a": "\u0000"}}', fields=["labels.a"]),
    "half of a surrogate pair": unread(rb'{"model_uri": "m\ud800"}', fields=["model_uri"]),
    "a key with half of a surrogate pair": unread(rb'{"model_uri": "m", "config": {"\udfff": 1}}', fields=["config"]),
    "a body that is nested without end": unread(b'{"config": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a body that is nested too deep": unread(
        b'{"model_uri": "m", "config": {"size": ' + b"[" * 100 + b"]" * 100 + b"}}", fields=["config.size" + "[0]" * 30]
    ),
    "a body of another type": Case(
        "unsupported-media-type", 415, ["Content-Type"], body=MODEL, headers={"Content-Type": "text/plain"}
    ),
    "a body without a type": Case(
        "unsupported-media-type", 415, ["Content-Type"], body=MODEL, headers={"Content-Type": ""}
    ),
    "a body that is too large": Case("body-too-large", 413, ["body"], body={"model_uri": "m" * 1_100_000}),
    "a page of no size": Case("invalid-field", 422, ["page_size"], "/v1/operations?page_size=0", "GET"),
    "a page that is too large": Case("invalid-field", 422, ["page_size"], "/v1/deployments?page_size=9999", "GET"),
    "a made-up page token": Case("invalid-page-token", 400, ["page_token"], "/v1/targets?page_token=abc", "GET"),
    "an unknown state": Case("invalid-field", 422, ["state"], "/v1/operations?state=asleep", "GET"),
    "an unknown status": Case("invalid-field", 422, ["status"], "/v1/deployments?status=asleep", "GET"),
    "a label that is no pair": Case("invalid-field", 422, ["label"], "/v1/deployments?label=team", "GET"),
    "a misspelt filter": Case("unknown-field", 422, ["labels"], "/v1/deployments?labels=a%3Db", "GET"),
    "a NUL in the path": Case("invalid-field", 422, ["path"], "/v1/deployments/here/a%00b", "GET"),
    "a NUL in the query": Case("invalid-field", 422, ["path"], "/v1/operations?target=a%00b", "GET"),
    "an address that is not there": Case("not-found", 404, [], "/v2/deployments", "GET"),
    "a method that is not there": Case("method-not-allowed", 405, [], IRIS, "POST"),
    "a target of an unknown kind": Case(
        "unknown-target-kind", 422, ["uri"], "/v1/targets/new", "PUT", {"uri": "carrier-pigeon:/roof"}
    ),
    "a target whose URI cannot be read": Case(
        "unknown-target-kind", 422, ["uri"], "/v1/targets/new", "PUT", {"uri": "http://[oops"}
    ),
    "an unknown setting of a target": Case(
        "invalid-settings",
        422,
        ["settings.speed"],
        "/v1/targets/new",
        "PUT",
        {"uri": "memory:/a", "settings": {"speed": 1}},
    ),
    "an unknown limit of a target": Case(
        "unknown-field", 422, ["limits.speed"], "/v1/targets/new", "PUT", {"uri": "memory:/a", "limits": {"speed": 1}}
    ),
    "a secret instead of a reference to it": Case(
        "invalid-field", 422, ["credentials"], "/v1/targets/new", "PUT", {"uri": "memory:/a", "credentials": "s3cret"}
    ),
    "a target that is in use": Case("target-in-use", 409, [], "/v1/targets/here", "DELETE"),
}  # fmt: skip


def test_every_refusal_is_its_own_problem_and_stores_nothing(
    http: httpx.Client, db: Database, iris: dict[str, Any], subtests: pytest.Subtests
) -> None:
    before = stored(db)
    for name, case in CASES.items():
        headers = {**({} if case.content is None else JSON_TYPE), **case.headers}
        response = http.request(case.method, case.path, content=case.content, headers=headers)
        with subtests.test(name):
            assert response.headers["Content-Type"] == "application/problem+json"
            problem = response.json()
            assert (problem["type"], response.status_code, problem["status"]) == (
                f"/problems/{case.slug}",
                case.status,
                case.status,
            ), problem
            assert [error["field"] for error in problem["errors"]] == case.fields, problem
            assert all(error["message"] and error["remedy"] for error in problem["errors"]), problem
            assert problem["title"]
            assert problem["detail"]
            assert problem["instance"] == response.headers["X-Request-Id"]
            assert response.headers["Modelport-Origin"] == "modelport"
    assert stored(db) == before
    assert [target["name"] for target in http.get("/v1/targets").json()["items"]] == ["here", "there"]


def test_all_wrong_fields_are_named_at_once(http: httpx.Client) -> None:
    response = http.put(NEW, json={"model_uri": 1, "colour": "red", "deadline_seconds": -1})
    assert sorted(error["field"] for error in response.json()["errors"]) == ["colour", "deadline_seconds", "model_uri"]


def test_a_body_without_an_announced_length_is_bounded_too(http: httpx.Client, db: Database) -> None:
    before = stored(db)
    chunk = b" " * 65536
    response = http.put(NEW, content=(chunk for _ in range(20)), headers=JSON_TYPE)
    assert (response.status_code, response.json()["type"]) == (413, "/problems/body-too-large")
    assert stored(db) == before


def test_the_queue_of_a_deployment_is_bounded(http: httpx.Client, iris: dict[str, Any]) -> None:
    for number in range(1, settings().queue_size):
        assert http.put(IRIS, json={"model_uri": f"models:/iris/1{number}"}).status_code == 202
    response = http.put(IRIS, json={"model_uri": "models:/iris/2"})
    assert (response.status_code, response.json()["type"]) == (409, "/problems/queue-full")
    assert int(response.headers["Retry-After"]) > 0


def test_the_methods_of_a_path_are_told(http: httpx.Client) -> None:
    allowed = http.post(IRIS).headers["Allow"]
    assert sorted(allowed.split(", ")) == ["DELETE", "GET", "PATCH", "PUT"]


@pytest.mark.parametrize("slug", sorted(kinds()))
def test_every_problem_has_a_page(slug: str, offline: Callable[[str], httpx.Response]) -> None:
    page = offline(f"/problems/{slug}")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert kinds()[slug].title in page.text
    assert kinds()[slug].remedy in page.text


def test_a_problem_that_does_not_exist_has_none(offline: Callable[[str], httpx.Response]) -> None:
    assert offline("/problems/boredom").status_code == 404
