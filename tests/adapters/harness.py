"""What the conformance suite needs to know about a target, and the loop that drives an adapter as the engine does.

A target's test module implements ``Harness`` against the target's fake (or the real thing) and hands it to
``tests.adapters.conformance.Conformance`` as the fixture ``harness``.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from adapters.contract import (
    Adapter,
    AdapterError,
    Change,
    Fence,
    Handle,
    Permanent,
    Progress,
    Seen,
    Spec,
    Temporary,
    Toward,
)
from adapters.description import Capabilities

INSTALLATION = "conformance"

Kind = Literal["create", "update", "traffic", "delete"]
Habit = Literal["once", "twice", "forgetful", "lossy", "elsewhere"]
T = TypeVar("T")


@dataclass(frozen=True)
class Count:
    """How often the target was touched so far.

    ``calls`` counts everything that an adapter did there, reads included; ``writes`` the attempts to change something,
    whether or not they changed it; ``effects`` what was really made, changed or removed.
    """

    calls: int
    writes: int
    effects: int


class Harness(Protocol):
    """One target under test, with nothing of ours on it when a test begins."""

    capabilities: Capabilities
    failure_words: str
    """Words of the target's own that the message holds when ``broken()`` was asked for."""
    deadline_seconds: float
    """How long one change may take here before the test gives up."""

    def open(self) -> Adapter:
        """A new adapter for this target, as another process would open it; the harness closes it after the test."""
        ...

    def spec(self, which: Literal["a", "b"]) -> Spec:
        """One of two specifications with one variant each, with different model URIs that ``answering`` can tell."""
        ...

    def split(self, a: int, b: int) -> Spec:
        """Two variants named ``a`` and ``b`` with the models of ``spec("a")`` and ``spec("b")`` and this traffic.

        Called only where ``capabilities.can_split``.
        """
        ...

    def broken(self) -> Spec:
        """A specification that the target accepts and then fails to bring up."""
        ...

    def answering(self, route: dict[str, Any], variant: str | None = None) -> str:
        """Send one prediction along the route with the target's invoker; the URI of the model that answered.

        Raises ``Unreachable`` when nothing did.
        """
        ...

    def count(self) -> Count:
        """How often the target was touched so far."""
        ...

    def things(self, name: str) -> set[str]:
        """Everything that is there for the deployment of this name, ours or not: endpoints, configs, processes."""
        ...

    def occupy(self, name: str) -> Any:
        """Put a thing of somebody else's under this name; what identifies it and its state, to compare later."""
        ...

    def occupant(self, name: str) -> Any:
        """The same of what is there now."""
        ...

    def lose_answers(self) -> AbstractContextManager[None]:
        """Within it every write takes effect and its answer is lost: a connection cut, a worker's call that dies.

        A harness whose target has no answers to lose returns ``contextlib.nullcontext()``.
        """
        ...


@dataclass(frozen=True)
class Drive:
    """Where a drive ended: ``progress`` is None if it was stopped before; ``moves`` counts steps that did something."""

    handle: Handle
    progress: Progress | None
    moves: int


_fences = itertools.count(1)
_names = itertools.count(1)


def new_fence() -> Fence:
    """A fence above all before it."""
    return Fence(next(_fences))


def new_name() -> str:
    """A deployment's name that no other test of this run uses."""
    return f"model-{next(_names)}"


def change(
    name: str, current: Spec | None, desired: Spec | None, placed: Handle | None = None, uid: str | None = None
) -> Change:
    """A change of the deployment ``name``; its uid is made from the name where none is given."""
    return Change(
        installation=INSTALLATION,
        uid=uid or f"uid-{name}",
        name=name,
        current=current,
        desired=desired,
        placed=placed or {},
    )


def drive(
    harness: Harness,
    handle: Handle,
    toward: Toward = "forward",
    *,
    habit: Habit = "once",
    moves: int | None = None,
    adapter: Adapter | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    taken_over: bool = False,
) -> Drive:
    """Look and step until the outcome is not *again*, checking at every step what the contract promises.

    Handles and what was seen go through JSON each time. ``habit`` is how badly the engine fares: it takes every step
    *twice*; is *forgetful*, crashing after every step before the handle is stored, and takes it again from the old
    one; is *lossy*, losing the answer to every write once; or does every look and step *elsewhere*, in a new adapter.
    ``moves`` stops it after so many steps that wrote or changed the handle. ``meanwhile`` is called between steps.
    ``taken_over``: the worker before fell silent, and a call of it may still be under way.
    """
    mine = adapter or harness.open()
    number = next(_fences)
    fence = Fence(number, floor=number if taken_over else 0)
    moved = 0
    ends = time.monotonic() + harness.deadline_seconds
    while moves is None or moved < moves:
        assert time.monotonic() < ends, f"not done after {harness.deadline_seconds} s; handle {handle}"
        if habit == "elsewhere":
            mine = harness.open()
        meanwhile()
        before = harness.count().writes
        try:
            progress = _advance(harness, mine, handle, toward, fence, habit)
        except Temporary as error:
            _pause(error.retry_in or 0)
            continue
        changed = through_json(progress.handle) != handle
        handle = through_json(progress.handle)
        moved += harness.count().writes > before or changed
        meanwhile()
        if progress.outcome != "again":
            assert progress.outcome != "landed" or toward == "back", "only a way back can end as landed"
            return Drive(handle, replace(progress, handle=handle), moved)
        _pause(progress.again_in)
    return Drive(handle, None, moved)


def look(harness: Harness, adapter: Adapter, handle: Handle) -> Seen:
    """Look at one handle, checking that looking writes nothing. Raises what was seen if that is an error."""
    before = harness.count().writes
    seen = adapter.look_many({"one": handle})["one"]
    assert harness.count().writes == before, "a look wrote"
    if isinstance(seen, AdapterError):
        raise seen
    return replace(seen, facts=through_json(seen.facts))


def eventually(read: Callable[[], T], good: Callable[[T], bool], seconds: float = 10) -> T:
    """Read until it is good, and return it; fails with what was read last."""
    ends = time.monotonic() + seconds
    while not good(value := read()):
        assert time.monotonic() < ends, f"still {value!r} after {seconds} s"
        _pause(0)
    return value


def through_json(value: Any) -> Any:
    """The value as it comes back from a JSON column; fails where it cannot go there."""
    back = json.loads(json.dumps(value))
    assert back == value, f"JSON changes it: {value!r} became {back!r}"
    return back


def _advance(
    harness: Harness, adapter: Adapter, handle: Handle, toward: Toward, fence: Fence, habit: Habit
) -> Progress:
    seen = look(harness, adapter, handle)
    if habit == "twice":
        _step(harness, adapter, handle, seen, toward, fence)
    elif habit == "forgetful":
        _step(harness, adapter, handle, seen, toward, fence)
        seen = look(harness, adapter, handle)
    elif habit == "lossy" and seen.needs_write:
        lost = _lose_the_answer(harness, adapter, handle, seen, toward, fence)
        if lost is not None:
            return lost
        seen = look(harness, adapter, handle)
    return _step(harness, adapter, handle, seen, toward, fence)


def _lose_the_answer(
    harness: Harness, adapter: Adapter, handle: Handle, seen: Seen, toward: Toward, fence: Fence
) -> Progress | None:
    """The progress where the step came to one all the same, None where the answer's loss made it fail."""
    try:
        return _step(harness, adapter, handle, seen, toward, fence, harness.lose_answers())
    except Permanent:
        raise
    except Exception:
        return None


def _step(
    harness: Harness,
    adapter: Adapter,
    handle: Handle,
    seen: Seen,
    toward: Toward,
    fence: Fence,
    around: AbstractContextManager[None] | None = None,
) -> Progress:
    with _at_most_one_write(harness, allowed=seen.needs_write or fence.floor > 0), around or nullcontext():
        progress = adapter.step(through_json(handle), seen, toward, fence)
    assert progress.again_in >= 0
    return progress


@contextmanager
def _at_most_one_write(harness: Harness, *, allowed: bool) -> Iterator[None]:
    before = harness.count().writes
    yield
    written = harness.count().writes - before
    assert written <= 1, f"{written} writes in one step"
    assert allowed or not written, "a step wrote although the look said that it would not"


def _pause(seconds: float) -> None:
    time.sleep(min(seconds, 0.02) or 0.002)
