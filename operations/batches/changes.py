"""What a batch does to one deployment: the same submissions that single requests make."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from operations import specs, submit
from operations.admission import Accepted, Asked
from operations.models import Target
from operations.problems import Invalid, InvalidField
from operations.specs import Rules

Document = dict[str, Any]

ACTIONS = ("update", "apply", "rollback", "delete", "reconcile")
FIELDS = ("model_uri", "flavor", "config", "variants", "traffic", "labels")


def check(rules: Rules, name: str, change: Document, prefix: str) -> None:
    """What can be known before it is tried. Raises Invalid, with the field under ``prefix``."""
    fields = {key for key in FIELDS if key in change}
    if change["action"] in ("update", "apply"):
        if not fields:
            remedy = f"Send one of {', '.join(FIELDS)}."
            raise InvalidField.one(f"{prefix}action", f"{change['action']} changes nothing", remedy)
    elif fields:
        field = min(fields)
        raise InvalidField.one(f"{prefix}{field}", f"means nothing to {change['action']}", "Leave it out.")
    if change["action"] == "apply":
        specs.check_name(rules, name)
        specs.build(rules, **_spec(change))
    elif change["action"] == "update" and change.get("model_uri") is not None:
        specs.check_model_uri(rules, change["model_uri"], f"{prefix}model_uri")


def doubled(place: int, target: str, name: str) -> Invalid:
    """The refusal of a list in which a deployment is twice."""
    remedy = "Ask for one change of each deployment."
    return InvalidField.one(f"operations[{place}].name", f"{target}/{name} is there twice", remedy)


def submit_one(session: Session, target: Target, rules: Rules, name: str, change: Document, asked: Asked) -> Accepted:
    """Submit it. Raises Refused."""
    match change["action"]:
        case "update":
            sent = {key: change[key] for key in FIELDS if key in change}
            return submit.patch(session, target, rules, name, sent, asked)
        case "apply":
            spec = specs.build(rules, **_spec(change))
            return submit.apply(session, target, rules, name, spec, change.get("labels"), asked)
        case "rollback":
            return submit.rollback(session, target, name, change.get("revision"), asked, rules=rules)
        case "delete":
            return submit.delete(session, target, name, asked, rules=rules)
        case "reconcile":
            return submit.reconcile(session, target, name, asked, rules=rules)
    raise AssertionError(change["action"])


def _spec(change: Document) -> Document:
    return {key: change.get(key) for key in ("model_uri", "flavor", "config", "variants", "traffic")}
