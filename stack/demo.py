"""``make demo``: the main job, end to end, on a real model; every claim is checked, and a broken one ends it with 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from stack.up import CHECKOUT, Stack

DEPLOYMENT = "wine"
OPERATION_SECONDS = 120
SPLIT_PREDICTIONS = 200
SPLIT_TOLERANCE = 0.12  # four standard deviations of 200 draws at 80 %
PROJECTION_SECONDS = 15.0


class DemoFailed(RuntimeError):
    """Something that the demo promises did not hold."""


def run() -> int:
    """Run the demo, print what each step took, leave nothing behind. Returns the exit code."""
    for name in [name for name in os.environ if name.startswith(("MODELPORT_", "FLOWER_"))]:
        del os.environ[name]  # what the person has set up for a system of their own is not the demo's
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="modelport-demo-") as name:
        folder = Path(name)
        demo = Demo(console, folder)
        try:
            demo.run()
        except (DemoFailed, httpx.HTTPError) as reason:
            demo.explain(reason)
            return 1
        finally:
            demo.summary()
    console.print("[green]done[/]: everything that was started has been stopped. [bold]make up[/] keeps it running.")
    return 0


class Demo:
    """The steps, and what each of them took."""

    def __init__(self, console: Console, folder: Path) -> None:
        self._console = console
        self._tracking_uri = f"sqlite:///{folder / 'mlflow.db'}"
        self._folder = folder
        self._stack = Stack(folder / "modelport", env={"MLFLOW_TRACKING_URI": self._tracking_uri})
        self._steps: list[tuple[str, float, str]] = []

    def run(self) -> None:
        """All steps in order. Raises DemoFailed, ChildEnded, StackFailed or httpx.HTTPError."""
        with self._step("train two versions of a model and register them with MLflow") as say:
            trained = train(self._folder)
            first, second = trained["versions"]
            say(f"accuracy {first['accuracy']:.2f}, then {second['accuracy']:.2f}")
        with ExitStack() as running:
            with self._step("start broker, API, two worker nodes and Flower") as say:
                running.enter_context(self._stack)
                say(f"{self._stack.api_url}/docs  {self._stack.flower_url}")
            with connect(self._stack.api_url, self._stack.admin_key) as client:
                self._drive(client, first["uri"], second["uri"], {"dataframe_split": trained["rows"]})
            with self._step("stop everything"):
                running.close()

    def explain(self, reason: Exception) -> None:
        """Say what went wrong, and show the last words of every process."""
        self._console.print(f"[red]failed[/]: {reason}")
        for log in sorted(self._stack.logs.glob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-15:]
            self._console.print(f"[dim]--- {log.stem}[/]", *tail, sep="\n", markup=False)

    def summary(self) -> None:
        """What each step took."""
        table = Table("step", "seconds", "seen", title="modelport, from nothing to done", title_justify="left")
        table.columns[1].justify = "right"
        for name, seconds, seen in self._steps:
            table.add_row(name, f"{seconds:.1f}", seen)
        self._console.print(table)

    def _drive(self, client: httpx.Client, first: str, second: str, rows: dict[str, Any]) -> None:
        path = f"/v1/deployments/local/{DEPLOYMENT}"
        with self._step(f"deploy {first}") as say:
            body = {"target": "local", "name": DEPLOYMENT, "model_uri": first}
            say(f"operation {finish(client, client.post('/v1/deployments', json=body))['state']}")
        with self._step("predict") as say:
            before = predictions(client, path, rows)
            say(f"classes {before}")
        with self._step(f"update to {second} under load") as say:
            with Load(self._stack.api_url, path, rows, self._stack.admin_key) as load:
                updated = finish(client, client.patch(path, json={"model_uri": second}))
                load.some_more()
            after = predictions(client, path, rows)
            say(f"{load.answers} predictions, {len(load.failures)} failed; classes {after}")
            if load.failures:
                raise DemoFailed(f"{len(load.failures)} predictions failed, the first: {load.failures[0]}")
        with self._step("look the operation up in Flower") as say:
            row = flower_row(self._stack, updated["id"])
            say(f"{row['name']} {row['state']} in {row['runtime']:.1f} s on {row['worker']}")
        with self._step("split traffic 80/20 between two variants") as say:
            variants = [{"name": "stable", "model_uri": second}, {"name": "canary", "model_uri": first}]
            finish(client, client.put(path, json={"variants": variants, "traffic": {"stable": 80, "canary": 20}}))
            say(measured_split(client, path, rows, {"stable": 80, "canary": 20}))
        with self._step("delete") as say:
            finish(client, client.delete(path))
            gone = client.post(f"{path}/predict", json=rows)
            if gone.is_success:
                raise DemoFailed("the deployment still predicts after its deletion")
            say(f"operation succeeded; predicting answers {gone.status_code}")
        self._stack.check()

    @contextmanager
    def _step(self, name: str) -> Iterator[Any]:
        seen: list[str] = []
        started = time.monotonic()
        with self._console.status(f"{name} ..."):
            yield seen.append
        took = time.monotonic() - started
        self._steps.append((name, took, "".join(seen)))
        self._console.print(f"[green]✓[/] {name} [dim]({took:.1f} s)[/]  {''.join(seen)}")


class Load:
    """A client that predicts all the time, in a thread, and notes every prediction that failed."""

    def __init__(self, api_url: str, path: str, rows: dict[str, Any], key: str | None = None) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._api_url = api_url
        self._key = key
        self._path = f"{path}/predict"
        self._rows = rows
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._predict, daemon=True)

    def some_more(self, predictions: int = 20) -> None:
        """Block until so many more predictions have been answered: the new version has been under load as well."""
        enough = self.answers + predictions
        while self.answers < enough and not self.failures:
            time.sleep(0.01)

    def __enter__(self) -> Load:
        self._thread.start()
        self.some_more(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _predict(self) -> None:
        with connect(self._api_url, self._key) as client:
            while not self._stopping.is_set():
                try:
                    answer = client.post(self._path, json=self._rows)
                    if not answer.is_success:
                        self.failures.append(f"{answer.status_code} {answer.text[:300]}")
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                self.answers += 1


def connect(api_url: str, key: str | None = None) -> httpx.Client:
    """A client of this machine's API; proxies of the environment are not for it."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=api_url, timeout=OPERATION_SECONDS, trust_env=False, headers=headers)


def train(folder: Path) -> dict[str, Any]:
    """The two versions and a sample of the data. Blocks for some seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "stack.training", str(folder)], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoFailed(f"training failed:\n{done.stderr[-2000:]}")
    trained: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return trained


def finish(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """Wait for the operation that was answered, and return it. Raises DemoFailed unless it succeeded."""
    if answer.status_code != 202:
        raise DemoFailed(f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text}")
    deadline = time.monotonic() + OPERATION_SECONDS
    operation: dict[str, Any] = answer.json()
    while not operation["final"]:
        if time.monotonic() > deadline:
            raise DemoFailed(f"operation {operation['id']} is still {operation['state']}: {operation['message']}")
        headers = {"Prefer": "wait=30"}
        operation = client.get(f"/v1/operations/{operation['id']}", headers=headers).raise_for_status().json()
    if operation["state"] != "succeeded":
        raise DemoFailed(f"{operation['kind']} {operation['state']}: {operation['error']}")
    return operation


def predictions(client: httpx.Client, path: str, rows: dict[str, Any]) -> list[Any]:
    """What the deployment predicts for the rows."""
    answer = client.post(f"{path}/predict", json=rows)
    if not answer.is_success:
        raise DemoFailed(f"predicting answered {answer.status_code}: {answer.text[:500]}")
    predicted: list[Any] = answer.json()["predictions"]
    return predicted


def measured_split(client: httpx.Client, path: str, rows: dict[str, Any], asked: dict[str, int]) -> str:
    """How many of many predictions each variant answered. Raises DemoFailed if that is far from what was asked for."""
    seen: Counter[str] = Counter()
    for _ in range(SPLIT_PREDICTIONS):
        answer = client.post(f"{path}/predict", json=rows).raise_for_status()
        seen[answer.headers.get("Modelport-Variant", "unknown")] += 1
    text = ", ".join(f"{name} {seen[name]} of {SPLIT_PREDICTIONS}" for name in asked)
    if any(abs(seen[name] / SPLIT_PREDICTIONS - percent / 100) > SPLIT_TOLERANCE for name, percent in asked.items()):
        raise DemoFailed(f"asked for {asked}, measured {dict(seen)}")
    return text


def flower_row(stack: Stack, operation: str) -> dict[str, Any]:
    """The operation's row as Flower's own API gives it, once it has ended there too."""
    url = f"{stack.flower_url}/api/task/info/{operation}"
    deadline = time.monotonic() + PROJECTION_SECONDS
    while True:
        answer = httpx.get(url, auth=stack.flower_auth, trust_env=False)
        row: dict[str, Any] = answer.json() if answer.is_success else {}
        if row.get("state") == "SUCCESS" and row.get("runtime") is not None:
            return row
        if time.monotonic() > deadline:
            raise DemoFailed(f"Flower's row of operation {operation}: {answer.status_code} {answer.text[:500]}")
        time.sleep(0.1)
