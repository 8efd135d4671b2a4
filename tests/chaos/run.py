"""One run: operations go in through the API while faults are committed, and in the end everything is counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.faults import Faults
from tests.fakes.platform import Platform
from tests.stack.parts import Parts
from tests.stack.waiting import until

LEASE_SECONDS = 6.0
NODES = ("write", "write2", "look", "look2")
UNFINISHED = ("queued", "starting", "waiting", "undoing")


@dataclass
class Damage:
    """What went wrong. ``shown`` are the wrong ends that the deployment's observed status tells, and ``failed`` the
    operations that say themselves that they did not succeed: on a careless target both are honest."""

    operations: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    wrong_end: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def acceptable(self, fences: bool) -> bool:
        """All zero where the target honours fences; else every wrong end must be shown."""
        if fences:
            return not (self.lost or self.duplicated or self.stuck or self.left_behind or self.wrong_end)
        return not (self.lost or self.stuck) and set(self.wrong_end) <= set(self.shown)


def run(
    folder: Path,
    *,
    operations: int,
    faults: int,
    fences: bool = True,
    database_url: str | None = None,
    postgresql: str | None = None,
    seed: int = 1,
) -> Damage:
    """Run and count. ``faults`` is how many are committed at least; more while operations are still being submitted."""
    damage = Damage()
    began = time.monotonic()
    env = {
        "MODELPORT_LEASE_SECONDS": str(LEASE_SECONDS),
        "MODELPORT_ADVANCE_BUDGET_SECONDS": "5",
        "MODELPORT_WORKER_SILENT_SECONDS": "10",
        "MODELPORT_BACKOFF_CAP_SECONDS": "3",
        "MODELPORT_ATTEMPTS": "50",
        "MODELPORT_OBSERVE_SECONDS": "5",
    }
    with (
        Platform(seconds=3.0, latency=0.05, careless=not fences) as platform,
        Parts(folder, database_url, env=env, nodes=NODES) as parts,
    ):
        api = httpx.Client(base_url=parts.api_url, timeout=20.0)
        _ask(api, "PUT", "/v1/targets/platform", {"uri": platform.url, "settings": {"look_seconds": 1.0}})
        submitting = threading.Thread(target=_submit, args=(parts.api_url, operations, damage))
        submitting.start()
        # where they can do harm, there are more of them
        late = 3 if fences else 20
        murder = Faults(
            parts, platform, lease_seconds=LEASE_SECONDS, postgresql=postgresql, late_writes=late, seed=seed
        )
        while submitting.is_alive() or murder.counts.total() < faults:
            murder.commit()
            time.sleep(0.2)
        submitting.join()
        damage.faults = murder.counts
        _wait_for_the_end(api, damage)
        platform.faults()
        until(lambda: platform.counts()["late"] == 0, seconds=60)
        _count(api, platform, damage, fences)
        api.close()
    damage.seconds = time.monotonic() - began
    return damage


# what was accepted, by operation: the deployment, and the model that it is to serve (None: nothing)
Accepted = dict[str, tuple[str, str | None]]
_accepted: Accepted = {}


def _submit(url: str, operations: int, damage: Damage) -> None:
    """Create, update twice, delete every fourth: each with its key, sent again until it was answered."""
    _accepted.clear()
    with httpx.Client(base_url=url, timeout=20.0) as api:
        names = [f"model-{number}" for number in range(max(1, operations // 3))]
        for round_ in range(3):
            for place, name in enumerate(names):
                model = f"models:/{name}/{round_ + 1}"
                path = f"/v1/deployments/platform/{name}"
                if round_ == 2 and place % 4 == 0:
                    answer, model_or_none = _ask(api, "DELETE", path, key=f"{name}-{round_}"), None
                else:
                    answer = _ask(api, "PUT", path, {"model_uri": model}, key=f"{name}-{round_}")
                    model_or_none = model
                _accepted[answer["id"]] = (name, model_or_none)
                damage.operations += 1


def _ask(
    api: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None
) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    deadline = time.monotonic() + 120
    while True:
        try:
            answer = api.request(method, path, json=body, headers=headers)
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"{method} {path} was never answered"
            time.sleep(0.1)
            continue
        if answer.status_code < 500:
            assert answer.is_success, answer.text
            return dict(answer.json())
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


def _wait_for_the_end(api: httpx.Client, damage: Damage) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        left = [
            item["id"]
            for state in UNFINISHED
            for item in _ask(api, "GET", f"/v1/operations?state={state}&page_size=1000")["items"]
        ]
        if not left:
            return
        time.sleep(0.5)
    damage.stuck = left


def _count(api: httpx.Client, platform: Platform, damage: Damage, fences: bool) -> None:
    counts = platform.counts()
    there = _serving(platform)
    last: dict[str, str | None] = {}
    for identity, (name, model) in _accepted.items():
        answer = api.get(f"/v1/operations/{identity}")
        if answer.status_code != 200:
            damage.lost.append(identity)
        elif answer.json()["state"] not in {"succeeded", *UNFINISHED}:
            ended = f"{name}: {answer.json()['error']['detail']}"
            (damage.wrong_end if fences else damage.failed).append(ended)
        last[name] = model
    for name, contents in counts["effects"].items():
        # every content was asked for once, so it may take effect once
        damage.duplicated += [f"{name}: {content} {times}x" for content, times in contents.items() if times > 1]
    for name, asked in last.items():
        # where an operation may fail for what late calls did, the record tells what is promised
        model = asked if fences else _recorded(api, name)
        serving = there.get(name)
        if model is None and serving is not None:
            damage.left_behind.append(name)
        if serving != model:
            damage.wrong_end.append(name)
    if not fences:
        _wait_until_shown(api, damage)


def _recorded(api: httpx.Client, name: str) -> str | None:
    answer = api.get(f"/v1/deployments/platform/{name}")
    current = answer.json()["current"] if answer.status_code != 404 else None
    return current["variants"][0]["model_uri"] if current else None


def _observed(api: httpx.Client, name: str) -> str | None:
    answer = api.get(f"/v1/deployments/platform/{name}")
    return answer.json()["observed"].get("state") if answer.status_code != 404 else None


def _serving(platform: Platform) -> dict[str, str]:
    """By deployment, the model that the platform serves."""
    found: dict[str, str] = {}
    for there in platform.deployments():
        if there["variants"]:
            found[there["name"]] = there["variants"][0]["model_uri"]
    return found


def _wait_until_shown(api: httpx.Client, damage: Damage) -> None:
    deadline = time.monotonic() + 60
    wrong = set(damage.wrong_end)
    while time.monotonic() < deadline and set(damage.shown) != wrong:
        damage.shown = [name for name in wrong if _observed(api, name) in {"drifted", "missing"}]
        time.sleep(0.5)
