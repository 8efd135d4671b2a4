"""An endpoint as the workspace shows it, in the few facts that decide about it; no call is made here.

The list's entries (``ServingEndpoint`` in databricks-sdk) carry state, tags, gateway and the entities' models, but no
traffic, no pending config and no state of an entity; those are in the endpoint's own document alone.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from adapters.contract import JSON, Spec, Variant
from adapters.databricks.describe import DatabricksConfig
from adapters.databricks.goals import Rows, carries, row, variants_of

UPDATING = "IN_PROGRESS"
GAVE_UP = ("UPDATE_FAILED", "UPDATE_CANCELED")
BROKEN = ("DEPLOYMENT_FAILED", "DEPLOYMENT_ABORTED")
KEPT = sorted(set(DatabricksConfig.model_fields) - {"entity_name", "entity_version", "external_model", "tags"})


def thing(shown: JSON, *, whole: bool) -> JSON:
    """The facts of an endpoint; ``whole`` False: only those that the list tells too, the others are None."""
    tags = {tag["key"]: tag.get("value", "") for tag in shown.get("tags") or []}
    state = shown.get("state") or {}
    facts: JSON = {
        "whole": whole,
        "name": shown["name"],
        "tags": tags,
        "ready": state.get("ready") == "READY",
        # some documents of the vendor call it update_state
        "update": state.get("config_update") or state.get("update_state") or "NOT_UPDATING",
        "changed_at": shown.get("last_updated_timestamp"),
    }
    if not whole:
        return facts
    config, pending = shown.get("config") or {}, shown.get("pending_config") or {}
    return facts | {
        "rows": rows_of(config),
        "states": _states(config),
        "pending": rows_of(pending) if pending else None,
        "pending_states": _states(pending),
        "gateway": shown.get("ai_gateway"),
        "notifications": shown.get("email_notifications"),
        "auto_capture": config.get("auto_capture_config"),
        "fixed": {key: shown.get(key) for key in ("route_optimized", "budget_policy_id", "description")},
        "data_plane": data_plane(shown),
        "log": "",
    }


def data_plane(shown: JSON) -> JSON | None:
    """Where a route-optimised endpoint takes predictions, and what a token for it has to name; None for others."""
    told = (shown.get("data_plane_info") or {}).get("query_info") or {}
    if not shown.get("route_optimized") or not told.get("endpoint_url"):
        return None
    return {"url": told["endpoint_url"], "details": told.get("authorization_details") or ""}


def rows_of(config: JSON) -> Rows:
    """The served entities with their share of the traffic, as an endpoint's config tells them."""
    routes = (config.get("traffic_config") or {}).get("routes") or []
    shares = {
        route.get("served_entity_name") or route.get("served_model_name"): int(route.get("traffic_percentage") or 0)
        for route in routes
    }
    entities = _entities(config)
    alone = 100 if len(entities) == 1 else 0
    return [
        row(e["name"], e.get("entity_name"), e.get("entity_version"), shares.get(e["name"], alone)) for e in entities
    ]


def owner(facts: JSON) -> tuple[str, str] | None:
    """The installation and the uid whose marks are on it; None where nobody's are."""
    tags = facts["tags"]
    if "modelport_installation" not in tags and "modelport_uid" not in tags:
        return None
    return tags.get("modelport_installation", ""), tags.get("modelport_uid", "")


def carried(facts: JSON, rows: Rows) -> str:
    """The digest of what serves. What was adopted counts as what its adoption was planned as, until it changes."""
    now = carries(rows)
    there, _, planned = facts["tags"].get("modelport_adopted", "").partition(".")
    return planned if planned and there == now else now


def content(facts: JSON, rows: Rows) -> str | None:
    """The string that the plan of what serves now has as its content; None where nobody's marks are on it."""
    if owner(facts) is None:
        return None
    return f"{facts['tags'].get('modelport_content', '')}.{carried(facts, rows)}"


def is_settled_alone(summary: JSON) -> bool:
    """Whether the list's entry tells what serves: one entity has all the traffic."""
    return len(_entities(summary.get("config") or {})) == 1


def status(facts: JSON) -> str:
    """In a word for people: ``serving``, ``updating``, ``creating``, ``failed`` or ``not ready``."""
    if facts["update"] == UPDATING:
        return "updating" if facts["ready"] else "creating"
    if facts["ready"]:
        return "serving"
    return "failed" if facts["update"] in GAVE_UP else "not ready"


def spec_of(shown: JSON) -> Spec | None:
    """What an endpoint serves, as it could be asked for; None where it serves what nobody can ask for.

    Such are pay-per-token foundation models, and external models whose keys were given in plain text: no answer ever
    shows them.
    """
    config = shown.get("config") or {}
    by_name = {entity["name"]: entity for entity in _entities(config)}
    names = variants_of(by_name)
    capture = config.get("auto_capture_config")
    try:
        variants = tuple(_variant(variant, by_name[name], capture) for variant, name in names.items())
    except (ValidationError, KeyError, TypeError):
        return None
    shares = {line[0]: line[3] for line in rows_of(config)}
    traffic = {variant: shares[name] for variant, name in names.items()}
    return Spec(variants, traffic) if sum(traffic.values()) == 100 else None


def _variant(name: str, entity: JSON, capture: JSON | None) -> Variant:
    given = {key: entity[key] for key in KEPT if entity.get(key)}
    if given.get("workload_size"):
        given = {key: value for key, value in given.items() if not key.endswith("_provisioned_concurrency")}
    if capture:
        known = ("catalog_name", "schema_name", "table_name_prefix", "enabled")
        given["auto_capture_config"] = {key: capture[key] for key in known if key in capture}
    external = entity.get("external_model")
    if external:
        uri = f"external:/{external['provider']}/{external['name']}"
        given = {"external_model": {k: v for k, v in external.items() if k not in ("provider", "name") and v}}
    else:
        uri = f"models:/{entity['entity_name']}/{entity['entity_version']}"
    config = DatabricksConfig.model_validate(given)
    return Variant(name, uri, None, config.model_dump(mode="json", exclude_defaults=True))


def _entities(config: JSON) -> list[JSON]:
    """The served entities; an endpoint that was made with the older interface may call them served models."""
    found: list[JSON] = config.get("served_entities") or [
        {**model, "entity_name": model.get("model_name"), "entity_version": model.get("model_version")}
        for model in config.get("served_models") or []
    ]
    return [entity for entity in found if entity.get("name")]


def _states(config: JSON) -> dict[str, list[Any]]:
    states = {entity["name"]: entity.get("state") or {} for entity in _entities(config)}
    return {
        name: [state.get("deployment") or "", state.get("deployment_state_message") or ""]
        for name, state in states.items()
    }
