from __future__ import annotations

import time
from collections.abc import Callable


def until(holds: Callable[[], object], seconds: float = 30.0, pause: float = 0.01) -> None:
    """Return once it holds; fail the test when it does not within the time. Asks again after ``pause`` seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(pause)
