from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle

import psutil
import pytest

from stack.demo import DemoFailed, Load, connect, finish, measured_split
from stack.up import API_PORT, CHECKOUT, FLOWER_PORT
from tests.stack.waiting import until

PATH = "/v1/deployments/local/wine"


@contextmanager
def serving(answers):
    """A server that gives these answers (status, headers, JSON text), one after another, for ever."""
    turn = cycle(answers)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                status, headers, text = next(turn)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST  # noqa: N815  # the name is the base class's

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def operation(state, *, final):
    return json.dumps({"id": "1", "kind": "update", "state": state, "message": "", "error": None, "final": final})


def test_the_load_counts_every_prediction_that_failed():
    with serving([(200, {}, "{}"), (503, {}, "no")]) as url:
        with Load(url, PATH, {}) as load:
            until(lambda: load.failures)
        assert load.failures[0] == "503 no"


def test_the_load_counts_a_connection_that_breaks():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with Load(url, PATH, {}) as load:
        until(lambda: load.failures)
    assert "ConnectError" in load.failures[0]


def test_a_split_far_from_what_was_asked_for_fails_the_demo():
    both = [(200, {"Modelport-Variant": name}, "{}") for name in ("stable", "canary")]
    with serving(both) as url, connect(url) as client, pytest.raises(DemoFailed, match="asked for"):
        measured_split(client, PATH, {}, {"stable": 80, "canary": 20})


def test_a_split_as_asked_for_is_told_in_numbers():
    answers = [(200, {"Modelport-Variant": name}, "{}") for name in ["stable"] * 4 + ["canary"]]
    with serving(answers) as url, connect(url) as client:
        assert measured_split(client, PATH, {}, {"stable": 80, "canary": 20}) == "stable 160 of 200, canary 40 of 200"


def test_an_operation_that_failed_fails_the_demo():
    answers = [(202, {}, operation("queued", final=False)), (200, {}, operation("failed", final=True))]
    with serving(answers) as url, connect(url) as client, pytest.raises(DemoFailed, match="update failed"):
        finish(client, client.post("/v1/deployments"))


def test_a_request_that_is_refused_fails_the_demo_with_the_answer():
    refusal = [(409, {}, '{"title": "exists"}')]
    with serving(refusal) as url, connect(url) as client, pytest.raises(DemoFailed, match=r"409.*exists"):
        finish(client, client.post("/v1/deployments"))


@pytest.mark.stack
def test_the_demo_runs_beside_taken_ports_and_leaves_no_process(tmp_path):
    mark = str(tmp_path)
    with ExitStack() as held:
        for port in (API_PORT, FLOWER_PORT):
            holder = held.enter_context(socket.socket())
            try:
                holder.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody else holds it, which is as good
        done = subprocess.run(
            [sys.executable, "-m", "stack", "demo"],
            cwd=CHECKOUT,
            env={**os.environ, "TMPDIR": mark},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
    until(lambda: _marked(mark) == [])
    assert list(tmp_path.iterdir()) == []


def _marked(mark: str) -> list[psutil.Process]:
    """Every process that inherited the mark, detached ones as well."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found
