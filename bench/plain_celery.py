"""The job as Celery's documentation would have it: a task that asks, then sleeps and looks until it serves.

Late acknowledgement, one message at a time, requeued when a worker is lost: the obvious settings for safety.
"""

from __future__ import annotations

import os
import time

import httpx
from celery import Celery

app = Celery("plain", broker=os.environ["PLAIN_BROKER_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_transport_options={"visibility_timeout": 60},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
)


@app.task(autoretry_for=(httpx.TransportError,), retry_backoff=1, max_retries=8)
def deploy(url: str, name: str, content: str, body: dict) -> None:
    """Ask for the deployment and wait until it serves."""
    with httpx.Client(base_url=url, timeout=20.0) as platform:
        answer = platform.put(f"/deployments/{name}", json=body)
        if answer.status_code >= 400:
            raise RuntimeError(answer.text)
        while True:
            there = platform.get(f"/deployments/{name}").json()
            if there.get("content") == content and there.get("status") == "serving":
                return
            time.sleep(1.0)
