"""The Python that loads models, and the little that it may know of our environment."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from adapters.contract import Permanent, Temporary
from adapters.local.describe import LocalSettings

HERE = Path(__file__).parent

# What a process needs to run, load libraries and speak TLS. None of it is a secret. MLflow's own variables follow, and
# they may hold a tracking server's token: who may deploy a model may run code with it.
PASSED = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
)


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it wrote."""

    returncode: int
    stdout: str
    stderr: str

    def last_words(self) -> str:
        """The last line on stderr, where Python puts the reason."""
        return next((line for line in reversed(self.stderr.splitlines()) if line.strip()), "it gave no reason")


@dataclass(frozen=True)
class Interpreter:
    """Runs the stand-alone modules of this package as processes of their own."""

    settings: LocalSettings

    def run(self, script: str, *arguments: str, timeout: float, stdin: str = "") -> Ran:
        """Run to its end. Blocks for at most ``timeout`` seconds, then kills it and raises Temporary."""
        try:
            ended = subprocess.run(
                self.command(script, *arguments),
                env=self.environment() | _impatient(timeout),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Temporary(f"MLflow gave no answer within {timeout:g} s") from error
        except OSError as error:
            raise self.missing(error) from error
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    def command(self, script: str, *arguments: str) -> list[str]:
        """``-P``: the script's folder stays off the module path, where our names would hide the model's."""
        return [self.settings.python or sys.executable, "-P", str(HERE / script), *arguments]

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """Nothing of ours but what is named here, and ``extra``, which is the variant's own."""
        names = (*PASSED, *self.settings.pass_environment)
        passed = {name: os.environ[name] for name in names if name in os.environ}
        passed |= {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
        passed["PATH"] = os.pathsep.join(
            [str(Path(self.settings.python or sys.executable).parent), passed.get("PATH", os.defpath)]
        )
        passed |= {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONUNBUFFERED": "1"}
        if self.settings.tracking_uri:
            passed["MLFLOW_TRACKING_URI"] = self.settings.tracking_uri
        if self.settings.registry_uri:
            passed["MLFLOW_REGISTRY_URI"] = self.settings.registry_uri
        return passed | (extra or {})

    def missing(self, error: OSError) -> Permanent:
        """The error to raise when the interpreter itself does not start."""
        return Permanent(f"the interpreter {self.settings.python or sys.executable} does not start: {error.strerror}")


def _impatient(timeout: float) -> dict[str, str]:
    """MLflow would repeat a refused request for minutes; the engine repeats the step instead."""
    return {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, int(timeout / 2)))}
