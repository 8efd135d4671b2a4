"""The wheel, built from this checkout and installed into an empty environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CHECK = """
import importlib, json, pkgutil, sys
import modelport
names = [each.name for each in pkgutil.walk_packages(modelport.__path__, "modelport.")]
for name in names:
    if not name.endswith((".mlflow_plugin", ".__main__")):
        importlib.import_module(name)
for name in modelport.__all__:
    getattr(modelport, name)
from importlib.metadata import entry_points
print(json.dumps({
    "modules": names,
    "loaded": sorted({name.partition(".")[0] for name in sys.modules if getattr(sys.modules[name], "__file__", None)}),
    "schemes": sorted(each.name for each in entry_points(group="mlflow.deployments")),
    "from": modelport.__file__,
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel; its build backend comes from where pip gets packages, or is there already."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT), cwd=folder)
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it requires, and nothing else.

    What it requires is linked from this environment, so that no network is needed.
    """
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False, symlinks=True)
    [site] = (folder / "lib").glob("python*/site-packages")
    for name in required("modelport"):
        for file in distribution(name).files or ():
            first = file.parts[0]
            if first != ".." and first != "__pycache__" and not (site / first).exists():
                (site / first).symlink_to(Path(str(distribution(name).locate_file(first))))
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet"]
    run(*pip, "install", "--no-deps", "--no-index", str(wheel), cwd=folder)
    return python


def test_the_wheel_holds_this_package_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"modelport", next(top for top in tops if top.endswith(".dist-info"))}
    assert "modelport/py.typed" in names
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "modelport").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == shipped


def test_in_an_empty_environment_it_imports_nothing_but_what_it_requires(python: Path, tmp_path: Path) -> None:
    found = json.loads(run(str(python), "-W", "error", "-c", CHECK, cwd=tmp_path))
    assert str(python.parents[1]) in found["from"]
    assert "modelport.mlflow_target.changes" in found["modules"]
    assert found["schemes"] == ["modelport", "modelport+https"]
    ours = {"adapters", "api", "mlflow", "operations", "stack", "tests", "worker", "pandas", "numpy", "sqlalchemy"}
    assert not ours & set(found["loaded"])


def test_its_command_runs(python: Path, tmp_path: Path) -> None:
    command = python.parent / "modelport"
    assert "Exit codes:" in run(str(command), "--help", cwd=tmp_path)
    assert re.fullmatch(r"modelport \d+\.\d+\.\d+\S*\n", run(str(command), "--version", cwd=tmp_path))
    assert run(str(command), "config", "ls", "--json", cwd=tmp_path)


def required(name: str) -> Iterator[str]:
    """The distributions that one requires here without any extra, and those that they require."""
    known: set[str] = set()
    waiting = [name]
    while waiting:
        for requirement in distribution(waiting.pop()).requires or ():
            wanted, _, marker = requirement.partition(";")
            found = re.match(r"[A-Za-z0-9._-]+", wanted)
            if found is None or "extra" in marker or found[0].lower() in known:
                continue
            try:
                distribution(found[0])
            except PackageNotFoundError:
                continue  # not for this interpreter or system
            known.add(found[0].lower())
            waiting.append(found[0])
            yield found[0]


def run(*command: str, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MODELPORT", "PYTHON"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
