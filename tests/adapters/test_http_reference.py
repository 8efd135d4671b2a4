"""The reference implementation of the in-house contract: it passes the suite, and every call is in the document."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.contract import Permanent, Place, Spec, Variant
from tests.adapters import http_contract
from tests.adapters.conformance import Conformance
from tests.adapters.harness import Count, change, drive, eventually, new_name
from tests.adapters.test_http import HttpHarness
from tests.fakes.redirecting import redirecting

FILE = Path(__file__).parents[2] / "examples/inhouse_platform.py"
LOOKS = 5  # a change is shown as under way so often
SECRET = "s3cr3t-token"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("inhouse_platform", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


reference = load()


class Slow(reference.Servers):  # type: ignore[misc, name-defined]
    """Takes so many looks for every change, and counts what it was asked to do."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.begun = 0

    def begin(self, operation: dict[str, Any], variants: list[dict[str, Any]]) -> None:
        self.begun += 1

    def outcome(self, operation: dict[str, Any], variants: list[dict[str, Any]]) -> str | None:
        self.asked[operation["id"]] += 1
        return None if self.asked[operation["id"]] < LOOKS else super().outcome(operation, variants)


class Watched(reference.Handler):  # type: ignore[misc, name-defined]
    """Holds every call against the document; drops answers to writes when it is told to."""

    broken: list[str]
    calls: Counter[str]
    dropping: list[bool]

    def route(self, body: bytes) -> Any:
        self.calls[self.command] += 1
        self.broken += http_contract.broken_by_request(self.command, self.path, self.headers, body)
        return super().route(body)

    def reply(self, status: int, body: Any, there: Any = None, variant: str | None = None) -> None:
        if self.dropping and self.command in ("PUT", "DELETE"):
            self.close_connection = True
            self.wfile = _Nowhere()
            return
        super().reply(status, body, there, variant)

    def send_response(self, status: int, message: str | None = None) -> None:
        self.sent: dict[str, str] = {}
        self.status = status
        super().send_response(status, message)

    def send_header(self, name: str, value: str) -> None:
        self.sent[name] = value
        super().send_header(name, value)

    def end_headers(self) -> None:
        super().end_headers()
        self.wfile = _Tee(self.wfile, self)

    def log_message(self, *_: object) -> None:
        pass


class _Nowhere:
    closed = False

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def write(self, content: bytes) -> int:
        return len(content)


class _Tee:
    """Sees the one write of a body, and is the file itself again after it."""

    def __init__(self, file: Any, handler: Any) -> None:
        self.file, self.handler = file, handler

    def write(self, content: bytes) -> int:
        handler = self.handler
        handler.wfile = self.file
        told = http_contract.broken_by_answer(handler.command, handler.path, handler.status, handler.sent, content)
        handler.broken += told
        return int(self.file.write(content))

    def flush(self) -> None:
        self.file.flush()


class Served:
    """The reference implementation in a thread."""

    def __init__(self, token: str | None = None) -> None:
        self.servers = Slow()
        state = {"broken": [], "calls": Counter(), "dropping": []}
        self.handler = type("Handler", (Watched,), state)
        self.broken, self.calls, self.dropping = state.values()
        self.server = reference.server(self.servers, token=token, handler=self.handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Served:
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.client = httpx.Client(base_url=self.url, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def state(self) -> Any:
        return self.server.RequestHandlerClass.platform

    def shown(self, name: str) -> dict[str, Any] | None:
        with self.state.lock:
            there = self.state.find(name)
            return dict(there.shown) if there else None


class ReferenceHarness(HttpHarness):
    """The reference implementation in the place of the fake platform."""

    def __init__(self, served: Served, **place: Any) -> None:
        super().__init__(served, **place)  # type: ignore[arg-type]  # it has a url too
        self.served = served

    def count(self) -> Count:
        calls = self.served.calls
        return Count(sum(calls.values()), calls["PUT"] + calls["DELETE"], self.served.servers.begun)

    def occupy(self, name: str) -> Any:
        body = {
            "owner": {"installation": "another", "uid": "x"},
            "content": "theirs",
            "variants": [{"name": "main", "model_uri": "models:/theirs/1"}],
            "traffic": {"main": 100},
        }
        headers = {"Modelport-Fence": "0", "Idempotency-Key": "theirs"}
        self.served.client.put(f"/deployments/{name}", json=body, headers=headers).raise_for_status()
        return eventually(lambda: self.occupant(name), lambda there: there["status"] == "serving")

    def occupant(self, name: str) -> Any:
        return self.served.shown(name)

    @contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.served.dropping.append(True)
        try:
            yield
        finally:
            self.served.dropping.clear()


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with Served() as served:
        yield served


@pytest.fixture
def harness(running: Served) -> Iterator[ReferenceHarness]:
    running.state.__init__(running.servers)
    harness = ReferenceHarness(running)
    yield harness
    harness.close()
    assert running.broken == []


class TestConformance(Conformance):
    pass


def test_it_is_short_enough_to_be_read() -> None:
    assert len(FILE.read_text().splitlines()) < 200


def test_the_document_is_valid() -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="no validator of OpenAPI is installed")
    validator.validate(http_contract.document())


def test_the_document_has_every_call_and_header_of_the_adapter(harness: ReferenceHarness) -> None:
    name = new_name()
    ended = drive(harness, harness.open().plan(change(name, None, harness.split(50, 50))))
    assert ended.progress is not None
    route = ended.progress.route
    assert route is not None
    assert harness.answering(route, "a") == "models:/a/1"
    assert list(harness.open().observe_all())
    called = set(harness.served.calls)
    assert called >= {"PUT", "GET", "POST"}


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("PUT", "/deployments/x", b"{", 400),
        ("PUT", "/deployments/x", b"[]", 400),
        ("PUT", "/deployments/x", b'{"owner": {}, "content": "", "variants": [], "traffic": {"a": 90}}', 400),
        ("GET", "/deployments/nobody", b"", 404),
        ("GET", "/operations/none", b"", 404),
        ("POST", "/deployments/nobody/invocations", b"{}", 404),
        ("GET", "/elsewhere", b"", 404),
    ],
)
def test_what_is_wrong_is_refused_in_the_contracts_form(method: str, path: str, body: bytes, told: int) -> None:
    with Served() as served:
        answer = served.client.request(method, path, content=body)
        assert answer.status_code == told
        assert set(answer.json()) == {"code", "message"}
        answered = [each for each in served.broken if "is missing" not in each and "is not in the contract" not in each]
        assert [each for each in answered if f": {told}" in each] == []


def test_a_bearer_token_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_TOKEN", SECRET)
    with Served(token=SECRET) as served:
        assert served.client.get("/deployments").status_code == 401
        harness = ReferenceHarness(served, credentials="env:PLATFORM_TOKEN")
        assert harness.open().check().startswith(served.url)
        harness.close()


def test_what_nobody_made_can_be_adopted(harness: ReferenceHarness) -> None:
    from dataclasses import replace

    name = new_name()
    shown = {
        "name": name, "owner": None, "content": "wild", "labels": {}, "operation": None, "status": "serving",
        "etag": '"1"', "variants": [{"name": "main", "model_uri": "models:/w/1", "flavor": None, "replicas": 2,
        "platform": {}}], "traffic": {"main": 100},
    }  # fmt: skip
    harness.served.state.deployments[name] = reference.Deployment(shown)
    spec = next(each.spec for each in harness.open().observe_all() if each.name == name)
    assert spec is not None
    handle = harness.open().plan(replace(change(name, None, spec), adopt=True))
    ended = drive(harness, handle).progress
    assert ended is not None
    assert ended.outcome == "done"
    found = next(each for each in harness.open().observe_all() if each.name == name)
    assert (found.uid, found.content) == (f"uid-{name}", handle["content"])
    assert harness.served.servers.begun == harness.count().effects


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed_and_nobody_else_is_called(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from adapters.contract import Request, Unreachable
    from adapters.http.adapter import open_adapter
    from adapters.http.invoke import invoke

    monkeypatch.setenv("PLATFORM_TOKEN", SECRET)
    with redirecting("http://127.0.0.1:1/", 307) as (elsewhere, stolen), redirecting(elsewhere, status) as (url, asked):
        place = Place("inhouse", url, "test", "", {}, "env:PLATFORM_TOKEN", 5.0)
        adapter = open_adapter(place)
        spec = Spec((Variant("main", "models:/a/1"),), {"main": 100})
        handle = adapter.plan(change("iris", None, spec))
        with pytest.raises(Permanent, match="which is not followed; register the address that answers"):
            adapter.look_many({"one": handle})
        with pytest.raises(Permanent, match="which is not followed"):
            adapter.check()
        with pytest.raises(Unreachable, match="redirects predictions, which is not followed"):
            invoke(place, {"name": "iris"}, Request(b"{}", "application/json"), 5.0)
        adapter.close()
        assert len(asked) == 3
        assert stolen == []


def test_an_operation_is_only_asked_for_below_the_registered_address() -> None:
    """A Location elsewhere gets no call, so that no platform can make a worker call somebody else."""
    from adapters.http.platform import Platform

    platform = Platform(Place("inhouse", "https://platform.example.com/base", "test", ""))
    assert platform._location("/base/operations/1") == "/operations/1"
    assert platform._location("https://platform.example.com/base/operations/1") == "/operations/1"
    for elsewhere in (
        "https://other.example.com/x",
        "//other.example.com/x",
        "/other",
        "https://platform.example.com/baseX/1",
    ):
        assert platform._location(elsewhere) is None
    platform.close()


def test_its_answers_are_json() -> None:
    with Served() as served:
        answer = served.client.get("/deployments")
        assert json.loads(answer.content) == {"deployments": [], "next_page_token": None}
