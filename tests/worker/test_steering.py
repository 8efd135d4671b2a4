"""Batches steered at any moment, by anybody, while workers die: nothing starts while paused, each item ends once."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters import registry
from operations import ledger, queue
from operations.admission import Asked
from operations.batches import records
from operations.batches.models import ENDED, OPEN, Batch, BatchItem, BatchState, ItemState
from operations.batches.records import Wanted
from operations.database import Database
from operations.models import Deployment, Operation
from operations.problems import Refused
from operations.states import FINAL, Kind, Lane
from tests import rows
from tests.fakes.memory.world import WORLDS, World
from tests.worker.crashing import Worker
from tests.worker.virtual_time import VirtualTime, virtual_time

LANES = (Lane.BULK, Lane.WRITE, Lane.LOOK)
NEW = {"action": "update", "model_uri": "models:/iris/2"}
BAD = {"action": "update", "model_uri": "models:/bad/1"}


class Machine(RuleBasedStateMachine):
    """One batch of a few items over two workers; a part of the items cannot succeed."""

    database: Database
    clock: VirtualTime

    @initialize(
        bad=st.lists(st.sampled_from([False, False, False, True]), min_size=4, max_size=8),
        max_concurrent=st.integers(1, 3),
        max_failures=st.integers(2, 4),
        waves=st.sampled_from([[], [{"size": 1, "soak_seconds": 5.0}], [{"size": 2, "approval": True}]]),
        writes=st.sampled_from([None, 40]),
    )
    def begin(self, bad: list[bool], max_concurrent: int, max_failures: int, waves: list, writes: int | None) -> None:
        self.uri = f"memory:/{next(_numbers)}"
        self.world = WORLDS[self.uri] = World(looks=1)
        self.world.refuses = rows.spec("models:/bad/1")
        self.workers = [Worker(self.database, self.world, name) for name in ("one", "two")]
        limits = {"writes": writes, "per_seconds": 60.0} if writes else {}
        with self.database.write() as session:
            target = rows.target(session, name=self.uri, uri=self.uri, limits=limits)
            for number in range(len(bad)):
                rows.submit(session, Kind.CREATE, name=f"m{number}", target=target)
        self._until(lambda session: session.scalars(_unfinished(self.uri)).first() is None)
        with self.database.write() as session:
            found = session.scalars(select(Deployment).where(Deployment.target_id == target.id)).unique()
            items = [
                Wanted(target.id, row.name, row.id, BAD if refused else None)
                for row, refused in zip(sorted(found, key=lambda row: row.name), bad, strict=True)
            ]
            strategy = {"max_concurrent": max_concurrent, "max_failures": max_failures, "waves": waves}
            self.batch_id = records.create(
                session, change=NEW, selection=None, strategy=strategy, items=items, asked=Asked("me")
            ).id
        self.max_concurrent, self.max_failures = max_concurrent, max_failures
        self.ended: dict[int, ItemState] = {}
        self.halted: frozenset[str] | None = None

    @rule(worker=st.integers(0, 1), lane=st.sampled_from(LANES), dies_at=st.none() | st.integers(0, 12))
    def work(self, worker: int, lane: Lane, dies_at: int | None) -> None:
        """A hint arrives, at a worker that may die of it."""
        self.clock.passes(1.0)
        mortal = Worker(self.database, self.world, f"mortal-{next(_numbers)}", dies_at)
        (self.workers[worker] if dies_at is None else mortal).advance(lane)

    @rule(seconds=st.sampled_from([0.01, 10.0, 61.0, 700.0]))
    def time(self, seconds: float) -> None:
        self.clock.passes(seconds)

    # one rule, so that no example goes without the others' verbs; a batch is seldom aborted, or nothing would follow
    @rule(verb=st.sampled_from([*("pause", "resume", "approve") * 6, "abort"]), number=st.integers(1, 3))
    def steer(self, verb: str, number: int) -> None:
        if verb == "pause" and number > 1:
            self.clock.passes(1.0)
            self.workers[0].engine._releaser.run()  # and drives nothing
        match verb:
            case "pause" if self._steer(lambda session: records.pause(session, self.batch_id)):
                self.halted = self._started()
            case "resume" if self._steer(lambda session: records.resume(session, self.batch_id)):
                self.halted = None
                self._steer(lambda session: records.adjust(session, self.batch_id, {"max_concurrent": number}))
                self.max_concurrent = max(self.max_concurrent, number)
            case "approve":
                self._steer(lambda session: records.approve(session, self.batch_id, self._batch().wave))
            case "abort" if self._steer(
                lambda session: records.end(session, self.batch_id, BatchState.ABORTED, "aborted", by="me")
            ):
                self.halted = self._started()

    @rule(number=st.integers(0, 5))
    def cancel_one(self, number: int) -> None:
        with self.database.write() as session:
            released = session.scalars(
                select(BatchItem.operation_id).where(
                    BatchItem.batch_id == self.batch_id, BatchItem.state == ItemState.RELEASED
                )
            ).all()
            if number < len(released) and released[number]:
                with contextlib.suppress(ledger.TooLate):
                    ledger.cancel(session, str(released[number]), "somebody")

    @invariant()
    def nothing_starts_while_paused_or_aborted(self) -> None:
        if self.halted is not None:
            assert self._started() <= self.halted

    @invariant()
    def each_item_ends_once_and_as_its_operation_did(self) -> None:
        with self.database.read() as session:
            pairs = session.execute(
                select(BatchItem, Operation.state)
                .outerjoin(Operation, Operation.id == BatchItem.operation_id)
                .where(BatchItem.batch_id == self.batch_id)
            ).all()
        for item, state in pairs:
            if item.number in self.ended:
                assert item.state == self.ended[item.number]
            elif item.state not in OPEN:
                self.ended[item.number] = item.state
            if state is not None and item.state != ItemState.RELEASED:
                assert item.state.value == state.value

    @invariant()
    def the_bounds_hold(self) -> None:
        with self.database.read() as session:
            counts = records.counts(session, self.batch_id)
        assert counts.get(ItemState.RELEASED, 0) <= self.max_concurrent
        assert counts.get(ItemState.FAILED, 0) <= self.max_failures
        assert sum(counts.values()) == self._batch().total

    def teardown(self) -> None:
        if not hasattr(self, "batch_id"):
            return
        self._steer(lambda session: records.resume(session, self.batch_id))
        self.halted = None

        def over(session: Session) -> bool:
            batch = records.get(session, self.batch_id)
            if batch.state == BatchState.AWAITING_APPROVAL:
                self._steer(lambda session: records.approve(session, self.batch_id, batch.wave))
            return batch.state in ENDED

        self._until(over)
        self.each_item_ends_once_and_as_its_operation_did()
        self.the_bounds_hold()
        with self.database.read() as session:
            states = set(session.scalars(select(Operation.state).where(Operation.batch_id == self.batch_id)))
            open_ = [state for state in OPEN if records.counts(session, self.batch_id).get(state)]
        assert states <= FINAL
        assert open_ == []
        del WORLDS[self.uri]

    def _until(self, holds: Callable[[Session], bool]) -> None:
        for _ in range(200):
            with self.database.read() as session:
                if holds(session):
                    return
            self.clock.passes(31.0)
            for lane in LANES:
                self.workers[0].advance(lane)
        raise AssertionError("it never ends")

    def _steer(self, verb: Callable[[Session], object]) -> bool:
        try:
            with self.database.write() as session:
                verb(session)
        except Refused:
            return False
        return True

    def _batch(self) -> Batch:
        with self.database.read() as session:
            return records.get(session, self.batch_id)

    def _started(self) -> frozenset[str]:
        with self.database.read() as session:
            query = select(Operation.id).where(Operation.batch_id == self.batch_id, Operation.started_at.is_not(None))
            return frozenset(session.scalars(query))


def _unfinished(uri: str):  # type: ignore[no-untyped-def]
    return select(Operation.id).where(
        Operation.finished_at.is_(None), Operation.deployment.has(Deployment.target.has(uri=uri))
    )


_numbers = itertools.count()


@pytest.fixture
def machine(db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Machine]]:
    monkeypatch.setitem(registry.BUILT_IN, "memory", "tests.fakes.memory")
    for name in ("announce", "announce_batch", "hint"):
        monkeypatch.setattr(queue, name, lambda *_: None)
    with virtual_time(db) as clock:
        yield type("Steered", (Machine,), {"database": db, "clock": clock})
    WORLDS.clear()


@pytest.mark.timeout(280)
def test_steering_in_any_order(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # the database is one for all examples, so that none can be made smaller
        ),
    )
