"""``modelport apply`` and ``modelport diff``: deployments as code."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelport import output
from modelport.commands import arguments
from modelport.commands.arguments import DeploymentArgument, Timeout
from modelport.commands.session import Session, command
from modelport.exits import Exit, code_for, paragraph

if TYPE_CHECKING:
    from modelport.applying import Change
    from modelport.declared import Declared
    from modelport.differences import Difference

MARKS = {"create": "+", "update": "~", "delete": "-", "none": "="}
DONE = {"create": "created", "update": "updated", "delete": "deleted", "none": "unchanged"}


def add_to(app: typer.Typer) -> None:
    """Registers the commands of this module."""
    command(app, "apply")(apply)
    command(app, "diff")(diff)


def apply(
    session: Session,
    file: Annotated[
        list[Path],
        typer.Option("-f", "--file", metavar="FILE|-", help="What is declared: YAML, JSON or TOML; repeatable."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    prune: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Delete what has this label and is not declared; repeatable: all fit."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all operations have ended.")] = True,
    timeout: Timeout = None,
) -> None:
    """Bring deployments to what files declare: create, update, leave alone, and prune."""
    labels = arguments.pairs(prune or (), "--prune")
    declared = _declared(file, labels)
    changes = _together(session, declared, labels, dry_run=dry_run, wait=wait, timeout=timeout)
    if session.json:
        output.print_json({"changes": [each.document for each in changes], "dry_run": dry_run})
    else:
        _tell(session, changes, dry_run=dry_run)
    codes = [code_for(each.error) for each in changes if each.error is not None]
    if codes:
        raise typer.Exit(Exit.FAILED if Exit.FAILED in codes else codes[0])


def diff(
    session: Session,
    deployment: DeploymentArgument,
    older: Annotated[
        int | None, typer.Argument(metavar="[FROM]", help="A revision. Default: the one before the other.")
    ] = None,
    newer: Annotated[int | None, typer.Argument(metavar="[TO]", help="A revision. Default: the newest.")] = None,
) -> None:
    """What differs between two revisions of a deployment."""
    from modelport import differences

    where = arguments.address(deployment)
    known = sorted((each for each in session.client.revisions(*where)), key=lambda each: each.number)
    numbers = [each.number for each in known]
    if not numbers:
        output.note("No revisions.")
        return
    last = newer if newer is not None else numbers[-1]
    first = older if older is not None else max((n for n in numbers if n < last), default=last)
    for number in (first, last):
        if number not in numbers:
            raise typer.BadParameter(f"{where} has no revision {number}, but {numbers}", param_hint="revision")
    documents = {each.number: differences.specification(each.variants, each.traffic, None) for each in known}
    found = differences.between(documents[first], documents[last])
    if session.json:
        output.print_json({"from": first, "to": last, "differences": [each.document for each in found]})
        return
    output.say(f"{where}: revision {first} -> {last}")
    for each in found:
        output.say(_difference(each))
    if not found:
        output.note("No differences.")


def _declared(files: Sequence[Path], labels: dict[str, str]) -> list[Declared]:
    from modelport import declared

    found: list[Declared] = []
    try:
        for file in files:
            text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
            found += declared.read(text, str(file))
        found = declared.unique(found)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--file") from error
    for each in found:
        if not labels.items() <= (each.labels or {}).items():
            told = ", ".join(f"{key}={value}" for key, value in labels.items())
            raise typer.BadParameter(
                f"{each.address} has not the label {told}, so it would never be pruned; give it, in defaults perhaps",
                param_hint="--prune",
            )
    return found


def _together(
    session: Session,
    declared: list[Declared],
    labels: dict[str, str],
    *,
    dry_run: bool,
    wait: bool,
    timeout: float | None,
) -> list[Change]:
    import asyncio

    from modelport import applying
    from modelport.progress import followed_together

    changes: list[Change] = []

    async def run() -> None:
        async with session.async_client() as client:
            found = await applying.find(client, declared)
            labelled = await applying.find_labelled(client, labels) if labels else []
            changes.extend(applying.plan(declared, found, labelled))
            if dry_run:
                return
            total = sum(each.kind != "none" for each in changes)
            with followed_together(total, silent=session.json) as watcher:
                await applying.apply(client, changes, watcher, wait=wait, timeout=timeout)

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        going = sum(each.is_under_way for each in changes)
        output.note(
            f"Interrupted. {going} operations go on. Follow them with: modelport ops ls{session.options}; "
            "the same apply waits for them again"
        )
        raise typer.Exit(Exit.INTERRUPTED) from None
    return changes


def _tell(session: Session, changes: Sequence[Change], *, dry_run: bool) -> None:
    for each in changes:
        if each.kind == "none" and each.error is None:
            continue
        standing = "" if dry_run else f"  {each.outcome}"
        operation = f"  {each.operation.id}" if each.is_under_way and each.operation else ""
        output.say(f"{MARKS[each.kind]} {each.address}  {each.kind}{standing}{operation}")
        if dry_run:
            for difference in each.differences:
                output.say(_difference(difference))
    for each in changes:
        if each.error is not None:
            output.note(f"{each.address}: {paragraph(each.error, options=session.options)}")
    counted = Counter(_word(each, dry_run=dry_run) for each in changes)
    output.say(", ".join(f"{number} {word}" for word, number in counted.items()))


def _word(change: Change, *, dry_run: bool) -> str:
    if dry_run:
        return "unchanged" if change.kind == "none" else f"to {change.kind}"
    if change.is_under_way:
        return "under way"
    return change.outcome if change.error is not None else DONE[change.kind]


def _difference(difference: Difference) -> str:
    from modelport.differences import ABSENT

    def shown(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    if difference.before is ABSENT:
        return f"    + {difference.path}: {shown(difference.after)}"
    if difference.after is ABSENT:
        return f"    - {difference.path}: {shown(difference.before)}"
    return f"    ~ {difference.path}: {shown(difference.before)} -> {shown(difference.after)}"
