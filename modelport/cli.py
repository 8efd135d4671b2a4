"""``modelport``, the command line. Each command is a function of ``modelport.commands``."""

from __future__ import annotations

from typing import Annotated

import typer

from modelport.commands import applying, audit, batches, config, deployments, keys, operations, redeploying, targets
from modelport.exits import MEANINGS

EXIT_CODES = "\n".join(["\b", "Exit codes:", *(f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items())])
ENVIRONMENT = """\b
Environment:
  MODELPORT_URL              the server's URL; --url and --profile go before it
  MODELPORT_API_KEY          the API key; --api-key goes before it
  MODELPORT_PROFILE          the profile where no URL is given
  MODELPORT_CONFIG           the file of the profiles (~/.config/modelport/config.toml)
  MODELPORT_TIMEOUT_SECONDS  how long one answer of the server may take (30)"""

app = typer.Typer(
    name="modelport",
    help="Deploy machine-learning models. You ask; the server answers at once and sees to it that it happens.",
    epilog=f"{EXIT_CODES}\n\n{ENVIRONMENT}",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
deployments.add_to(app)
applying.add_to(app)
redeploying.add_to(app)
app.add_typer(operations.group(), name="ops", help="Operations: what was asked for, and how it goes.")
app.add_typer(batches.group(), name="batch", help="Batches: many changes released together, and how they go.")
app.add_typer(targets.group(), name="targets", help="Targets: where models can be deployed.")
app.add_typer(keys.group(), name="keys", help="API keys: who may do what.")
app.add_typer(audit.group(), name="audit", help="The record of who changed what, and proof that it holds.")
app.add_typer(config.group(), name="config", help="Profiles: servers by name, with their keys.")


def main() -> None:
    """Run the command line and exit with its code."""
    app(prog_name="modelport")


def _print_version(asked: bool) -> None:
    if asked:
        from modelport.connection import version

        typer.echo(f"modelport {version()}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
