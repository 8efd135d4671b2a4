"""A Databricks workspace's serving endpoints, kept in memory; time passes whenever something is asked.

Modelled on databricks-sdk's ``service/serving.py`` (paths, fields, states) and the errors that its ``errors`` knows:
``RESOURCE_DOES_NOT_EXIST`` 404, ``RESOURCE_ALREADY_EXISTS`` 400, ``RESOURCE_CONFLICT`` 409 during an update,
``INVALID_PARAMETER_VALUE`` 400. An update leaves the old config serving until the new one is ready; one that failed
stays visible as ``pending_config`` with the state of each served entity. Plaintext keys are never shown.
"""

from __future__ import annotations

import itertools
import re
import time
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]

CONFIG_KEYS = {"served_entities", "traffic_config", "auto_capture_config", "name"}
CREATE_KEYS = {
    "ai_gateway",
    "budget_policy_id",
    "config",
    "description",
    "email_notifications",
    "name",
    "rate_limits",
    "route_optimized",
    "tags",
}
ENTITY_KEYS = {
    "burst_scaling_enabled",
    "entity_name",
    "entity_version",
    "environment_vars",
    "external_model",
    "instance_profile_arn",
    "max_provisioned_concurrency",
    "max_provisioned_throughput",
    "min_provisioned_concurrency",
    "min_provisioned_throughput",
    "name",
    "provisioned_model_units",
    "scale_to_zero_enabled",
    "workload_size",
    "workload_type",
}


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


@dataclass
class Fate:
    """How an accepted update will end, and when: after so many seconds (inf: never), or reads that showed it."""

    seconds: float
    outcome: str = "succeeds"  # or "fails", "canceled"
    message: str = ""
    looks: int | None = None


@dataclass
class Update:
    config: Document
    fate: Fate
    begun_at: float
    shown: int = 0

    @property
    def is_due(self) -> bool:
        if self.fate.looks is not None and self.fate.seconds < float("inf"):
            return self.shown >= self.fate.looks
        return time.monotonic() >= self.begun_at + self.fate.seconds


@dataclass
class Endpoint:
    name: str
    id: str
    tags: dict[str, str]
    wide: Document
    changed_at: int
    config: Document | None = None
    pending: Document | None = None
    update: Update | None = None
    config_update: str = "NOT_UPDATING"
    logs: dict[str, str] = field(default_factory=dict)
    rate_limits: list[Document] = field(default_factory=list)

    def serving(self) -> list[Document]:
        return self.config["served_entities"] if self.config else []

    def summary(self) -> Document:
        """As the list shows it: no traffic, no pending config, no state of the entities."""
        shown = ("name", "entity_name", "entity_version", "external_model")
        entities = [{k: e[k] for k in shown if k in e} for e in self.serving()]
        return {
            **self._common(),
            **{k: v for k, v in self.wide.items() if k in ("ai_gateway", "budget_policy_id", "description")},
            **({"config": {"served_entities": _masked(entities)}} if self.config else {}),
        }

    def detail(self) -> Document:
        return {
            **self._common(),
            **self.wide,
            **({"config": _shown(self.config)} if self.config else {}),
            **({"pending_config": _shown(self.pending)} if self.pending else {}),
            "permission_level": "CAN_MANAGE",
        }

    def _common(self) -> Document:
        return {
            "name": self.name,
            "id": self.id,
            "creator": "someone@example.com",
            "creation_timestamp": self.changed_at,
            "last_updated_timestamp": self.changed_at,
            "state": {"ready": "READY" if self.config else "NOT_READY", "config_update": self.config_update},
            "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
        }


class Endpoints:
    """Whatever is served in one workspace. ``models`` are those of its registries: full name, versions, aliases."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self._numbers = itertools.count(1)
        self._clock = itertools.count(int(time.time() * 1000))

    def create(self, body: Document, fate: Fate) -> Endpoint:
        _known(body, CREATE_KEYS, "")
        name = body.get("name", "")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", name):
            raise _invalid(f"Endpoint name {name!r} must consist of alphanumeric characters, dashes and underscores")
        if self.find(name) is not None:
            raise Refusal(400, "RESOURCE_ALREADY_EXISTS", f"Endpoint with name '{name}' already exists.")
        config = body.get("config") or {}
        _check(config)
        wide = {k: v for k, v in body.items() if k not in ("config", "name", "tags", "rate_limits")}
        wide = {"route_optimized": False, **wide}
        number = next(self._numbers)
        there = Endpoint(name, f"{number:032x}", _tags(body.get("tags", [])), wide, next(self._clock))
        there.rate_limits = body.get("rate_limits", [])
        self.endpoints[name] = there
        self._begin(there, config, fate)
        return there

    def configure(self, name: str, body: Document, fate: Fate) -> tuple[Endpoint, bool]:
        """What is there now, and whether this changes anything."""
        there = self.get(name)
        self.refuse_while_updating(there)
        _check(body)
        if there.config is not None and _bare(there.config) == _bare(body) and there.config_update == "NOT_UPDATING":
            there.changed_at = next(self._clock)
            return there, False
        self._begin(there, body, fate)
        return there, True

    def patch_tags(self, name: str, body: Document) -> tuple[Endpoint, bool]:
        _known(body, {"add_tags", "delete_tags"}, "")
        there = self.get(name)
        tags = {k: v for k, v in there.tags.items() if k not in body.get("delete_tags", [])}
        tags |= _tags(body.get("add_tags", []))
        changed = tags != there.tags
        self._touch(there, changed)
        there.tags = tags
        return there, changed

    def put_wide(self, name: str, key: str, value: Any) -> tuple[Endpoint, bool]:
        """Replace the gateway's settings or the notifications."""
        there = self.get(name)
        changed = there.wide.get(key, {}) != value
        self._touch(there, changed)
        there.wide = {k: v for k, v in there.wide.items() if k != key} | ({key: value} if value else {})
        return there, changed

    def put_rate_limits(self, name: str, body: Document) -> tuple[Endpoint, bool]:
        _known(body, {"rate_limits"}, "")
        there = self.get(name)
        changed = there.rate_limits != body.get("rate_limits", [])
        self._touch(there, changed)
        there.rate_limits = body.get("rate_limits", [])
        return there, changed

    def delete(self, name: str) -> None:
        self.get(name)
        del self.endpoints[name]

    def find(self, name: str) -> Endpoint | None:
        there = self.endpoints.get(name)
        if there is not None:
            self._pass_time(there)
        return there

    def get(self, name: str) -> Endpoint:
        there = self.find(name)
        if there is None:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Endpoint with name '{name}' does not exist.")
        return there

    def refuse_while_updating(self, there: Endpoint) -> None:
        if there.update is not None:
            words = f"Endpoint served entities are currently being updated. Please wait. Endpoint: {there.name}"
            raise Refusal(409, "RESOURCE_CONFLICT", words)

    def everything(self) -> list[Endpoint]:
        return [there for name in list(self.endpoints) if (there := self.find(name)) is not None]

    def cancel(self, name: str) -> None:
        """What the button "stop update" does."""
        there = self.get(name)
        if there.update is not None:
            self._end(there, Fate(0, "canceled", "The update was canceled."))

    def _touch(self, there: Endpoint, changed: bool) -> None:
        if changed:
            there.changed_at = next(self._clock)

    def _begin(self, there: Endpoint, config: Document, fate: Fate) -> None:
        there.changed_at = next(self._clock)
        there.pending = deepcopy(config) | {"config_version": next(self._numbers), "start_time": there.changed_at}
        for entity in there.pending["served_entities"]:
            entity["state"] = {"deployment": "DEPLOYMENT_CREATING", "deployment_state_message": "Building the image."}
        there.update = Update(there.pending, fate, time.monotonic())
        there.config_update = "IN_PROGRESS"
        self._pass_time(there)

    def _pass_time(self, there: Endpoint) -> None:
        if there.update is not None and there.update.is_due:
            self._end(there, there.update.fate)

    def _end(self, there: Endpoint, fate: Fate) -> None:
        assert there.update is not None
        there.pending, there.update = there.update.config, None
        ok = fate.outcome == "succeeds"
        for entity in there.pending["served_entities"]:
            failed = "DEPLOYMENT_FAILED" if fate.outcome == "fails" else "DEPLOYMENT_ABORTED"
            message = "" if ok else fate.message
            entity["state"] = {
                "deployment": "DEPLOYMENT_READY" if ok else failed,
                "deployment_state_message": message,
            }
            ending = "Model server is ready." if ok else f"ERROR: {message}"
            there.logs[entity["name"]] = f"Resolving the environment\nBuilding the image\n{ending}\n"
        if ok:
            there.config, there.pending = there.pending, None
            there.config_update = "NOT_UPDATING"
        else:
            there.config_update = "UPDATE_CANCELED" if fate.outcome == "canceled" else "UPDATE_FAILED"


def _check(config: Document) -> None:
    _known(config, CONFIG_KEYS, "config.")
    entities = config.get("served_entities") or []
    if not 1 <= len(entities) <= 10:
        raise _invalid("An endpoint must have between 1 and 10 served entities.")
    for entity in entities:
        _check_entity(entity)
    names = [entity["name"] for entity in entities]
    if len(set(names)) != len(names):
        raise _invalid("Served entity names must be unique across an endpoint.")
    routes = (config.get("traffic_config") or {}).get("routes") or []
    if not routes and len(names) == 1:
        routes = [{"served_entity_name": names[0], "traffic_percentage": 100}]
        config["traffic_config"] = {"routes": routes}
    for route in routes:
        route.setdefault("served_entity_name", route.pop("served_model_name", None))
        if route["served_entity_name"] not in names:
            raise _invalid(f"Route to unknown served entity {route['served_entity_name']}.")
    if sum(int(route["traffic_percentage"]) for route in routes) != 100:
        raise _invalid("The traffic percentages of all routes must sum to 100.")


def _check_entity(entity: Document) -> None:
    _known(entity, ENTITY_KEYS, "served_entities.")
    external = entity.get("external_model")
    default = external["name"] if external else f"{entity.get('entity_name')}-{entity.get('entity_version')}"
    entity.setdefault("name", re.sub(r"[.:]", "-", default))
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", entity["name"]):
        raise _invalid(f"Served entity name {entity['name']!r} is not allowed.")
    if external:
        if set(entity) & {"entity_name", "workload_size", "scale_to_zero_enabled"}:
            raise _invalid("Only one of external_model and entity_name can be specified.")
        return
    if "scale_to_zero_enabled" not in entity:
        raise _invalid("scale_to_zero_enabled is required.")
    throughput = "max_provisioned_throughput" in entity or "provisioned_model_units" in entity
    if not throughput and ("workload_size" in entity) == ("max_provisioned_concurrency" in entity):
        raise _invalid("Exactly one of workload_size and provisioned concurrency must be specified.")


def _tags(tags: list[Document]) -> dict[str, str]:
    for tag in tags:
        if not re.fullmatch(r"[A-Za-z0-9 _+=.:@-]{1,127}", tag["key"]) or len(tag.get("value", "")) > 255:
            raise _invalid(f"Tag {tag['key']!r} is not allowed.")
    if len(tags) > 45:
        raise _invalid("Too many tags.")
    return {tag["key"]: tag.get("value", "") for tag in tags}


def _shown(config: Document) -> Document:
    return {**config, "served_entities": _masked(config["served_entities"])}


def _masked(value: Any) -> Any:
    """Without plaintext keys, which no answer ever shows."""
    if isinstance(value, dict):
        return {k: _masked(v) for k, v in value.items() if not k.endswith("_plaintext")}
    return [_masked(each) for each in value] if isinstance(value, list) else value


def _bare(config: Document) -> Document:
    kept = {k: v for k, v in config.items() if k in ("traffic_config", "auto_capture_config")}
    return kept | {"served_entities": [{k: v for k, v in e.items() if k != "state"} for e in config["served_entities"]]}


def _known(body: Document, keys: set[str], where: str) -> None:
    for key in body:
        if key not in keys:
            raise Refusal(400, "MALFORMED_REQUEST", f"Could not parse request: unknown field {where}{key}")


def _invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_PARAMETER_VALUE", message)
