"""Secrets planted everywhere, with a key on every request: none is found in what is stored, said, shown or exported.

And what else may be sent to a worker over the broker does nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from celery import Celery
from kombu import Exchange, Queue

from operations.queue import ADVANCE
from operations.states import Lane
from stack.demo import connect, finish
from tests.fakes.platform import Platform
from tests.stack.parts import FLOWER_AUTH, Parts
from tests.stack.waiting import until

pytestmark = pytest.mark.stack

CREDENTIALS = "planted-credentials-of-the-platform"
IN_CONFIG = "planted-in-config-0123456789"
IN_URI = "planted-in-a-uri-0123456789"
IN_BODY = "planted-in-a-broken-body"


class Monitor(threading.Thread):
    """Everything that is said to the broker while it runs."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.said: list[str] = []
        self._client = redis.from_url(url)
        self.began = threading.Event()

    def run(self) -> None:
        try:
            with self._client.monitor() as monitor:
                self.began.set()
                for command in monitor.listen():
                    self.said.append(json.dumps(command, default=str))
        except (redis.ConnectionError, ValueError):
            return

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Parts, Platform, Path]]:
    folder = tmp_path_factory.mktemp("planted")
    key_file = tmp_path_factory.mktemp("key") / "admin.key"
    env = {"PLATFORM": CREDENTIALS, "MODELPORT_ANONYMOUS_ROLE": "", "MODELPORT_FIRST_KEY_FILE": str(key_file)}
    with Platform(seconds=0.2, token=CREDENTIALS) as platform, Parts(folder, env=env, flower=True) as parts:
        yield parts, platform, key_file


@pytest.mark.timeout(200)
def test_no_planted_secret_is_found_anywhere(planted: tuple[Parts, Platform, Path]) -> None:
    parts, platform, key_file = planted
    key = key_file.read_text().strip()
    monitor = Monitor(parts.redis.client_url)
    monitor.start()
    assert monitor.began.wait(10)
    answers: list[str] = []

    def note(answer: httpx.Response) -> httpx.Response:
        answer.read()
        answers.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return answer

    with connect(parts.api_url, key) as api:
        api.event_hooks = {"response": [note]}
        target = {"uri": platform.url, "credentials": "env:PLATFORM"}
        api.put("/v1/targets/platform", json=target).raise_for_status()
        path = "/v1/deployments/platform/iris"
        body: dict[str, Any] = {"model_uri": "models:/iris/1"}
        assert finish(api, api.put(path, json=body))["state"] == "succeeded"
        assert api.post(f"{path}/predict", json={"inputs": [[1.0]]}).status_code == 200
        # the platform repeats the credentials that it refuses
        platform.faults({"kind": "denied", "verb": "PUT", "name": "refused"})
        refused = api.put("/v1/deployments/platform/refused", json=body, headers={"Prefer": "wait=60"}).json()
        assert refused["state"] == "failed", refused
        for wrong in (
            {**body, "config": {"platform": {"password": IN_CONFIG}}},
            {"model_uri": f"s3://user:{IN_URI}@bucket/x"},
        ):
            assert api.put("/v1/deployments/platform/wrong", json=wrong).status_code == 422
        assert api.put("/v1/targets/other", json={"uri": f"http://user:{IN_URI}@host"}).status_code == 422
        headers = {"Content-Type": "application/json"}
        assert api.put(path, content=f'{{"config": "{IN_BODY}"', headers=headers).status_code == 400
        assert api.get("/v1/me", headers={"Authorization": f"Bearer {key[:-1]}"}).status_code == 401
        made = api.post("/v1/keys", json={"name": "ci", "grants": [{"role": "viewer"}]})
        second = made.json()["key"]
        answers.pop()  # the one answer that has a secret, to the one who asked for it
        finish(api, api.delete(path))
        api.get("/v1/operations")
        api.get("/v1/keys")
        assert api.post("/v1/audit/verify").json()["ok"]
        exported = api.get("/v1/audit", params={"page_size": 1000}).text
    until(lambda: refused["id"] in flower(parts), seconds=30)
    monitor.close()
    seen = {"the broker": "\n".join(monitor.said), "answers": "\n".join(answers), "the audit": exported}
    seen["Flower"] = flower(parts)
    assert "modelport.advance" in seen["the broker"]
    assert '"refused"' in exported
    secrets = (CREDENTIALS, IN_CONFIG, IN_URI, IN_BODY, key.rpartition("_")[2], second.rpartition("_")[2])
    for secret in secrets:
        assert [place for place, text in seen.items() if secret in text] == []
        assert [str(file) for file in files(parts) if secret.encode() in file.read_bytes()] == []


@pytest.mark.timeout(100)
def test_a_message_can_name_work_and_nothing_else(planted: tuple[Parts, Platform, Path], tmp_path: Path) -> None:
    parts, platform, key_file = planted
    witness = tmp_path / "witness"
    app = Celery("stranger", broker=parts.redis.url)
    lane = Lane.LOOK.value
    place = Queue(lane, Exchange(lane), routing_key=lane)
    with app.producer_pool.acquire(block=True) as producer:

        def send(body: Any, serializer: str = "json", **headers: Any) -> None:
            known = {
                "lang": "py",
                "task": ADVANCE,
                "id": "x",
                "root_id": "x",
                "parent_id": None,
                "argsrepr": "",
                **headers,
            }
            producer.publish(
                body, exchange=place.exchange, routing_key=lane, serializer=serializer, headers=known, declare=[place],
                correlation_id="x",
            )  # fmt: skip

        options: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        # pickled: would run when it is read
        send((Bomb(str(witness)), {}, options), serializer="pickle")
        for task in ("os.system", "celery.backend_cleanup", "worker.tasks.close", "subprocess.run"):
            send(([f"touch {witness}"], {}, options), task=task)
        for arguments in ([f"touch {witness}"], [["poll"]], [{"__class__": "os.system"}], [], ["poll", "poll"], [None]):
            send((arguments, {}, options))
        send((["poll"], {"lane": "poll"}, options))
        send("no task's body at all")
    with connect(parts.api_url, key_file.read_text().strip()) as api:
        target = {"uri": platform.url, "credentials": "env:PLATFORM"}
        api.put("/v1/targets/platform", json=target).raise_for_status()
        path = "/v1/deployments/platform/afterwards"
        assert finish(api, api.put(path, json={"model_uri": "models:/iris/1"}))["state"] == "succeeded"
    assert not witness.exists()
    assert parts.running("look")
    app.close()


class Bomb:
    """What unpickling it does is what a broker must not be able to do."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.mkdir, (self._path,)


def flower(parts: Parts) -> str:
    return httpx.get(f"{parts.flower_url}/api/tasks", auth=FLOWER_AUTH, timeout=30.0, trust_env=False).text


def files(parts: Parts) -> list[Path]:
    """The database with its log, the processes' logs, Flower's file."""
    found = [path for path in Path(parts.folder).rglob("*") if path.is_file()]
    assert any(path.name.startswith("modelport.db") for path in found)
    assert any(path.suffix == ".log" for path in found)
    return found
