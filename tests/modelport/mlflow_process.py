"""MLflow in a process of its own, as its users run it: commands and calls in, what came of them out, both as JSON.

As a program: reads ``{"uri", "commands": [[...]], "calls": [[method, arguments, named]]}`` and answers each in turn.
``MODELPORT_MLFLOW_PYTHON`` names the interpreter whose MLflow is used, by default this one's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).parents[2]
PYTHON = os.environ.get("MODELPORT_MLFLOW_PYTHON", sys.executable)
FRAME = "<frame>"


class Ran(NamedTuple):
    """What one command came to."""

    code: int
    output: str
    error: str


class Called(NamedTuple):
    """What one call came to: its value, or the exception's class, code and message; and the types of it all."""

    value: Any
    type: str
    error_code: str | None = None
    message: str | None = None


def commands(*argv: Sequence[str], env: Mapping[str, str] | None = None) -> list[Ran]:
    """``mlflow deployments`` with each of these, one after another."""
    return [Ran(*each) for each in _asked({"commands": argv}, env)["commands"]]


def calls(uri: str, *asked: tuple[Any, ...], env: Mapping[str, str] | None = None) -> list[Called]:
    """One client of this URI, and these of its methods: name, arguments, named arguments."""
    return [Called(*each) for each in _asked({"uri": uri, "calls": asked}, env)["calls"]]


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a process with MLflow is started with."""
    return {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", **(env or {})}


def _asked(document: Any, env: Mapping[str, str] | None) -> Any:
    ran = subprocess.run(
        [PYTHON, str(Path(__file__))],
        input=json.dumps(document),
        env=environment(env),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def _main() -> None:
    asked = json.load(sys.stdin)
    answers = {
        "commands": [_command(argv) for argv in asked.get("commands", ())],
        "calls": _calls(asked["uri"], asked["calls"]) if "uri" in asked else [],
    }
    print(json.dumps(answers, default=str))


def _command(argv: list[str]) -> tuple[int, str, str]:
    from click.testing import CliRunner
    from mlflow.deployments.cli import commands as group

    result = CliRunner().invoke(group, argv)
    error = result.exception
    return result.exit_code, result.output, "" if error is None else f"{type(error).__name__}: {error}"


def _calls(uri: str, asked: list[list[Any]]) -> list[tuple[Any, ...]]:
    from mlflow.deployments import get_deploy_client

    client = get_deploy_client(uri)
    return [_called(getattr(client, method), *arguments) for method, *arguments in asked]


def _called(method: Any, arguments: list[Any] | None = None, named: dict[str, Any] | None = None) -> tuple[Any, ...]:
    from mlflow.exceptions import MlflowException

    try:
        value = method(*map(_input, arguments or []), **{key: _input(inner) for key, inner in (named or {}).items()})
        if hasattr(value, "__next__"):
            value = list(value)
    except MlflowException as error:
        return None, type(error).__name__, error.error_code, error.message
    except Exception as error:
        return None, type(error).__name__, None, str(error)
    return value, type(value).__name__


def _input(value: Any) -> Any:
    """A data frame, where one is meant."""
    if isinstance(value, dict) and FRAME in value:
        import pandas as pd

        return pd.DataFrame(value[FRAME])
    return value


if __name__ == "__main__":
    _main()
