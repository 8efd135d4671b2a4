from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from modelport.cli import app
from modelport.exits import MEANINGS


def test_help_and_docs_list_every_exit_code() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    docs = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for code, meaning in MEANINGS.items():
        assert f"{code.value:<4} {meaning}" in shown
        assert f"| {code.value} | {meaning} |" in docs


def test_docs_name_every_command_and_option() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()

    def commands(prefix: str, found: Any) -> list[tuple[str, Any]]:
        nested = getattr(found, "commands", None)
        if nested is None:
            return [(prefix, found)]
        return [each for name, child in nested.items() for each in commands(f"{prefix} {name}", child)]

    for name, found in commands("modelport", typer.main.get_command(app)):
        assert f"`{name}" in docs, name
        for parameter in found.params:
            for option in parameter.opts:
                if option.startswith("--") and option not in {"--help"}:
                    assert option in docs, f"{name} {option}"
