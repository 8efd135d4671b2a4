"""How ``make`` finds a Python and fills ``.venv``, with stand-ins for the interpreters; and what ``make help`` says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USABLE = """#!/bin/sh
echo "$(basename "$0") $*" >> log
if [ "$1 $2" = "-m venv" ]; then mkdir -p .venv/bin && cp "$0" .venv/bin/python; fi
"""
BROKEN = "#!/bin/sh\nexit 127\n"

INSTALL = "python -m pip install --quiet --disable-pip-version-check -c constraints.txt"


class Checkout:
    """A folder with the Makefile, and a PATH with nothing of Python but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a checkout"
        self.binaries = folder / "bin"
        for made in (self.folder, self.binaries):
            made.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder)
        for tool in ("sh", "mkdir", "cp", "touch", "basename", "awk"):
            (self.binaries / tool).symlink_to(shutil.which(tool))

    def python(self, name: str, script: str) -> None:
        path = self.binaries / name
        path.write_text(script)
        path.chmod(0o755)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shutil.which("make"), *arguments],
            cwd=self.folder,
            env={"PATH": str(self.binaries)},
            capture_output=True,
            text=True,
            check=False,
        )

    def called(self) -> list[str]:
        log = self.folder / "log"
        return [line for line in log.read_text().splitlines() if " -c import" not in line] if log.exists() else []


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_every_target_has_a_line_of_help(checkout):
    lines = checkout.make().stdout.splitlines()
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert [line.split()[1] for line in lines] == phony


def test_the_first_interpreter_that_works_makes_the_environment(checkout):
    checkout.python("python3.13", BROKEN)
    checkout.python("python3.12", USABLE)
    checkout.python("python3", USABLE)
    assert checkout.make(".venv/installed").returncode == 0
    assert checkout.called() == [
        "python3.12 --version",
        "python3.12 -m venv --clear .venv",
        f"{INSTALL} -e .[dev]",
        f"{INSTALL} --no-deps mlflow-crusoe mlflow-triton-control",
    ]


def test_what_is_installed_is_not_installed_again_until_the_pins_change(checkout):
    checkout.python("python3", USABLE)
    checkout.make(".venv/installed")
    calls = len(checkout.called())
    checkout.make(".venv/installed")
    assert len(checkout.called()) == calls
    stamp = (checkout.folder / ".venv/installed").stat().st_mtime
    os.utime(checkout.folder / "constraints.txt", (stamp + 10, stamp + 10))
    checkout.make(".venv/installed")
    assert [call for call in checkout.called()[calls:] if "pip install" in call]
    assert not [call for call in checkout.called()[calls:] if "venv" in call.split()]


def test_a_named_interpreter_is_the_one_used(checkout):
    checkout.python("python3", USABLE)
    checkout.python("mine", USABLE)
    checkout.make("PYTHON=mine", ".venv/installed")
    assert "mine -m venv --clear .venv" in checkout.called()


def test_without_a_usable_interpreter_it_says_what_to_do(checkout):
    checkout.python("python3", BROKEN)
    done = checkout.make("demo")
    assert done.returncode != 0
    assert "apt install python3 python3-venv" in done.stderr
    assert not (checkout.folder / ".venv").exists()


def test_a_named_interpreter_that_does_not_do_is_refused_by_name(checkout):
    checkout.python("python3", USABLE)
    checkout.python("old", BROKEN)
    done = checkout.make("PYTHON=old", "demo")
    assert done.returncode != 0
    assert "error: old is no Python from 3.11 on" in done.stderr
