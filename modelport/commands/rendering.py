"""How documents look to a person; with ``--json``, the documents as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from modelport import output
from modelport.commands.session import Session
from modelport.progress import described

if TYPE_CHECKING:
    from modelport import types


def deployments(session: Session, found: Iterable[types.Deployment]) -> None:
    """A list of deployments."""
    if session.json:
        output.print_items(each.document for each in found)
        return
    rows = [
        [
            f"{each.target}/{each.name}",
            each.status,
            _number(each.current),
            _models(each.current or each.tip),
            _split(each.current or each.tip),
            output.ago(each.updated_at),
        ]
        for each in found
    ]
    headings = ["Deployment", "Status", "Revision", "Model", "Traffic", "Changed"]
    output.print_table(headings, rows, empty="No deployments.")


def deployment_line(session: Session, found: types.Deployment) -> None:
    """How a deployment stands, in a line."""
    if session.json:
        output.print_json(found.document)
        return
    serving = f", serves revision {found.current.number}" if found.current else ""
    coming = f", operation {found.operation} is under way" if found.operation else ""
    output.say(f"{found.target}/{found.name}: {found.status}{serving}{coming}")


def deployment(session: Session, found: types.Deployment) -> None:
    """All about one deployment."""
    if session.json:
        output.print_json(found.document)
        return
    differs = found.tip is not None and (found.current is None or found.tip.number != found.current.number)
    output.print_fields(
        {
            "Deployment": f"{found.target}/{found.name}",
            "Status": found.status,
            "Generation": str(found.generation),
            "Revision": _number(found.current) or "none yet",
            "Will be": f"revision {_number(found.tip)}" if differs else "",
            "Operation": f"{found.operation} ({found.unfinished} unfinished)" if found.operation else "",
            "On the target": _observed(found),
            "Labels": _labels(found.labels),
            "Created": found.created_at.isoformat(timespec="seconds"),
            "Changed": found.updated_at.isoformat(timespec="seconds"),
        }
    )
    _variants(found.current or found.tip)


def revisions(session: Session, found: Iterable[types.Revision]) -> None:
    """A list of revisions."""
    if session.json:
        output.print_items(each.document for each in found)
        return
    rows = [
        [
            _number(each),
            _models(each),
            _split(each),
            output.ago(each.created_at),
            output.ago(each.landed_at) if each.landed_at else "never",
        ]
        for each in found
    ]
    output.print_table(["Revision", "Model", "Traffic", "Age", "Served since"], rows, empty="No revisions.")


def operations(session: Session, found: Iterable[types.Operation]) -> None:
    """A list of operations."""
    if session.json:
        output.print_items(each.document for each in found)
        return
    rows = [
        [each.id, each.kind, f"{each.target}/{each.deployment}", each.state, output.ago(each.created_at), each.message]
        for each in found
    ]
    headings = ["Operation", "Kind", "Deployment", "State", "Age", "Message"]
    output.print_table(headings, rows, empty="No operations.")


def operation_line(session: Session, found: types.Operation) -> None:
    """How an operation stands, in a line."""
    if session.json:
        output.print_json(found.document)
        return
    output.say(f"{found.id}: {found.kind} {found.target}/{found.deployment}: {described(found)}")


def operation(session: Session, found: types.Operation) -> None:
    """All about one operation."""
    if session.json:
        output.print_json(found.document)
        return
    error = found.error
    ends = {"Started": found.started_at, "Finished": found.finished_at, "Deadline": found.deadline_at}
    output.print_fields(
        {
            "Operation": found.id,
            "Kind": found.kind,
            "Deployment": f"{found.target}/{found.deployment}",
            "State": found.state,
            "Message": found.message,
            "Error": f"{error.title}: {error.detail}" if error else "",
            "Waits for": found.waits_for or "",
            "Revision": "" if found.revision is None else str(found.revision),
            "Attempts": str(found.attempts) if found.attempts else "",
            "Cancelled by": found.cancelled_by or "",
            "Retry of": found.retry_of or "",
            "Left behind": "; ".join(f"{it.kind} {it.name}: {it.why}" for it in found.leftovers),
            "Created": found.created_at.isoformat(timespec="seconds"),
            **{name: moment.isoformat(timespec="seconds") if moment else "" for name, moment in ends.items()},
        }
    )


def event(session: Session, found: types.Event) -> None:
    """One event, shown as it comes."""
    if session.json:
        output.print_json_line(found.document)
        return
    output.say(f"{found.at.isoformat(timespec='seconds')}  {found.state}  {found.message}  [{found.by}]")


def targets(session: Session, found: Iterable[types.Target]) -> None:
    """A list of targets."""
    if session.json:
        output.print_items(each.document for each in found)
        return
    rows = [[each.name, each.uri, each.title, str(each.workers)] for each in found]
    output.print_table(["Target", "URI", "Kind", "Workers"], rows, empty="No targets.")


def kinds(session: Session, found: Iterable[types.Kind]) -> None:
    """A list of kinds of target."""
    if session.json:
        output.print_items(each.document for each in found)
        return
    rows = [[each.scheme, each.title, str(each.workers), each.lacks or ""] for each in found]
    output.print_table(["URI begins with", "Kind", "Workers", "Lacks"], rows, empty="No kinds.")


def target(session: Session, found: types.Target) -> None:
    """All about one target."""
    if session.json:
        output.print_json(found.document)
        return
    output.print_fields(
        {
            "Target": found.name,
            "URI": found.uri,
            "Kind": found.title or found.scheme,
            "Workers": str(found.workers) if found.workers else "0: nothing can be deployed until one serves it",
            "Settings": json.dumps(found.settings) if found.settings else "",
            "Limits": json.dumps(found.limits) if found.limits else "",
            "Can": json.dumps(found.capabilities) if found.capabilities else "",
            "Created": found.created_at.isoformat(timespec="seconds"),
        }
    )


def _variants(revision: types.Revision | None) -> None:
    if revision is None:
        return
    rows = [
        [
            each.name,
            f"{revision.traffic.get(each.name, 0)}%",
            each.resolved_uri or each.model_uri,
            each.flavor or "",
            json.dumps(each.config) if each.config else "",
        ]
        for each in revision.variants
    ]
    output.say("")
    output.print_table(["Variant", "Traffic", "Model", "Flavor", "Config"], rows, empty="No variants.")


def _observed(found: types.Deployment) -> str:
    """What was last seen there, where it was looked at since it serves."""
    state, seen = str(found.observed.get("state") or ""), output.ago(found.observed_at)
    if not state:
        return ""
    told = str(found.observed.get("message") or "") or ", ".join(found.observed.get("difference") or ())
    reconcile = "; modelport reconcile brings it back" if state in {"drifted", "missing"} else ""
    return f"{state.replace('_', ' ')}{f': {told}' if told else ''} ({seen} ago){reconcile}"


def _number(revision: types.Revision | None) -> str:
    return "" if revision is None else str(revision.number)


def _models(revision: types.Revision | None) -> str:
    return "" if revision is None else ", ".join(each.resolved_uri or each.model_uri for each in revision.variants)


def _split(revision: types.Revision | None) -> str:
    return "" if revision is None else ",".join(f"{name}={percent}" for name, percent in revision.traffic.items())


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items())
