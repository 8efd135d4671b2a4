"""The matrix: every route of the OpenAPI document x every role x its own and another's, and the ways around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from adapters import registry
from api import rules
from api.app import create_app
from operations import database as database_module
from operations import queue
from operations.access import ALLOWS, Permission, Role
from operations.database import Database
from operations.migrate import migrate
from operations.settings import settings
from tests.api.conftest import TARGETS
from tests.api.identities import client, key
from tests.api.serving import serving

DOCUMENT: dict[str, Any] = create_app().openapi()
ROUTES = [(m.upper(), path) for path, methods in DOCUMENT["paths"].items() for m in methods]
OWN, OTHER = "here", "there"
TEAM = {"team": "a"}

MODEL = {"model_uri": "models:/m/1", "labels": TEAM}


@dataclass(frozen=True)
class World:
    """A deployment, its operation and a batch, on the target that the keys are for, or on the other."""

    target: str
    operation: str
    batch: str


def _batch(world: World) -> dict[str, Any]:
    item = {"target": world.target, "name": "iris", "action": "update", "model_uri": "models:/m/2"}
    return {"operations": [item]}


# What each permission-bearing route needs to be asked sensibly; what is not here is asked without a body.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/deployments"): lambda w: {**MODEL, "target": w.target, "name": "iris"},
    ("PUT", "/v1/deployments/{target}/{name}"): lambda w: {"model_uri": "models:/m/1", "labels": TEAM},
    ("PATCH", "/v1/deployments/{target}/{name}"): lambda w: {"labels": TEAM},
    ("PUT", "/v1/deployments/{target}/{name}/traffic"): lambda w: {"traffic": {"main": 100}},
    ("POST", "/v1/deployments/{target}/{name}/predict"): lambda w: {"inputs": [1]},
    ("POST", "/v1/batches"): _batch,
    ("POST", "/v1/batches/plan"): _batch,
    ("PATCH", "/v1/batches/{batch_id}"): lambda w: {"max_concurrent": 1},
    ("POST", "/v1/batches/{batch_id}/approve"): lambda w: {"wave": 0},
    ("PUT", "/v1/targets/{name}"): lambda w: {"uri": "memory:/one" if w.target == OWN else "memory:/two"},
    ("POST", "/v1/targets/{name}/adopt"): lambda w: {"name": "found"},
    ("POST", "/v1/keys"): lambda w: {"name": "new", "grants": [{"role": "viewer"}]},
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """The server, keys by role for OWN only, and what there is."""

    url: str
    keys: dict[str, str]
    worlds: dict[str, World]
    admin: str


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    import json

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BUILT_IN, "memory", "tests.fakes.memory")
        patch.delenv("MODELPORT_ANONYMOUS_ROLE", raising=False)
        patch.setenv("MODELPORT_TARGETS", json.dumps(TARGETS))
        patch.setenv("MODELPORT_FOLDER", str(tmp_path_factory.mktemp("matrix")))
        patch.setenv("MODELPORT_DATABASE_URL", "")
        patch.setenv("MODELPORT_CHECK_SECONDS", "0.01")
        patch.setattr(queue, "hint", lambda *_: None)
        patch.setattr(queue, "announce", lambda *_: None)
        settings.cache_clear()
        database_module.database.cache_clear()
        db = database_module.database()
        migrate(db)
        with serving() as url:
            admin = key(db, "admin", "root")
            held = {role.value: key(db, role, f"own-{role}", **_limits(role)) for role in Role}
            held["labelled"] = key(db, "deployer", "own-labelled", targets=[OWN], labels=TEAM)
            with client(url, admin) as http:
                worlds = {target: _world(http, target) for target in (OWN, OTHER)}
            yield Setting(url, held, worlds, admin)
        db.close()
        database_module.database.cache_clear()
        settings.cache_clear()


def _limits(role: Role) -> dict[str, Any]:
    return {} if role == Role.ADMIN else {"targets": [OWN]}


def _world(http: httpx.Client, target: str) -> World:
    body = {"target": target, "name": "iris", "model_uri": "models:/m/1", "labels": TEAM}
    operation = http.post("/v1/deployments", json=body).raise_for_status().json()["id"]
    batch = http.post("/v1/batches/plan", json=_batch(World(target, "", ""))).raise_for_status().json()["id"]
    return World(target, operation, batch)


def _ask(http: httpx.Client, method: str, path: str, world: World, name: str = "iris") -> httpx.Response:
    rule = rules.RULES[method, path]
    place = world.target if path.startswith("/v1/targets/") else "none" if path.startswith("/v1/keys/") else name
    filled = path.format(
        target=world.target, name=place, number=1, operation_id=world.operation, batch_id=world.batch, slug="busy"
    )
    make = BODIES.get((method, path))
    # a precondition that never holds: what is let in changes nothing, and the next one finds the same world
    headers = {"If-Match": '"none"'} if rule.changes else {}
    with http.stream(method, filled, json=make(world) if make else None, headers=headers) as answer:
        # a stream of events has no end while nothing moves
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            answer.read()
        return answer


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    assert set(ROUTES) == set(rules.RULES)
    for method, path in ROUTES:
        shown = DOCUMENT["paths"][path][method.lower()]
        rule = rules.RULES[method, path]
        assert shown["security"] == ([] if rule.permission is None else [{"bearer": []}])
        assert rule.permission is not None or path in {"/healthz", "/readyz", "/problems/{slug}"}
        if rule.permission is not None:
            assert {"401", "403"} <= shown["responses"].keys(), path


def test_a_route_without_a_rule_keeps_the_application_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {route: rule for route, rule in rules.RULES.items() if route != ("GET", "/v1/deployments")}
    monkeypatch.setattr(rules, "RULES", fewer)
    with pytest.raises(rules.NoRule, match=r"GET.*/v1/deployments"):
        create_app()


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda value: value)
def test_the_matrix(setting: Setting, method: str, path: str) -> None:
    """Every role on its own target and on another's."""
    rule = rules.RULES[method, path]
    for role in Role:
        with client(setting.url, setting.keys[role]) as http:
            for where, world in setting.worlds.items():
                status = _ask(http, method, path, world).status_code
                allowed = rule.permission is None or rule.permission in ALLOWS[role]
                # lists and what is looked up by an id are judged by what they would show
                if allowed and role != Role.ADMIN and where == OTHER and _is_placed(method, path):
                    allowed = False
                said = f"{role} {method} {path} on {where}: {status}"
                if allowed:
                    assert status not in (401, 403), said
                else:
                    assert status in (403, 404), said
                    assert status == 403 or "_id}" in path, said


def _is_placed(method: str, path: str) -> bool:
    """Whether the request names something of one target."""
    body = (method, path) in {("POST", "/v1/deployments"), ("POST", "/v1/batches"), ("POST", "/v1/batches/plan")}
    return (
        body
        or any(part in path for part in ("{target}", "{operation_id}", "/v1/targets/{name}"))
        or ("{batch_id}" in path)
    )


@pytest.mark.parametrize("path", ["/v1/deployments", "/v1/operations", "/v1/targets", "/v1/batches"])
def test_lists_show_what_may_be_seen(setting: Setting, path: str) -> None:
    def seen(token: str) -> set[str]:
        with client(setting.url, token) as http:
            items = http.get(path).json()["items"]
        return {item.get("target") or item.get("name") or item["id"] for item in items}

    everything = seen(setting.admin)
    for held in ("viewer", "deployer", "labelled"):
        mine = seen(setting.keys[held])
        assert mine <= everything
        assert OTHER not in mine
        assert path == "/v1/batches" or OWN in mine
    with client(setting.url, setting.keys["predictor"]) as http:
        assert http.get(path).status_code == 403


@pytest.fixture
def labelled(setting: Setting) -> Iterator[httpx.Client]:
    """May deploy on OWN what is of team a."""
    with client(setting.url, setting.keys["labelled"]) as http:
        yield http


@pytest.fixture
def theirs(setting: Setting) -> str:
    """A deployment of another team on the same target; its operation's id."""
    body = {"target": OWN, "name": "theirs", "model_uri": "models:/m/1", "labels": {"team": "b"}}
    with client(setting.url, setting.admin) as http:
        http.put(f"/v1/deployments/{OWN}/theirs", json={k: body[k] for k in ("model_uri", "labels")}).raise_for_status()
        return str(http.get("/v1/operations", params={"deployment": "theirs"}).json()["items"][-1]["id"])


SUB = "/v1/deployments/{target}/{name}"


@pytest.mark.parametrize(
    ("method", "path"), [route for route in ROUTES if "{operation_id}" in route[1] or SUB in route[1]]
)
def test_what_has_other_labels_is_not_there(
    setting: Setting, labelled: httpx.Client, theirs: str, method: str, path: str
) -> None:
    answer = _ask(labelled, method, path, World(OWN, theirs, ""), "theirs")
    assert answer.status_code == (403 if (method, path) == ("PUT", SUB) else 404), answer.text
    assert "models:/m/1" not in answer.text


def test_labels_cannot_be_changed_out_of_or_into_reach(setting: Setting, labelled: httpx.Client, theirs: str) -> None:
    mine = f"/v1/deployments/{OWN}/iris"
    for labels in ({"team": "b"}, {"team": None}):
        assert labelled.patch(mine, json={"labels": labels}).status_code == 403
    assert labelled.put(mine, json={"model_uri": "models:/m/1", "labels": {}}).status_code == 403
    assert labelled.patch(f"/v1/deployments/{OWN}/theirs", json={"labels": TEAM}).status_code == 404
    new = {"target": OWN, "name": "new", "model_uri": "models:/m/1"}
    assert labelled.post("/v1/deployments", json=new).status_code == 403
    assert labelled.post("/v1/deployments", json=new | {"name": "theirs", "labels": TEAM}).status_code == 403
    assert labelled.post("/v1/targets/here/adopt", json={"name": "x", "labels": TEAM}).status_code == 403
    with client(setting.url, setting.admin) as http:
        assert http.get(mine).json()["labels"] == TEAM
        assert http.get(f"/v1/deployments/{OWN}/new").status_code == 404


@pytest.mark.parametrize("where", ["/v1/batches", "/v1/batches/plan"])
def test_a_batch_reaches_no_further_than_who_asks(labelled: httpx.Client, theirs: str, where: str) -> None:
    item = {"target": OWN, "name": "theirs", "model_uri": "models:/m/2"}
    refused = labelled.post(where, json={"operations": [item]})
    assert refused.status_code == 403
    assert "models:/m/1" not in refused.text
    selection = {"selection": {"target": OWN}, "change": {"model_uri": "models:/m/2"}}
    planned = labelled.post("/v1/batches/plan", json=selection).json()
    assert [shown["name"] for shown in planned["items"]] == ["iris"]
    relabelled = {
        "operations": [{"target": OWN, "name": "fresh", "action": "apply", "model_uri": "models:/m/1", "labels": {}}]
    }
    assert labelled.post(where, json=relabelled).status_code == 403


def test_an_idempotency_key_is_its_principals_own(setting: Setting) -> None:
    body = {"target": OWN, "name": "shared", "model_uri": "models:/m/1", "labels": TEAM}
    headers = {"Idempotency-Key": "same"}
    answers = []
    for held in (setting.admin, setting.keys["deployer"], setting.keys["deployer"]):
        with client(setting.url, held) as http:
            answers.append(http.post("/v1/deployments", json=body, headers=headers))
    assert [answer.status_code for answer in answers] == [202, 409, 409]
    assert "Idempotency-Replayed" not in answers[1].headers


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-User": "root"}, {"X-Original-URL": "/healthz"}, {"X-HTTP-Method-Override": "GET"},
        {"X-API-Key": "x"}, {"Cookie": "session=1"}, {"Forwarded": "for=127.0.0.1"}, {"Host": "localhost"},
    ],
    ids=str,
)  # fmt: skip
def test_no_header_stands_in_for_a_key(setting: Setting, headers: dict[str, str]) -> None:
    with client(setting.url, None, headers) as http:
        assert http.get("/v1/deployments").status_code == 401
    with client(setting.url, setting.keys["viewer"], headers) as http:
        assert http.delete(f"/v1/deployments/{OWN}/iris").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/problems/../v1/deployments", "/problems/%2e%2e/v1/deployments", "//v1/deployments", "/v1/deployments/",
        "/V1/deployments", "/v1/./deployments", "/healthz/../v1/deployments", "/v1;/deployments", "/problems//v1/keys",
        "/openapi.json/../v1/keys", "/problems/x%2f..%2f..%2fv1%2fkeys",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_goes_around(setting: Setting, path: str) -> None:
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(setting.url).netloc)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status in (401, 404, 405), (path, answer.status)
    assert b'"items"' not in text


def test_release_judges_anew_by_what_the_principal_might(setting: Setting, labelled: httpx.Client) -> None:
    """Labels that changed between a batch's request and its release take the deployment out of its reach."""
    from sqlalchemy import select

    from operations import specs
    from operations.batches import releasing
    from operations.batches.models import BatchItem

    body = {"target": OWN, "name": "moves", "model_uri": "models:/m/1", "labels": TEAM}
    assert labelled.post("/v1/deployments", json=body).status_code == 202
    asked = {"operations": [{"target": OWN, "name": "moves", "model_uri": "models:/m/2"}]}
    batch = labelled.post("/v1/batches", json=asked).json()["id"]
    with client(setting.url, setting.admin) as http:
        http.patch(f"/v1/deployments/{OWN}/moves", json={"labels": {"team": "b"}}).raise_for_status()
    db: Database = database_module.database()

    def rules_of(target: Any) -> specs.Rules:
        return specs.rules(registry.describe(target.uri), target.settings)

    with db.write() as session:
        releasing.records.lock(session, batch).released_by = "tests"
    with db.write() as session:
        releasing.release(session, batch, "tests", [1], rules_of)
    with db.read() as session:
        item = session.scalars(select(BatchItem).where(BatchItem.batch_id == batch)).one()
    assert item.state == "refused"
    assert Permission.DEPLOY in ALLOWS[Role.DEPLOYER]
