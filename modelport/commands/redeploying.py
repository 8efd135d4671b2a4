"""``modelport redeploy``: many deployments at once, under limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from modelport import output
from modelport.commands import arguments, batch_rendering, releasing
from modelport.commands.releasing import End, MaxConcurrent, Start, Timeout, Wait
from modelport.commands.session import Session, command

VERSIONED = re.compile(r"models:/[^/@]+(/.+|@.+)")


def add_to(app: typer.Typer) -> None:
    """Registers the command of this module."""
    command(app, "redeploy")(redeploy)


def redeploy(
    session: Session,
    model: Annotated[str | None, typer.Option(metavar="URI", help="The new model, as in models:/iris/7.")] = None,
    flavor: Annotated[str | None, typer.Option(metavar="NAME", help="The model's flavor.")] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("-C", "--config", metavar="KEY=VALUE", help="Config laid over each one's own; a.b=1 goes inside."),
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Config as a YAML, JSON or TOML file; -C is laid over it.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(metavar="WORD", help="Instead of an update: rollback, delete or reconcile.")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="NAME", help="Only on this target.")] = None,
    name: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only these deployments; repeatable.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only with this label; repeatable: all fit.")
    ] = None,
    serving: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Only what serves this: models:/iris is any version, models:/iris/6 that."),
    ] = None,
    below_version: Annotated[
        int | None, typer.Option(min=1, metavar="NUMBER", help="Of --serving, only versions before this one.")
    ] = None,
    max_concurrent: MaxConcurrent = None,
    max_failures: Annotated[
        str | None, typer.Option(metavar="NUMBER|PERCENT", help="The most that may fail; default: 10%.")
    ] = None,
    on_failure: Annotated[
        str | None, typer.Option(metavar="WORD", help="When so many failed: stop, roll_back_changed or continue.")
    ] = None,
    on_conflict: Annotated[
        str | None, typer.Option(metavar="WORD", help="What is in another open batch: queue behind it, or refuse.")
    ] = None,
    wave: Annotated[
        list[str] | None,
        typer.Option(metavar="WAVE", help="A part that goes first: 1, 10%, 50:soak=600, 10%:approve; repeatable."),
    ] = None,
    start: Start = None,
    end: End = None,
    deadline: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Time that each operation may take.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would happen, and begin nothing.")] = False,
    wait: Wait = True,
    timeout: Timeout = None,
) -> None:
    """Bring many deployments to a new model or config, under limits; or roll back, delete or reconcile them."""
    body: dict[str, Any] = {
        "selection": _selection(target, name, label, serving, below_version),
        "change": _change(action, model, flavor, arguments.config(config_file, config or ())),
        "strategy": {
            "max_concurrent": releasing.amount(max_concurrent, "--max-concurrent"),
            "max_failures": releasing.amount(max_failures, "--max-failures"),
            "on_failure": on_failure,
            "on_conflict": on_conflict,
            "waves": releasing.waves(wave or ()) or None,
            "start": releasing.instant(start, "--start"),
            "end": releasing.instant(end, "--end"),
            "deadline_seconds": deadline,
        },
    }
    if plan:
        planned = session.client.plan_batch(**body)
        batch_rendering.plan(session, planned)
        if not session.json:
            output.note(f"Begin it, as it is shown, with: modelport batch start {planned.id}{session.options}")
        return
    releasing.finish(session, session.client.create_batch(**body), wait=wait, timeout=timeout)


def _selection(
    target: str | None,
    names: list[str] | None,
    labels: list[str] | None,
    serving: str | None,
    below_version: int | None,
) -> dict[str, Any]:
    selection: dict[str, Any] = {}
    if target:
        selection["target"] = target
    if names:
        selection["names"] = names
    if labels:
        selection["labels"] = arguments.pairs(labels, "--label")
    if serving:
        any_version = serving.startswith("models:/") and not VERSIONED.fullmatch(serving.rstrip("/"))
        selection["model" if any_version else "model_uri"] = serving.rstrip("/") if any_version else serving
    if not selection:
        told = "say which deployments: --target, --name, --label or --serving"
        raise typer.BadParameter(told, param_hint="--target")
    if below_version is not None:
        if "model" not in selection:
            told = "goes with a model without a version, as in --serving models:/iris"
            raise typer.BadParameter(told, param_hint="--below-version")
        selection["below_version"] = below_version
    return selection


def _change(action: str | None, model: str | None, flavor: str | None, config: dict[str, Any]) -> dict[str, Any]:
    given = {"action": action, "model_uri": model, "flavor": flavor, "config": config or None}
    change = {key: value for key, value in given.items() if value is not None}
    if not change:
        raise typer.BadParameter("say what to do: --model, -C or --action", param_hint="--model")
    return change
