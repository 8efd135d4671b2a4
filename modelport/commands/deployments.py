"""The commands that ask for, change and use deployments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from modelport import output
from modelport.commands import arguments, rendering
from modelport.commands.arguments import DeploymentArgument, IfMatch, Timeout, Wait
from modelport.commands.session import Session, command
from modelport.commands.submitting import finish, until_ended
from modelport.errors import NotFound, raise_unless_succeeded
from modelport.exits import Exit

Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeatable.")]


Model = Annotated[str | None, typer.Option(metavar="URI", help="The model, as in models:/iris/3.")]
Flavor = Annotated[str | None, typer.Option(metavar="NAME", help="The model's flavor; default: the target's.")]
Config = Annotated[
    list[str] | None,
    typer.Option("-C", "--config", metavar="KEY=VALUE", help="Config of every variant; a.b=1 goes inside a."),
]
ConfigFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Config as a YAML, JSON or TOML file; -C is laid over it.")
]
Variants = Annotated[
    list[str] | None,
    typer.Option("--variant", metavar="NAME=URI", help="Instead of --model; repeatable."),
]
Traffic = Annotated[str | None, typer.Option(metavar="A=80,B=20", help="Whole percent by variant; sums to 100.")]
Deadline = Annotated[
    float | None, typer.Option(min=0, metavar="SECONDS", help="Time that it may take once it has started.")
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands of this module."""
    command(app, "deploy")(deploy)
    command(app, "update")(update)
    command(app, "status")(status)
    command(app, "ls")(ls)
    command(app, "show")(show)
    command(app, "predict")(predict)
    command(app, "logs")(logs)
    command(app, "traffic")(traffic)
    command(app, "rollback")(rollback)
    command(app, "reconcile")(reconcile)
    command(app, "adopt")(adopt)
    command(app, "history")(history)
    command(app, "rm")(rm)


def deploy(
    session: Session,
    deployment: DeploymentArgument,
    model: Model = None,
    flavor: Flavor = None,
    config: Config = None,
    config_file: ConfigFile = None,
    variant: Variants = None,
    traffic: Traffic = None,
    label: Labels = None,
    deadline: Deadline = None,
    if_match: IfMatch = None,
    wait: Wait = True,
    timeout: Timeout = None,
) -> None:
    """Create the deployment, or change it to this; if it is so already, nothing happens."""
    where = arguments.address(deployment)
    body = _specification(model, flavor, arguments.config(config_file, config or ()), variant, traffic)
    if not {"model_uri", "variants"} & body.keys():
        raise typer.BadParameter("say what to deploy: --model URI, or --variant NAME=URI", param_hint="--model")
    if label:
        body["labels"] = arguments.pairs(label, "--label")
    submitted = session.client.apply(*where, if_match=if_match, deadline_seconds=deadline, **body)
    finish(session, submitted, wait=wait, timeout=timeout)


def update(
    session: Session,
    deployment: DeploymentArgument,
    model: Model = None,
    flavor: Flavor = None,
    config: Config = None,
    config_file: ConfigFile = None,
    variant: Variants = None,
    traffic: Traffic = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A label; KEY= removes it; repeatable. Others stay."),
    ] = None,
    deadline: Deadline = None,
    if_match: IfMatch = None,
    wait: Wait = True,
    timeout: Timeout = None,
) -> None:
    """Change only what is given, and keep the rest; -C key=null removes a key."""
    where = arguments.address(deployment)
    body = _specification(model, flavor, arguments.config(config_file, config or ()), variant, traffic)
    if label:
        given = arguments.pairs(label, "--label")
        body["labels"] = {key: value or None for key, value in given.items()}
    if not body:
        raise typer.BadParameter("say what to change, as in --model, -C or --label", param_hint="--model")
    submitted = session.client.update(*where, if_match=if_match, deadline_seconds=deadline, **body)
    finish(session, submitted, wait=wait, timeout=timeout)


def status(
    session: Session,
    what: Annotated[str, typer.Argument(metavar="TARGET/NAME|OPERATION", help="A deployment or an operation's id.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until nothing is under way; exit 1 if that failed.")
    ] = False,
    timeout: Timeout = None,
) -> None:
    """How a deployment or an operation stands."""
    if arguments.OPERATION_ID.fullmatch(what):
        operation = until_ended(session, what, timeout) if wait else session.client.operation(what)
        if wait:
            raise_unless_succeeded(operation)
        rendering.operation_line(session, operation)
        return
    where = arguments.address(what)
    deployment = session.client.get(*where)
    ended = None
    while wait and deployment.operation is not None:
        ended = until_ended(session, deployment.operation, timeout)
        try:
            deployment = session.client.get(*where)
        except NotFound:
            if ended.kind != "delete":
                raise
            rendering.operation_line(session, ended)
            return
    if ended is not None:
        raise_unless_succeeded(ended)
    rendering.deployment_line(session, deployment)


def ls(
    session: Session,
    target: Annotated[str | None, typer.Option(metavar="NAME", help="Only on this target.")] = None,
    label: Labels = None,
    status: Annotated[
        str | None, typer.Option(metavar="WORD", help="Only creating, changing, deleting, serving...")
    ] = None,
) -> None:
    """List deployments."""
    labels = arguments.pairs(label or (), "--label")
    rendering.deployments(session, session.client.list(target=target, labels=labels, status=status))


def show(session: Session, deployment: DeploymentArgument) -> None:
    """All about one deployment."""
    rendering.deployment(session, session.client.get(*arguments.address(deployment)))


def predict(
    session: Session,
    deployment: DeploymentArgument,
    data: Annotated[
        str | None, typer.Option("-d", "--data", metavar="JSON|@FILE|-", help="The input; default: standard input.")
    ] = None,
    variant: Annotated[str | None, typer.Option(metavar="NAME", help="Ask this variant, not the split.")] = None,
    content_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Default: text/csv for a .csv file, else application/json.")
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Also tell who answered.")] = False,
) -> None:
    """Ask the model; prints its answer as it is."""
    where = arguments.address(deployment)
    content, guessed = arguments.body(data)
    answer = session.client.predict(*where, content, variant=variant, content_type=content_type or guessed)
    sys.stdout.flush()
    sys.stdout.buffer.write(answer.body if answer.body.endswith(b"\n") else answer.body + b"\n")
    sys.stdout.buffer.flush()
    if verbose:
        output.note(f"revision {answer.revision or 'unknown'}, variant {answer.variant or 'unknown'}")
    if not answer.ok:
        output.note(f"Error: the model behind {where} answered with HTTP status {answer.status}; its words are above.")
        raise typer.Exit(Exit.FAILED)


def logs(
    session: Session,
    deployment: DeploymentArgument,
    variant: Annotated[str | None, typer.Option(metavar="NAME", help="Of this variant only.")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, metavar="NUMBER", help="The last so many.")] = 100,
) -> None:
    """The last lines that the model's servers wrote."""
    text = session.client.logs(*arguments.address(deployment), variant=variant, lines=lines)
    if session.json:
        output.print_json(text)
        return
    for line in text.splitlines():
        output.say(line)


def traffic(
    session: Session,
    deployment: DeploymentArgument,
    split: Annotated[list[str], typer.Argument(metavar="A=80,B=20", help="Whole percent by variant; sums to 100.")],
    if_match: IfMatch = None,
    wait: Wait = True,
    timeout: Timeout = None,
) -> None:
    """Split the traffic anew among the variants."""
    where = arguments.address(deployment)
    wanted = arguments.traffic(split, "TRAFFIC")
    finish(session, session.client.traffic(*where, wanted, if_match=if_match), wait=wait, timeout=timeout)


def rollback(
    session: Session,
    deployment: DeploymentArgument,
    revision: Annotated[
        int | None, typer.Option("--revision", "--to", metavar="NUMBER", help="Default: what served before.")
    ] = None,
    if_match: IfMatch = None,
    wait: Wait = True,
    timeout: Timeout = None,
) -> None:
    """Go back to an earlier revision."""
    where = arguments.address(deployment)
    submitted = session.client.rollback(*where, revision=revision, if_match=if_match)
    finish(session, submitted, wait=wait, timeout=timeout)


def reconcile(session: Session, deployment: DeploymentArgument, wait: Wait = True, timeout: Timeout = None) -> None:
    """Bring the target back to the recorded revision after other hands changed it."""
    where = arguments.address(deployment)
    finish(session, session.client.reconcile(*where), wait=wait, timeout=timeout)


def adopt(
    session: Session,
    deployment: DeploymentArgument,
    label: Labels = None,
    wait: Wait = True,
    timeout: Timeout = None,
) -> None:
    """Take an existing deployment of the target under management; what serves is not touched."""
    where = arguments.address(deployment)
    labels = arguments.pairs(label or (), "--label")
    finish(session, session.client.adopt(*where, labels=labels), wait=wait, timeout=timeout)


def history(session: Session, deployment: DeploymentArgument) -> None:
    """List the revisions of a deployment."""
    where = arguments.address(deployment)
    rendering.revisions(session, session.client.revisions(*where))


def rm(
    session: Session,
    deployment: DeploymentArgument,
    cancel_pending: Annotated[
        bool, typer.Option("--cancel-pending", help="Cancel what is under way first, rather than wait for it.")
    ] = False,
    if_match: IfMatch = None,
    wait: Wait = True,
    timeout: Timeout = None,
) -> None:
    """Delete a deployment."""
    where = arguments.address(deployment)
    submitted = session.client.delete(*where, cancel_pending=cancel_pending, if_match=if_match)
    finish(session, submitted, wait=wait, timeout=timeout)


def _specification(
    model: str | None,
    flavor: str | None,
    config: dict[str, Any],
    variants: list[str] | None,
    traffic: str | None,
) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if variants and model:
        raise typer.BadParameter("give either --model or --variant", param_hint="--model")
    if variants:
        body["variants"] = [
            {"name": name, "model_uri": uri, **({"flavor": flavor} if flavor else {}), "config": config}
            for name, uri in arguments.pairs(variants, "--variant").items()
        ]
    else:
        short = {"model_uri": model, "flavor": flavor, "config": config or None}
        body |= {key: value for key, value in short.items() if value is not None}
    if traffic:
        body["traffic"] = arguments.traffic([traffic], "--traffic")
    return body
