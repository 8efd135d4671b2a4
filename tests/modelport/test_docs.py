"""The examples of docs/client.md and docs/mlflow.md do what they say, against a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import modelport.errors
from modelport.client import Client
from modelport.mlflow_target import help as help_text
from modelport.mlflow_target.address import address
from modelport.mlflow_target.config import CHANGE, DELETION
from tests.modelport.mlflow_process import PYTHON, environment
from tests.modelport.on_platform import *  # noqa: F403 - fixtures

DOCS = Path(__file__).parents[2] / "docs"
TEN_LINES = 11  # with the import


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_examples_of_the_client(url: str, client: Client, tmp_path: Path) -> None:
    first, second = blocks("client.md")
    assert len([line for line in first.splitlines() if line]) <= TEN_LINES
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{first}\n{second}"],
        env=environment({"MODELPORT_URL": url, "PYTHONPATH": str(DOCS.parent)}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert shown[0] == "['models:/iris/3']"
    assert "succeeded" in shown[-2]
    assert shown[-1] == "['iris', 'lily', 'rose']"
    kinds = [each.kind for each in client.operations(deployment="iris")]
    assert kinds == ["create", "delete", "rollback", "update", "create"]


def test_the_example_of_mlflow(target: str, client: Client, tmp_path: Path) -> None:
    [example] = blocks("mlflow.md")
    program = example.replace("modelport://models.internal:8000/prod", target)
    assert program != example
    done = subprocess.run(
        [PYTHON, "-c", program],
        env=environment({"PYTHONPATH": str(DOCS.parent)}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "models:/iris/4" in done.stdout
    assert [each.kind for each in client.operations()] == ["delete", "update", "create"]


def test_the_tree_of_errors_is_the_codes_own() -> None:
    [tree] = blocks("client.md", language="text")
    told = (modelport.errors.__doc__ or "").partition("::\n\n")[2].partition("\n\nPrograms")[0]
    assert tree.splitlines() == [line.removeprefix("    ") for line in told.splitlines()]
    raised = {
        name
        for name, kind in vars(modelport.errors).items()
        if isinstance(kind, type) and issubclass(kind, modelport.errors.ModelportError)
    }
    assert set(re.findall(r"(?:── |^)([A-Z]\w+)", tree, re.MULTILINE)) == raised
    assert raised <= set(modelport.__all__)


@pytest.mark.parametrize("key", sorted((CHANGE | DELETION) - {"synchronous"}))
def test_the_help_for_mlflow_names_every_key_of_ours(key: str) -> None:
    assert f"\n  {key}=" in help_text.TEXT


def test_every_target_uri_in_the_docs_is_one() -> None:
    page = (DOCS / "mlflow.md").read_text()
    for uri in re.findall(r"modelport(?:\+https)?:/[^\s\"`)]+", page):
        address(uri.replace("PORT", "8000"))
