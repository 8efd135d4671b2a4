"""Many deployments of one target submitted at once through the service, for the tests that count a cloud's calls."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.stack.waiting import until

# nobody looks for drift meanwhile, and who runs this by hand needs no key
BY_HAND = {"MODELPORT_OBSERVE_SECONDS": "0", "MODELPORT_ANONYMOUS_ROLE": "admin"}


def deploy(api: httpx.Client, target: str, count: int, body: Callable[[int], dict[str, Any]], wait: float) -> None:
    """Apply so many deployments, ``model-0`` and so on, and wait until every operation has ended, none badly."""

    def submit(number: int) -> None:
        api.put(f"/v1/deployments/{target}/model-{number}", json=body(number)).raise_for_status()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(submit, range(count)))

    def unfinished() -> int:
        pages = (
            api.get("/v1/operations", params={"state": state, "page_size": 1}).json()["items"]
            for state in ("queued", "starting", "waiting", "undoing")
        )
        return sum(map(len, pages))

    until(lambda: unfinished() == 0, seconds=wait, pause=0.25)
    failed = api.get("/v1/operations", params={"state": "failed"}).json()["items"]
    assert failed == [], failed[0]
