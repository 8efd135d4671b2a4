"""How batches, their plans and their items look to a person; with ``--json``, the documents as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modelport import output
from modelport.batch_progress import described
from modelport.commands.session import Session

if TYPE_CHECKING:
    from modelport import types

MOST_PARTS = 4  # of a difference in one row of a table; all of it is in the JSON


def batches(session: Session, found: Iterable[types.Batch]) -> None:
    """A list of batches."""
    if session.json:
        output.print_items(each.document for each in found)
        return
    rows = [
        [each.id, _change(each.change), each.words, f"{each.done}/{each.total}", each.counted, _age(each)]
        for each in found
    ]
    output.print_table(["Batch", "Change", "State", "Done", "Items", "Age"], rows, empty="No batches.")


def batch_line(session: Session, found: types.Batch) -> None:
    """How a batch stands, in a line."""
    if session.json:
        output.print_json(found.document)
        return
    output.say(f"{found.id}: {described(found)}")


def batch(session: Session, found: types.Batch) -> None:
    """All about one batch."""
    if session.json:
        output.print_json(found.document)
        return
    pace = "" if found.per_second is None else f"{found.per_second:g} a second"
    left = "" if not found.seconds_left or found.final else f", about {output.duration(found.seconds_left)} left"
    output.print_fields(
        {
            "Batch": found.id,
            "State": found.words,
            "Reason": found.reason,
            "Change": json.dumps(found.change),
            "Selection": json.dumps(found.selection) if found.selection else "",
            "Strategy": json.dumps(_strategy(found.strategy)),
            "Items": f"{found.done} of {found.total}: {found.counted}",
            "Wave": str(found.wave) if len(found.waves) > 1 else "",
            "Pace": f"{pace}{left}",
            f"{(found.relation or 'child').replace('_', ' ').capitalize()} of": found.parent or "",
            "Created": _moment(found.created_at),
            "Started": _moment(found.started_at),
            "Finished": _moment(found.finished_at),
        }
    )
    if len(found.waves) > 1:
        _counted("wave", found.waves)
    if found.targets:
        _counted("target", found.targets)
    failures(found)
    if found.waits_for:
        output.say("")
        rows = [[str(each["count"]), str(each["reason"])] for each in found.waits_for]
        output.print_table(["Waiting", "For"], rows, empty="")


def failures(found: types.Batch) -> None:
    """Why items failed, the most frequent reason first."""
    if found.failures:
        output.say("")
        rows = [[str(each["count"]), str(each["reason"]), str(each["example"])] for each in found.failures]
        output.print_table(["Failed", "Reason", "For example"], rows, empty="")


def items(session: Session, found: Iterable[types.BatchItem]) -> None:
    """A list of a batch's items."""
    if session.json:
        output.print_items(each.document for each in found)
        return
    rows = [
        [
            str(each.number),
            f"{each.target}/{each.name}",
            str(each.wave),
            each.state.replace("_", " "),
            each.operation or "",
            _problem(each.problem),
        ]
        for each in found
    ]
    output.print_table(["Item", "Deployment", "Wave", "State", "Operation", "Problem"], rows, empty="No items.")


def plan(session: Session, found: types.BatchPlan) -> None:
    """What would happen: each item that changes or is refused, all of them counted, and how long it takes."""
    if session.json:
        output.print_json(found.document)
        return
    rows = [
        [f"{each.target}/{each.name}", each.action.replace("_", " "), _difference(each.difference), _beside(each)]
        for each in found.items
        if each.action != "no_change"
    ]
    output.print_table(["Deployment", "Action", "Change", "Note"], rows, empty="Nothing would change.")
    counted = ", ".join(f"{count} {action.replace('_', ' ')}" for action, count in found.summary.items())
    output.say(f"{found.total} selected: {counted}")
    if rows:
        why = found.estimate.get("limited_by")
        because = f" ({why})" if why else ""
        output.say(f"takes about {output.duration(float(found.estimate.get('seconds') or 0.0))}{because}")


def _counted(what: str, found: list[dict[str, Any]]) -> None:
    states = list(dict.fromkeys(state for each in found for state in each if state != what))
    rows = [[str(each[what]), *(str(each.get(state, 0)) for state in states)] for each in found]
    output.say("")
    output.print_table([what.capitalize(), *(state.replace("_", " ").capitalize() for state in states)], rows, empty="")


def _change(change: dict[str, Any]) -> str:
    fields = " ".join(
        value if isinstance(value, str) else f"{key}={json.dumps(value)}"
        for key, value in change.items()
        if key not in ("action", "asked_model_uri")
    )
    return f"{change.get('action', '')} {fields}".strip()


def _strategy(strategy: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing; instants to be read."""
    told = {key: value for key, value in strategy.items() if value not in (None, [])}
    for key in ("start", "end"):
        if isinstance(told.get(key), int | float):
            told[key] = datetime.fromtimestamp(told[key], UTC).isoformat(timespec="seconds")
    return told


def _difference(difference: dict[str, Any] | None) -> str:
    from modelport.differences import ABSENT, between

    if not difference:
        return ""
    found = between(_compared(difference.get("from")), _compared(difference.get("to")))
    parts = []
    for each in found[:MOST_PARTS]:
        before = "" if each.before is ABSENT else json.dumps(each.before, ensure_ascii=False)
        after = "nothing" if each.after is ABSENT else json.dumps(each.after, ensure_ascii=False)
        parts.append(f"{each.path}: {before} -> {after}" if before else f"{each.path}: {after}")
    if len(found) > MOST_PARTS:
        parts.append(f"and {len(found) - MOST_PARTS} more")
    return "; ".join(parts)


def _compared(side: dict[str, Any] | None) -> dict[str, Any]:
    """A side of a difference with its variants by name, and without what is None."""
    told = {key: value for key, value in (side or {}).items() if value is not None}
    if isinstance(told.get("variants"), list):
        told["variants"] = {
            each["name"]: {key: value for key, value in each.items() if key != "name" and value is not None}
            for each in told["variants"]
        }
    return told


def _beside(item: types.PlannedItem) -> str:
    notes = [_problem(item.problem)]
    if item.under_way:
        notes.append(f"operation {item.under_way} is under way")
    if item.behind_batch:
        notes.append(f"behind batch {item.behind_batch}")
    return "; ".join(note for note in notes if note)


def _problem(problem: dict[str, Any] | None) -> str:
    return str(problem.get("detail") or problem.get("title") or "") if problem else ""


def _age(found: types.Batch) -> str:
    return output.ago(found.created_at)


def _moment(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""
