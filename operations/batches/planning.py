"""What a batch would do, before it does it: which deployments, what difference, how long."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from operations import limits as limits_of_writes
from operations import specs
from operations.access import Permission, Principal
from operations.batches.changes import FIELDS
from operations.batches.models import ENDED, OPEN, Batch, BatchItem, BatchState
from operations.batches.records import Wanted
from operations.batches.strategy import share
from operations.models import Deployment, Operation, Revision, Target
from operations.problems import EmptyBatch, InvalidField, NoPreviousRevision, Refused
from operations.specs import Rules
from operations.states import State
from operations.tips import previous, tips

Document = dict[str, Any]
RulesOf = Callable[[Target], Rules]

PORTION = 500
DURATIONS = 50
DURATION_UNKNOWN_SECONDS = 60.0
VERSION = re.compile(r"^(models:/.+)/(\d+)$")


@dataclass(frozen=True)
class Limit:
    """What a target allows: ``writes`` in ``per_seconds``, None where no limit is known."""

    writes: int | None
    per_seconds: float


def select_items(session: Session, selection: Document, who: Principal | None = None) -> list[Wanted]:
    """The deployments that serve, or will, that the selection names and that ``who`` may change.

    Raises EmptyBatch, InvalidField.
    """
    query = select(Deployment).order_by(Deployment.target_id, Deployment.name)
    if who is not None:
        query = query.where(who.visible(Permission.DEPLOY))
    if selection.get("target"):
        query = query.where(Deployment.target.has(Target.name == selection["target"]))
    if selection.get("names"):
        query = query.where(Deployment.name.in_(selection["names"]))
    for key, value in (selection.get("labels") or {}).items():
        query = query.where(Deployment.labels[key].as_string() == value)
    rows = session.scalars(query).unique().all()
    found = []
    for start in range(0, len(rows), PORTION):
        portion = rows[start : start + PORTION]
        for row, at in zip(portion, tips(session, portion), strict=True):
            if at.revision is not None and _serves(at.revision, selection):
                found.append(Wanted(row.target_id, row.name, row.id, None, row.labels, row.generation))
    missing = set(selection.get("names") or ()) - {item.name for item in found}
    if missing and not _narrowed(selection):
        raise InvalidField.one(
            "selection.names", f"there is no deployment {min(missing)!r}", "Leave it out, or create it first."
        )
    if not found:
        raise EmptyBatch("the selection finds no deployment")
    return found


def preview(session: Session, items: Sequence[Wanted], change: Document, rules_of: RulesOf) -> list[Document]:
    """For every item what would happen to it now, in the order of the items."""
    targets = {row.id: row for row in session.scalars(select(Target))}
    rules = {identity: rules_of(row) for identity, row in targets.items()}
    shown: list[Document] = []
    for start in range(0, len(items), PORTION):
        portion = items[start : start + PORTION]
        known = [item.deployment_id for item in portion if item.deployment_id]
        rows = {row.id: row for row in session.scalars(select(Deployment).where(Deployment.id.in_(known))).unique()}
        at = dict(zip(rows, tips(session, list(rows.values())), strict=True))
        waiting = in_other_batches(session, portion)
        for item in portion:
            row = rows.get(item.deployment_id or "")
            revision = at[row.id].revision if row else None
            difference, refusal = None, None
            try:
                action, difference = _would(session, rules[item.target_id], row, revision, item.change or change)
            except Refused as error:
                action = "refused"
                refusal = {"type": error.type, "title": error.title, "detail": error.detail}
            shown.append(
                {
                    "target": targets[item.target_id].name,
                    "name": item.name,
                    "action": action,
                    "difference": difference,
                    "problem": refusal,
                    "under_way": at[row.id].unfinished[0].id if row and at[row.id].unfinished else None,
                    "behind_batch": waiting.get((item.target_id, item.name)),
                }
            )
    return shown


def estimate(session: Session, items: Sequence[Wanted], strategy: Document, limits: Mapping[str, Limit]) -> Document:
    """Seconds that the batch will take, and what limits it: each target's limit of writes, or ``max_concurrent``."""
    by_target: dict[str, int] = defaultdict(int)
    for item in items:
        by_target[item.target_id] += 1
    width = share(strategy["max_concurrent"], len(items), up=True)
    longest, why = 0.0, ""
    for target_id, count in by_target.items():
        took, writes = _seen(session, target_id)
        limit = limits[target_id]
        seconds, reason = -(-count // width) * took, f"max_concurrent is {width}"
        if limit.writes is not None:
            at_once, per_second = limits_of_writes.bucket(limit.writes, limit.per_seconds)
            limited = took + max(0.0, count * writes - at_once) / per_second
            if limited > seconds:
                seconds, reason = limited, f"the target allows {limit.writes} writes in {limit.per_seconds:g} s"
        if seconds >= longest:
            longest, why = seconds, reason
    soaks = sum(wave.get("soak_seconds") or 0.0 for wave in strategy["waves"])
    return {"seconds": round(longest + soaks, 1), "limited_by": why}


def _narrowed(selection: Document) -> bool:
    return any(selection.get(key) for key in ("labels", "model", "model_uri", "below_version"))


def _serves(revision: Revision, selection: Document) -> bool:
    """Whether a variant's model is the one asked for: exactly, by its name, or by its name below a version."""
    for variant in (revision.resolved or revision.spec)["variants"]:
        uri = variant["model_uri"]
        if selection.get("model_uri") and uri != selection["model_uri"]:
            continue
        if selection.get("model"):
            known = VERSION.match(uri)
            wanted = selection["model"].rstrip("/")
            if (known[1] if known else uri.rpartition("@")[0] or uri) != wanted:
                continue
            below = selection.get("below_version")
            if below is not None and (known is None or int(known[2]) >= below):
                continue
        return True
    return False


def _would(
    session: Session, rules: Rules, row: Deployment | None, revision: Revision | None, change: Document
) -> tuple[str, Document | None]:
    action = change["action"]
    if action == "apply":
        wanted = specs.build(rules, **{key: change.get(key) for key in FIELDS if key != "labels"})
        if revision is None:
            return "create", {"from": None, "to": wanted}
    elif row is None or revision is None:
        raise InvalidField.one("name", "there is no such deployment", "Create it first.")
    elif action == "update":
        wanted = specs.build(rules, **specs.merged(revision.spec, change))
    elif action == "rollback":
        if change.get("revision") is not None:
            query = select(Revision).where(Revision.deployment_id == row.id, Revision.number == change["revision"])
            earlier = session.scalars(query).one_or_none()
        else:
            earlier = previous(session, revision)
        if earlier is None:
            raise NoPreviousRevision("no revision served before")
        wanted = earlier.spec
    else:
        return str(action), None
    if revision is not None and specs.content_hash(wanted) == specs.content_hash(revision.spec):
        return "no_change", None
    before = revision.spec if revision else {}
    changed = {key: wanted[key] for key in wanted if before.get(key) != wanted[key]}
    return action, {"from": {key: before.get(key) for key in changed}, "to": changed}


def in_other_batches(session: Session, items: Sequence[Wanted]) -> dict[tuple[str, str], str]:
    """The open batch that each is in already, of those that are in one."""
    places = {(item.target_id, item.name) for item in items}
    rows = session.execute(
        select(BatchItem.target_id, BatchItem.name, BatchItem.batch_id)
        .join(Batch, Batch.id == BatchItem.batch_id)
        .where(BatchItem.state.in_(OPEN), Batch.state.not_in({BatchState.PLANNED, *ENDED}))
    )
    return {(target, name): batch for target, name, batch in rows if (target, name) in places}


def _seen(session: Session, target_id: str) -> tuple[float, float]:
    """How long an operation on this target took lately, and how many writes it needed: medians."""
    rows = session.execute(
        select(Operation.finished_at - Operation.started_at, Operation.writes)
        .where(
            Operation.target_id == target_id,
            Operation.state == State.SUCCEEDED,
            Operation.finished_at.is_not(None),
            Operation.started_at.is_not(None),
        )
        .order_by(Operation.finished_at.desc())
        .limit(DURATIONS)
    ).all()
    if not rows:
        return DURATION_UNKNOWN_SECONDS, 1.0
    return statistics.median(float(row[0] or 0.0) for row in rows), max(1.0, statistics.median(row[1] for row in rows))
