"""MLflow models on their way to S3: fixed to what their URIs name now, then packed by a process of its own.

Packing needs MLflow and may take longer than any step, so a step begins it and later looks find the object. The process
belongs to no worker: it goes on when its worker dies, and where it died itself, or with its machine, packing begins
again. An object is there whole or not at all, and its name says what it holds, so twice is the same as once.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from adapters.contract import JSON, Denied, Handle, Permanent, Place, Spec, Temporary, Variant
from adapters.sagemaker.calls import Calls
from adapters.sagemaker.files import LOCK, RESULT, STATE, fingerprint, read_json, write_json
from adapters.sagemaker.goals import Defaults, filled, goal_of, is_artefact
from adapters.sagemaker.naming import Owner

ROOT = Path(__file__).resolve().parents[2]
RESOLVE = ROOT / "adapters" / "local" / "resolve.py"
JOB, LOG = "job.json", "log"
ATTEMPTS = 3
CONTENT = "#content="


class Packing:
    """Packs models for one target. Everything on disk is below the installation's folder, by the model's name."""

    def __init__(self, place: Place, calls: Calls) -> None:
        self._place = place
        self._calls = calls
        self._settings = calls.account.settings
        self._folder = Path(place.folder) / "sagemaker-packing"

    def fix(self, spec: Spec, defaults: Defaults) -> Spec:
        """The specification with nothing left open. Raises Permanent or Denied, naming the variant, and Temporary."""
        spec = filled(spec, defaults)
        for variant in spec.variants:
            self._check_place(variant)
        goal_of(Owner("", "", "checked"), spec, defaults)
        known = {v.name: v.model_uri if is_artefact(v) else _fixed_path(v) for v in spec.variants}
        asked = {v.name: v.model_uri for v in spec.variants if known[v.name] is None}
        answers = self._ask(asked) if asked else {}
        fixed = (
            Variant(v.name, known[v.name] or _accepted(v, answers[v.name]), v.flavor, v.config) for v in spec.variants
        )
        return Spec(tuple(fixed), spec.traffic)

    def look(self, handle: Handle) -> JSON:
        """How each model that has to be packed stands: ``ready``, ``running``, ``absent``, or ``failed`` with words."""
        goal = handle["desired" if handle["toward"] == "forward" else "previous"] or {"models": {}}
        waiting = {name: each["pack"] for name, each in goal["models"].items() if name not in handle["made"]}
        return {name: self._state(name, pack, handle) for name, pack in waiting.items() if pack is not None}

    def start(self, model: str, pack: JSON) -> JSON:
        """Begin packing; returns where and when that was. Blocks until the process has recorded itself."""
        folder = self._folder / model
        folder.mkdir(parents=True, exist_ok=True)
        attempts = (read_json(folder / RESULT) or {}).get("attempts", 0)
        place = {name: getattr(self._place, name) for name in ("name", "uri", "installation", "folder", "credentials")}
        job = {**pack, "attempt": attempts + 1, "place": {**place, "settings": self._place.settings}}
        write_json(folder / JOB, job)
        ran = self._run([sys.executable, "-m", "adapters.sagemaker.package", str(folder)], log=folder / LOG)
        if ran.returncode != 0:
            raise Temporary(f"packing {pack['model_uri']} could not be started: {_last(folder / LOG)}")
        return {"host": socket.gethostname(), "at": time.time()}

    def stop(self, model: str) -> None:
        """End what packs this model on this machine, if anything does, and forget about it."""
        folder = self._folder / model
        state = read_json(folder / STATE)
        if state is not None and _locked(folder):
            with suppress(ProcessLookupError):
                os.killpg(state["pid"], signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)

    def _state(self, model: str, pack: JSON, handle: Handle) -> JSON:
        folder = self._folder / model
        if _locked(folder):
            return {"state": "running"}
        if self._calls.has_object(pack["url"]):
            return {"state": "ready"}
        result = read_json(folder / RESULT)
        if result is not None:
            final = result["kind"] != "temporary" or result["attempts"] >= ATTEMPTS
            return {"state": "failed", "words": f"{pack['model_uri']}: {result['words']}"} if final else _ABSENT
        began = handle["packing"].get(model)
        elsewhere = began is not None and began["host"] != socket.gethostname()
        if elsewhere and time.time() < began["at"] + self._settings.package_seconds:
            return {"state": "running"}
        return _ABSENT

    def _check_place(self, variant: Variant) -> None:
        address, said = self._calls.account.address, variant.config
        for key, own in (("region_name", address.region), ("assume_role_arn", address.role)):
            if said.get(key) not in (None, own):
                raise Permanent(
                    f"variant {variant.name}: {key} is {said[key]}, and target {self._place.name} has "
                    f"{own or 'none'}; leave it out, or register a target that has it"
                )

    def _ask(self, asked: dict[str, str]) -> dict[str, dict[str, str]]:
        ran = self._run([sys.executable, "-P", str(RESOLVE)], stdin=json.dumps(asked))
        if ran.returncode != 0:
            raise Temporary(f"MLflow could not be asked for {', '.join(asked.values())}: {_last_line(ran.stderr)}")
        answers: dict[str, dict[str, str]] = json.loads(ran.stdout)
        return answers

    def _run(self, command: list[str], stdin: str = "", log: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run to its end, for at most the call timeout. What it writes goes to the log, where there is one."""
        timeout = self._place.call_timeout_seconds
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONUNBUFFERED": "1"}
        # MLflow would repeat a refused request for minutes; the engine repeats the step instead
        environment |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "PYTHONPATH": str(ROOT)}
        if self._settings.tracking_uri:
            environment["MLFLOW_TRACKING_URI"] = self._settings.tracking_uri
        if self._settings.registry_uri:
            environment["MLFLOW_REGISTRY_URI"] = self._settings.registry_uri
        try:
            if log is None:
                return subprocess.run(
                    command, env=environment, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
                )
            with log.open("w") as written:
                return subprocess.run(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=written,
                    text=True,
                    timeout=timeout,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise Temporary(f"MLflow gave no answer within {timeout:g} s") from error


_ABSENT: JSON = {"state": "absent"}


def _fixed_path(variant: Variant) -> str | None:
    """None for a URI that is MLflow's to resolve. A path has no versions: it is fixed by what its files hold."""
    text, _, expected = variant.model_uri.partition(CONTENT)
    parts = urlsplit(text)
    if parts.scheme not in ("", "file"):
        return None
    path = Path(url2pathname(parts.path) if parts.scheme == "file" else text).expanduser().resolve()
    try:
        found = fingerprint(path)
    except OSError as error:
        raise Permanent(
            f"variant {variant.name}: {variant.model_uri} is no MLflow model on this machine: "
            f"{error.strerror} ({error.filename})"
        ) from error
    if expected and found != expected:
        raise Permanent(
            f"variant {variant.name}: the files of {text} are no longer those that the revision was made of; "
            "deploy the path itself again"
        )
    return f"{path}{CONTENT}{found}"


def _accepted(variant: Variant, answer: dict[str, str]) -> str:
    if "uri" in answer:
        return answer["uri"]
    error = {"permanent": Permanent, "denied": Denied}.get(answer["kind"], Temporary)
    raise error(f"variant {variant.name}: {variant.model_uri}: {answer['error']}")


def _locked(folder: Path) -> bool:
    """Whether a living process packs here."""
    try:
        with (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    return False


def _last(log: Path) -> str:
    return _last_line(log.read_text(errors="replace")) if log.exists() else "it gave no reason"


def _last_line(text: Any) -> str:
    return next((line for line in reversed(str(text).splitlines()) if line.strip()), "it gave no reason")
