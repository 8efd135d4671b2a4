"""What the API asks of workers: answered once, by whoever can, whatever crashes; over both databases."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from adapters.contract import Handle, Permanent
from operations import ledger, questions, sweep
from operations.database import Database
from operations.models import Deployment, Question, QuestionKind
from operations.questions import Answer
from operations.settings import settings
from operations.states import Kind, Lane
from tests import rows
from tests.fakes.memory.adapter import Memory
from tests.fakes.memory.world import World
from tests.worker.test_engine import Engine, created, engine, make_engine, submit, world

__all__ = ["engine", "world"]

WORDS = {"variant": None, "lines": 5}


def ask(db: Database, kind: QuestionKind = QuestionKind.CHECK) -> str:
    with db.write() as session:
        target = rows.target(session)
        if kind == QuestionKind.CHECK:
            return questions.ask(session, kind, target)
        return questions.ask(session, kind, target, session.scalars(select(Deployment)).unique().one(), **WORDS)


def answer(db: Database, identity: str) -> Answer | None:
    with db.read() as session:
        return questions.answer_to(session, identity)


def take(db: Database, offer: str = "memory") -> list[str]:
    with db.write() as session:
        return [taken.id for taken in questions.take(session, [offer], limit=10, turn_seconds=60.0)]


def due(db: Database) -> set[Lane]:
    with db.read() as session:
        return ledger.due_lanes(session)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Handle, str | None, int]]:
    """What was asked of the adapter, whose servers say hello."""
    asked: list[tuple[Handle, str | None, int]] = []

    def say(self: Memory, handle: Handle, variant: str | None, lines: int) -> str:
        asked.append((handle, variant, lines))
        return "hello\n"

    monkeypatch.setattr(Memory, "logs", say)
    return asked


def test_a_check_is_answered_and_stays_with_its_target(db: Database, engine: Engine) -> None:
    identity = ask(db)
    assert due(db) == {Lane.LOOK}
    engine.advance(Lane.LOOK)
    engine.close()
    found = answer(db, identity)
    assert found is not None
    assert (found.ok, found.text) == (True, "memory answers")
    with db.read() as session:
        target = rows.target(session)
        assert (target.checked, target.checked_at) == ({"ok": True, "message": "memory answers"}, found.at)
    assert due(db) == set()


def test_a_failing_call_is_an_answer_too(db: Database, engine: Engine, world: World) -> None:
    def fail(verb: str, name: str) -> None:
        raise Permanent("the key has expired")

    world.before = fail
    identity = ask(db)
    engine.advance(Lane.LOOK)
    engine.close()
    found = answer(db, identity)
    assert found is not None
    assert (found.ok, found.text) == (False, "the key has expired")
    with db.read() as session:
        assert rows.target(session).checked == {"ok": False, "message": "the key has expired"}


def test_logs_are_read_with_the_handle_of_what_serves(
    db: Database, engine: Engine, logs: list[tuple[Handle, str | None, int]]
) -> None:
    created(db, engine)
    identity = ask(db, QuestionKind.LOGS)
    engine.advance(Lane.LOOK)
    engine.close()
    found = answer(db, identity)
    assert found is not None
    assert (found.ok, found.text) == (True, "hello\n")
    with db.read() as session:
        assert logs == [(session.scalars(select(Deployment.placed)).one(), None, 5)]
        assert rows.target(session).checked is None


def test_logs_of_what_is_being_made_for_the_first_time(
    db: Database, engine: Engine, logs: list[tuple[Handle, str | None, int]]
) -> None:
    submit(db, Kind.CREATE)
    with db.read() as session:
        assert questions.servers_of(session, session.scalars(select(Deployment)).unique().one()) is None
    engine.advance(Lane.WRITE)
    identity = ask(db, QuestionKind.LOGS)
    engine.advance(Lane.LOOK)
    engine.close()
    assert answer(db, identity) is not None
    assert [handle["new"] for handle, _, _ in logs] == [rows.spec()]


def test_nobody_waits_for_a_slow_answer(
    db: Database, engine: Engine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    created(db, engine)
    goes_on = threading.Event()

    def slow(self: Memory, handle: Handle, variant: str | None, lines: int) -> str:
        assert goes_on.wait(60)
        return "at last"

    monkeypatch.setattr(Memory, "logs", slow)
    identity = ask(db, QuestionKind.LOGS)
    engine.advance(Lane.LOOK)
    assert answer(db, identity) is None
    submit(db, Kind.UPDATE, rows.spec("models:/iris/2"))
    engine.advance(Lane.WRITE)  # both lanes go on meanwhile
    engine.advance(Lane.LOOK)
    goes_on.set()
    engine.close()
    found = answer(db, identity)
    assert found is not None
    assert found.text == "at last"


def test_two_workers_do_not_both_answer_and_a_dead_ones_question_goes_to_another(
    db: Database, engine: Engine, world: World
) -> None:
    identity = ask(db)
    assert take(db) == [identity]  # and the worker dies with it
    engine.advance(Lane.LOOK)
    assert due(db) == set()
    with db.write() as session:
        session.execute(update(Question).values(due_at=Question.asked_at + 0.000001))  # its turn ends
    assert due(db) == {Lane.LOOK}
    engine.advance(Lane.LOOK)
    engine.close()
    assert answer(db, identity) is not None
    assert world.calls["list"] == 1


def test_the_first_answer_counts(db: Database) -> None:
    identity = ask(db)
    take(db)
    with db.write() as session:
        questions.answered(session, identity, ok=True, text="first")
        questions.answered(session, identity, ok=False, text="second")
    found = answer(db, identity)
    assert found is not None
    assert found.text == "first"
    with db.read() as session:
        assert rows.target(session).checked == {"ok": True, "message": "first"}


def test_a_worker_takes_what_it_can_serve_only(db: Database) -> None:
    identity = ask(db)
    assert take(db, "sagemaker") == []
    assert take(db) == [identity]


def test_the_same_question_is_asked_once_until_somebody_takes_it(db: Database) -> None:
    with db.write() as session:
        rows.submit(session, Kind.CREATE)
    first = ask(db, QuestionKind.LOGS)
    assert ask(db, QuestionKind.LOGS) == first
    assert ask(db) != first
    with db.write() as session:
        row = session.scalars(select(Deployment)).unique().one()
        other = questions.ask(session, QuestionKind.LOGS, rows.target(session), row, variant=None, lines=6)
    assert other != first
    take(db)
    assert ask(db, QuestionKind.LOGS) != first  # what is being read now may lack what is asked for


def test_what_nobody_waits_for_any_more_is_left_alone_and_gone_after_an_hour(db: Database) -> None:
    identity = ask(db)
    _age(db, settings().wait_seconds_max + 1)
    assert due(db) == set()
    assert take(db) == []
    with db.write() as session:
        sweep.prune(session, settings())
        assert session.get(Question, identity) is not None
    _age(db, questions.KEPT_SECONDS)
    with db.write() as session:
        sweep.prune(session, settings())
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Question)) == 0


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\ud800b", "a?b"),
        ("x" * questions.TEXT_KEPT + "end", "x" * (questions.TEXT_KEPT - 3) + "end"),
    ],
    ids=["NUL", "surrogate", "long"],
)
def test_what_a_database_cannot_keep_is_no_obstacle(db: Database, said: str, kept: str) -> None:
    identity = ask(db)
    with db.write() as session:
        questions.answered(session, identity, ok=True, text=said)
    found = answer(db, identity)
    assert found is not None
    assert found.text == kept


def test_an_answer_that_cannot_be_written_down_is_given_by_another_turn(
    db: Database, engine: Engine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = ask(db)
    with monkeypatch.context() as broken, capture_logs() as said:
        broken.setattr(questions, "answered", _lost)
        engine.advance(Lane.LOOK)
        engine.close()
    assert answer(db, identity) is None
    assert [(line["event"], line["error"]) for line in said] == [("answer_lost", "OSError")]
    assert "memory answers" not in str(said)
    with db.write() as session:
        session.execute(update(Question).values(due_at=Question.asked_at + 0.000001))
    other = make_engine(db, "two")
    other.advance(Lane.LOOK)
    other.close()
    assert answer(db, identity) is not None


def _age(db: Database, seconds: float) -> None:
    with db.write() as session:
        session.execute(update(Question).values(asked_at=Question.asked_at - seconds, due_at=Question.due_at - seconds))


def _lost(*_: object, text: str, **__: object) -> None:
    raise OSError(f"connection lost with {text}")
