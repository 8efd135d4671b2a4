"""Which plugins become targets, under which names, and what a bridged target says about itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters import registry
from adapters.bridge import installed
from adapters.bridge.asking import help_holder
from adapters.bridge.describe import BridgeConfig, BridgeSettings
from adapters.contract import Denied, Place
from tests.adapters.bridge_target import end_holder
from tests.fakes import bridge
from tests.models import REPOSITORY

HERE = socket.gethostname()


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path) -> Iterator[Path]:
    with bridge.installed_in(tmp_path):
        yield tmp_path


def test_a_free_name_is_bridged_and_ours_comes_first() -> None:
    assert registry.describe("shelf:/corner").title == "MLflow's plugin shelf (purpose-made 1.0)"
    assert registry.describe("sagemaker:/eu-west-1").title == registry.describe("sagemaker").title
    assert "mlflow" not in registry.describe("databricks").title.lower()
    assert registry.describe("mlflow+sagemaker:/eu-west-1").title == "MLflow's plugin sagemaker (MLflow itself)"
    assert registry.describe("mlflow+databricks").scheme == "mlflow+databricks"
    assert registry.describe("mlflow+shelf").scheme == "mlflow+shelf"


def test_what_is_taken_is_listed_with_its_prefix_and_the_service_itself_not_at_all() -> None:
    schemes = registry.schemes()
    assert {"shelf", "narrow", "openai", "sagemaker", "mlflow+sagemaker", "mlflow+databricks"} <= set(schemes)
    assert "mlflow+shelf" not in schemes
    assert not any("modelport" in scheme for scheme in schemes)
    for uri in ("modelport://here", "mlflow+modelport://here", "mlflow+local", "mlflow+nothing"):
        with pytest.raises(registry.UnknownScheme):
            registry.describe(uri)


def test_a_bridged_target_belongs_to_a_machine() -> None:
    assert registry.requirement("shelf") == f"mlflow+shelf@{HERE}"
    assert registry.requirement("mlflow+shelf:/corner") == f"mlflow+shelf@{HERE}"
    assert registry.requirement("shelf://h:80#host=gpu-7") == "mlflow+shelf@gpu-7"
    assert registry.requirement("shelf#host=gpu-7") == "mlflow+shelf@gpu-7"
    assert registry.requirement("sagemaker:/eu-west-1") == "sagemaker"
    offered = registry.offered()
    assert offered[f"mlflow+shelf@{HERE}"] is None
    assert offered[f"mlflow+sagemaker@{HERE}"] is None


def test_the_plugin_is_given_its_own_uri() -> None:
    assert installed.plugin_uri("mlflow+sagemaker:/eu-west-1/arn:aws:iam::1:role/x") == (
        "sagemaker:/eu-west-1/arn:aws:iam::1:role/x"
    )
    assert installed.plugin_uri("shelf://h:80#host=gpu-7") == "shelf://h:80"


def test_neither_the_api_nor_a_worker_imports_mlflow_or_a_plugin_for_a_bridged_target() -> None:
    code = """
import sys
from adapters import registry
from adapters.contract import Place
registry.offered(), registry.requirement("shelf"), registry.describe("shelf"), registry.invoker("shelf")
registry.open_adapter(Place("here", "shelf", "test", "/nowhere"))
print(sorted({name.split(".")[0] for name in sys.modules} & {"mlflow", "pandas", "numpy", "shelf_plugin"}))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ["PYTHONPATH"]])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_config_takes_any_keys_and_keeps_them() -> None:
    document = {
        "size": 1,
        "deep": {"er": [1, None, "x"]},
        "model_dump": "a",
        "copy": True,
        "_under": 0.5,
        "model-id": 3,
    }
    assert BridgeConfig.model_validate(document).model_dump(mode="json", exclude_unset=True) == document
    with pytest.raises(ValidationError):
        BridgeConfig.model_validate({"size": float("nan")})
    with pytest.raises(ValidationError):
        BridgeConfig.model_validate({"size": object()})


def test_settings_are_checked() -> None:
    for settings in ({"enviroment": {}}, {"environment": {"NOT A NAME": "1"}}, {"credential_variable": "1"}):
        with pytest.raises(ValidationError):
            BridgeSettings.model_validate(settings)


def test_the_documentation_lists_the_settings() -> None:
    docs = (REPOSITORY / "docs" / "targets" / "mlflow-plugins.md").read_text()
    for name, info in BridgeSettings.model_fields.items():
        default = f"`{info.default}`" if info.default not in (None, {}) else ""
        assert f"| `{name}` | {default} | {info.description} |" in docs


def test_credentials_need_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "s3cr3t")
    adapter = registry.open_adapter(Place("here", "shelf", "test", "/nowhere", credentials="env:PLANTED"))
    with pytest.raises(Denied, match="credential_variable"):
        adapter.check()


def test_the_help_is_the_plugins_words_and_then_the_settings() -> None:
    try:
        words = registry.describe("shelf").help()
        assert "takes the config keys size and colour" in words
        assert "calls_at_once: int (default 16)" in words
        assert registry.describe("mlflow+shelf").help().endswith(words.partition("\n\n")[2])
    finally:
        end_holder(help_holder("shelf"))


@pytest.mark.parametrize(
    ("plugin", "words"), [("narrow", "The plugin gives no help."), ("nameless", "cannot be had here: no help today")]
)
def test_a_plugin_without_help(plugin: str, words: str) -> None:
    try:
        assert words in registry.describe(plugin).help()
    finally:
        end_holder(help_holder(plugin))


def test_run_local_and_help_are_passed_through() -> None:
    def run(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "adapters.bridge", *arguments],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    local = ("--name", "iris", "--model-uri", "models:/a/1")
    assert run("help", "mlflow+shelf:/corner").startswith("The shelf takes the config keys")
    assert run("run-local", "shelf", *local, "-C", "size=3", "-C", "colour=red") == (
        "runs iris of models:/a/1 here with None and {'size': 3, 'colour': 'red'}\n"
    )
    assert run("run-local", "narrow:/x", *local, "--flavor", "sklearn") == "runs iris of models:/a/1 on narrow\n"
