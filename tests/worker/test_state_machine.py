"""Ledger and engine under anything at any time: submissions, cancels, deaths, lost leases, lost answers, late messages.

The clock is the machine's own: it stands still, or leaps past leases, waits and deadlines. Whatever the order, at the
end the records equal the target.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from adapters import registry
from operations import ledger, queue, submit
from operations.database import Database
from operations.models import Deployment, Event, Operation, Target
from operations.problems import Refused
from operations.states import ALLOWED, FINAL, Lane, State
from operations.submit import Asked
from tests import rows
from tests.fakes.memory.world import WORLDS, World
from tests.operations.test_submit import RULES
from tests.worker.crashing import Worker
from tests.worker.virtual_time import VirtualTime, virtual_time

NAMES = st.sampled_from(["iris", "wine"])
MODELS = st.sampled_from(["models:/m/1", "models:/m/2", "models:/m/3"])
LEASE_SECONDS = 60.0  # the setting's default
CONFLICT = st.sampled_from(["queue", "supersede", "refuse"])


class Machine(RuleBasedStateMachine):
    """Two workers, two deployments, one target."""

    database: Database
    clock: VirtualTime

    @initialize()
    def begin(self) -> None:
        self.uri = f"memory:/{next(_numbers)}"
        self.world = WORLDS[self.uri] = World(looks=1)
        with self.database.write() as session:
            self.target = rows.target(session, name=self.uri, uri=self.uri).name
        self.workers = [Worker(self.database, self.world, name) for name in ("one", "two")]
        self.ended: dict[str, tuple[State, int]] = {}

    @rule(name=NAMES, model=MODELS, conflict=CONFLICT)
    def apply(self, name: str, model: str, conflict: Any) -> None:
        self._ask(
            lambda s, t: submit.apply(s, t, RULES, name, rows.spec(model), None, Asked("m", on_conflict=conflict))
        )

    @rule(name=NAMES, size=st.integers(1, 3))
    def patch(self, name: str, size: int) -> None:
        self._ask(lambda s, t: submit.patch(s, t, RULES, name, {"config": {"size": size}}, Asked("m")))

    @rule(name=NAMES)
    def roll_back(self, name: str) -> None:
        self._ask(lambda s, t: submit.rollback(s, t, name, None, Asked("m"), rules=RULES))

    @rule(name=NAMES, cancel=st.booleans())
    def delete(self, name: str, cancel: bool) -> None:
        self._ask(lambda s, t: submit.delete(s, t, name, Asked("m"), rules=RULES, cancel_pending=cancel))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self._on_some(data, lambda session, identity: submit.cancel(session, identity, Asked("m")))

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        self._on_some(data, lambda session, identity: submit.retry(session, identity, Asked("m")))

    @rule(worker=st.integers(0, 1), lane=st.sampled_from([Lane.WRITE, Lane.LOOK]))
    def message(self, worker: int, lane: Lane) -> None:
        """A hint arrives, in any order, twice, or with nothing to do; what another holds is left alone."""
        held = {o.id: (o.leased_by, o.fence) for o in self._operations() if self._held(o)}
        self.workers[worker].advance(lane)
        now = {o.id: (o.leased_by, o.fence) for o in self._operations()}
        assert {identity: now[identity] for identity in held} == held

    @rule(worker=st.integers(0, 1), lane=st.sampled_from([Lane.WRITE, Lane.LOOK]), at=st.integers(0, 14))
    def death(self, worker: int, lane: Lane, at: int) -> None:
        """A worker dies at a boundary; its successor starts afresh."""
        Worker(self.database, self.world, f"mortal-{worker}", at).advance(lane)

    @rule(worker=st.integers(0, 1), lane=st.sampled_from([Lane.WRITE, Lane.LOOK]), at=st.integers(0, 2))
    def freeze(self, worker: int, lane: Lane, at: int) -> None:
        """A worker stops before a call of its, and wakes up when its lease has run out and another has gone on."""
        frozen, other = self.workers[worker], self.workers[1 - worker]
        calls = itertools.count()

        def meanwhile(*_: str) -> None:
            if next(calls) < at:
                return
            self.world.before = None
            self.clock.passes(LEASE_SECONDS + 1)
            fences = {o.id: o.fence for o in self._operations()}
            other.engine.advance(lane)
            taken.update({o.id: _recorded(o) for o in self._operations() if o.fence > fences[o.id]})

        taken: dict[str, Any] = {}
        self.world.before = meanwhile
        frozen.engine.advance(lane)
        self.world.before = None
        assert {o.id: _recorded(o) for o in self._operations() if o.id in taken} == taken

    @rule(seconds=st.sampled_from([0.01, 1.0, 30.0, LEASE_SECONDS + 1, 2000.0]))
    def time(self, seconds: float) -> None:
        self.clock.passes(seconds)

    @rule(words=st.sampled_from(["out of capacity", "image not found"]))
    def target_will_fail(self, words: str) -> None:
        self.world.rolls_back = words

    @rule(looks=st.integers(0, 3))
    def target_speed(self, looks: int) -> None:
        self.world.looks = looks

    @invariant()
    def final_is_final(self) -> None:
        for operation in self._operations():
            if operation.id in self.ended:
                assert self.ended[operation.id] == (operation.state, operation.last_event)
            elif operation.state in FINAL:
                self.ended[operation.id] = (operation.state, operation.last_event)
                assert operation.due_at is None
                assert operation.leased_by is None

    @invariant()
    def one_under_way_and_in_order(self) -> None:
        for deployment in {operation.deployment_id for operation in self._operations()}:
            mine = [o for o in self._operations() if o.deployment_id == deployment]
            open_ = [o for o in mine if o.state not in FINAL]
            assert all(o.state == State.QUEUED and o.due_at is None for o in open_[1:])
            assert all(o.due_at is not None for o in open_[:1])

    @invariant()
    def nothing_is_idle_for_longer_than_a_lease_or_what_it_waits_for(self) -> None:
        for operation in self._operations():
            if operation.due_at is None:
                continue
            waits_until = operation.not_before if operation.leased_by is None else None
            assert operation.due_at <= max(self.clock.at + LEASE_SECONDS, waits_until or 0.0)

    @invariant()
    def what_builds_on_a_revision_starts_from_it(self) -> None:
        for operation in self._operations():
            if operation.relative and operation.state == State.SUCCEEDED:
                assert operation.from_id == operation.base_id

    @invariant()
    def every_move_has_its_event(self) -> None:
        with self.database.read() as session:
            for operation in self._operations():
                events = session.scalars(
                    select(Event).where(Event.operation_id == operation.id).order_by(Event.number)
                ).all()
                assert [event.number for event in events] == list(range(1, operation.last_event + 1))
                assert events[-1].state == operation.state
                states = [state for state, _ in itertools.groupby(event.state for event in events)]
                assert all(b in ALLOWED[a] for a, b in itertools.pairwise(states))

    def teardown(self) -> None:
        if not hasattr(self, "workers"):
            return
        self.world.rolls_back = None
        for _ in range(80):
            if all(operation.state in FINAL for operation in self._operations()):
                break
            self.clock.passes(LEASE_SECONDS + 1)
            for lane in (Lane.WRITE, Lane.LOOK):
                self.workers[0].advance(lane)
        operations = self._operations()
        assert all(operation.state in FINAL for operation in operations), "an operation never ends"
        self.final_is_final()
        self._records_equal_the_target()
        del WORLDS[self.uri]

    def _records_equal_the_target(self) -> None:
        with self.database.read() as session:
            for deployment in session.scalars(select(Deployment)).unique():
                if deployment.target.name != self.target:
                    continue
                thing = self.world.things.get(deployment.name)
                last = (
                    session.scalars(
                        select(Operation).where(Operation.deployment_id == deployment.id).order_by(Operation.seq.desc())
                    )
                    .unique()
                    .first()
                )
                if last is None or last.leftovers:
                    continue
                if deployment.current is None:
                    assert thing is None, f"{deployment.name} was left behind"
                else:
                    assert thing is not None, f"{deployment.name} is missing"
                    assert thing.serving == deployment.current.spec
                    assert thing.coming is None

    def _held(self, operation: Operation) -> bool:
        return operation.leased_by is not None and (operation.due_at or 0.0) > self.clock.at

    def _ask(self, act: Any) -> None:
        with contextlib.suppress(Refused), self.database.write() as session:
            act(session, rows.target(session, name=self.target, uri=self.uri))

    def _on_some(self, data: st.DataObject, act: Any) -> None:
        operations = self._operations()
        if operations:
            identity = data.draw(st.sampled_from([operation.id for operation in operations]))
            with contextlib.suppress(Refused, ledger.TooLate), self.database.write() as session:
                act(session, identity)

    def _operations(self) -> list[Operation]:
        if not hasattr(self, "target"):
            return []
        with self.database.read() as session:
            return list(
                session.scalars(
                    select(Operation)
                    .where(Operation.target_id.in_(select(Target.id).where(Target.name == self.target)))
                    .order_by(Operation.deployment_id, Operation.seq)
                ).unique()
            )


def _recorded(operation: Operation) -> tuple[Any, ...]:
    return (operation.state, operation.last_event, operation.attempts, operation.leased_by, operation.due_at)


_numbers = itertools.count()


@pytest.fixture
def machine(db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Machine]]:
    monkeypatch.setitem(registry.BUILT_IN, "memory", "tests.fakes.memory")
    monkeypatch.setattr(queue, "announce", lambda *_: None)
    monkeypatch.setattr(queue, "hint", lambda *_: None)

    with virtual_time(db) as clock:
        yield type("Bound", (Machine,), {"database": db, "clock": clock})


def test_any_order_of_anything(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
