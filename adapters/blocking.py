"""Drives an adapter to the end of one change in the calling thread, for callers without the service."""

from __future__ import annotations

import time
from dataclasses import replace

from adapters.contract import (
    Adapter,
    AdapterError,
    Change,
    Fence,
    Handle,
    Permanent,
    Progress,
    Seen,
    Temporary,
    Toward,
)

ATTEMPTS = 8
BACKOFF_SECONDS = 0.5


def bring_about(adapter: Adapter, change: Change, deadline_seconds: float) -> Progress:
    """Blocks until the change is done. What fails, or is not done in time, is taken back, for as long once more.

    Raises Permanent, with the target's words and with what could not be taken back.
    """
    # Only ever grows, also over processes, as long as the clock is not set back
    fence = Fence(time.time_ns() // 1_000_000)
    ended = _drive(adapter, adapter.plan(change), "forward", fence, deadline_seconds)
    if ended.outcome == "done":
        return ended
    if change.desired is None or ended.phase == "clean":
        raise Permanent(ended.message)
    undone = _drive(adapter, ended.handle, "back", fence, deadline_seconds)
    if undone.outcome == "landed":
        return undone
    left = [f"{leftover.kind} {leftover.name}: {leftover.why}" for leftover in undone.leftovers]
    if undone.outcome != "done":
        left.append(undone.message)
    raise Permanent(f"{ended.message}\nNot taken back: {'; '.join(left)}" if left else ended.message)


def _drive(adapter: Adapter, handle: Handle, toward: Toward, fence: Fence, deadline_seconds: float) -> Progress:
    until = time.monotonic() + deadline_seconds
    progress = Progress(handle, "again")
    attempts = 0
    while progress.outcome == "again":
        if time.monotonic() > until:
            return replace(
                progress, outcome="failed", message=f"not done in {deadline_seconds:g} s: {progress.message}"
            )
        try:
            seen = progress.seen or _look(adapter, progress.handle)
            progress = adapter.step(progress.handle, seen, toward, fence)
            attempts = 0
        except AdapterError as error:
            attempts += 1
            if isinstance(error, Permanent) or attempts == ATTEMPTS:
                return replace(progress, outcome="failed", message=error.message)
            told = error.retry_in if isinstance(error, Temporary) else None
            progress = replace(progress, seen=None, again_in=told or BACKOFF_SECONDS * 2**attempts)
        time.sleep(progress.again_in if progress.outcome == "again" else 0)
    return progress


def _look(adapter: Adapter, handle: Handle) -> Seen:
    seen = adapter.look_many({"": handle})[""]
    if isinstance(seen, AdapterError):
        raise seen
    return seen
