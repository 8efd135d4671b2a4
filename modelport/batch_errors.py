"""What waiting for a batch raises, beside the tree of ``modelport.errors``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.errors import ModelportError

if TYPE_CHECKING:
    from modelport.types import Batch


class BatchFailed(ModelportError):
    """The batch ended otherwise than as succeeded: partly_failed, stopped or aborted. ``batch`` is how it ended."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.batch = batch

    def __str__(self) -> str:
        batch = self.batch
        text = f"batch {batch.id} {batch.words}: {batch.counted}"
        return f"{text}; {batch.reason}" if batch.reason else text


class BatchTimeout(ModelportError, TimeoutError):
    """The batch did not end within ``timeout`` seconds. It goes on; ``batch`` is how it was last seen."""

    def __init__(self, batch: Batch, timeout: float) -> None:
        super().__init__(batch, timeout)
        self.batch = batch
        self.timeout = timeout

    def __str__(self) -> str:
        return f"batch {self.batch.id} has not ended after {self.timeout:g} s: {self.batch.words}, {self.batch.counted}"
