"""Ledger and engine under anything at any time: submissions, cancels, deaths, lost leases, lost answers, late messages.

Time passes only when the machine says so. Whatever the order, at the end the records equal the target.
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
from tests.worker.crashing import Worker, time_passes

NAMES = st.sampled_from(["iris", "wine"])
MODELS = st.sampled_from(["models:/m/1", "models:/m/2", "models:/m/3"])
CONFLICT = st.sampled_from(["queue", "supersede", "refuse"])


class Machine(RuleBasedStateMachine):
    """Two workers, two deployments, one target."""

    database: Database

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
        """A hint arrives, in any order, twice, or with nothing to do."""
        self.workers[worker].advance(lane)

    @rule(worker=st.integers(0, 1), lane=st.sampled_from([Lane.WRITE, Lane.LOOK]), at=st.integers(0, 14))
    def death(self, worker: int, lane: Lane, at: int) -> None:
        """A worker dies at a boundary; its successor starts afresh."""
        Worker(self.database, self.world, f"mortal-{worker}", at).advance(lane)

    @rule()
    def time(self) -> None:
        time_passes(self.database)

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
            time_passes(self.database)
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


_numbers = itertools.count()


@pytest.fixture
def machine(db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Machine]]:
    monkeypatch.setitem(registry.BUILT_IN, "memory", "tests.fakes.memory")
    monkeypatch.setattr(queue, "announce", lambda *_: None)
    monkeypatch.setattr(queue, "hint", lambda *_: None)

    class Bound(Machine):
        pass

    Bound.database = db
    return Bound


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
