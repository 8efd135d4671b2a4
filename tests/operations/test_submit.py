"""What is taken in and what is refused, against the tip; over both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from operations import admission, ledger, problems, specs, submit
from operations.database import Database
from operations.models import Deployment, Event, Operation, Revision, Target
from operations.specs import Rules
from operations.states import FINAL, Kind, State
from operations.submit import Accepted, Asked
from tests import rows

ME = Asked("tests")


def rules(**values: Any) -> Rules:
    defaults = {
        "scheme": "memory",
        "max_variants": 3,
        "can_split": True,
        "name_pattern": r"[a-z][a-z0-9-]*",
        "deadline_seconds": 60.0,
        "require_if_match": False,
        "config": lambda config: config,
    }
    return Rules(**{**defaults, **values})


RULES = rules()


def create(session: Session, name: str = "iris", model: str = "models:/iris/1", asked: Asked = ME) -> Accepted:
    return submit.create(session, rows.target(session), RULES, name, rows.spec(model), {}, asked)


def apply(session: Session, model: str, asked: Asked = ME) -> Accepted:
    return submit.apply(session, rows.target(session), RULES, "iris", rows.spec(model), None, asked)


def delete(session: Session, **values: Any) -> Accepted:
    return submit.delete(session, rows.target(session), "iris", ME, rules=RULES, **values)


def land(session: Session, accepted: Accepted) -> None:
    """Bring an operation to its end as a worker would."""
    operation = accepted.operation
    assert operation is not None
    ledger.move(session, operation, State.STARTING, by="tests")
    deployment = ledger.lock_deployment(session, operation.deployment_id)
    deployment.current_id = operation.desired_id
    if operation.desired_id:
        session.get_one(Revision, operation.desired_id).landed_at = float(operation.seq)
    ledger.move(session, operation, State.SUCCEEDED, by="tests")
    session.flush()
    session.expire_all()


def fail(session: Session, accepted: Accepted) -> None:
    assert accepted.operation is not None
    ledger.move(session, accepted.operation, State.FAILED, by="tests")
    session.flush()
    session.expire_all()


def test_create_records_operation_revision_and_event_together(db: Database) -> None:
    with db.write() as session:
        accepted = create(session)
        assert accepted.operation is not None
        identity = accepted.operation.id
    with db.read() as session:
        operation = session.get_one(Operation, identity)
        assert (operation.state, operation.kind, operation.seq) == (State.QUEUED, Kind.CREATE, 1)
        assert operation.due_at is not None
        assert operation.desired is not None
        assert operation.desired.number == 1
        events = session.scalars(select(Event).where(Event.operation_id == identity)).all()
        assert [(event.number, event.state, event.by) for event in events] == [(1, State.QUEUED, "tests")]


def test_create_of_what_exists_or_is_coming_is_refused_and_stores_nothing(db: Database) -> None:
    with db.write() as session:
        create(session)
    with pytest.raises(problems.DeploymentExists), db.write() as session:
        create(session)
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Operation)) == 1
        assert session.scalar(select(func.count()).select_from(Revision)) == 1


def test_create_behind_a_queued_delete_is_taken_and_waits(db: Database) -> None:
    with db.write() as session:
        land(session, create(session))
        delete(session)
        again = create(session, model="models:/iris/2")
        assert again.operation is not None
        assert again.operation.due_at is None
        assert again.operation.seq == 3


def test_apply_equal_to_the_tip_is_the_operation_under_way_and_then_nothing(db: Database) -> None:
    with db.write() as session:
        first = apply(session, "models:/iris/1")
        same = apply(session, "models:/iris/1")
        assert first.operation is not None
        assert same.operation is not None
        assert same.operation.id == first.operation.id
        land(session, first)
        assert apply(session, "models:/iris/1").operation is None
        different = apply(session, "models:/iris/2")
        assert different.operation is not None
        assert different.operation.kind == Kind.UPDATE
        assert not different.operation.relative


def test_patch_is_relative_and_merges_config_key_by_key(db: Database) -> None:
    with db.write() as session:
        target = rows.target(session)
        spec = specs.build(RULES, model_uri="models:/iris/1", config={"a": 1, "b": 2})
        land(session, submit.create(session, target, RULES, "iris", spec, {}, ME))
        accepted = submit.patch(session, target, RULES, "iris", {"config": {"a": None, "c": 3}}, ME)
        assert accepted.operation is not None
        assert accepted.operation.relative
        assert accepted.operation.desired is not None
        assert accepted.operation.desired.spec["variants"][0]["config"] == {"b": 2, "c": 3}
        assert accepted.operation.desired.spec["variants"][0]["model_uri"] == "models:/iris/1"


def test_labels_alone_need_no_operation_but_move_the_generation(db: Database) -> None:
    with db.write() as session:
        target = rows.target(session)
        land(session, create(session))
        before = session.scalars(select(Deployment)).unique().one().generation
        accepted = submit.patch(session, target, RULES, "iris", {"labels": {"team": "fraud"}}, ME)
        assert accepted.operation is None
        assert accepted.deployment.labels == {"team": "fraud"}
        assert accepted.deployment.generation == before + 1


def test_traffic_makes_a_revision_that_differs_in_nothing_else(db: Database) -> None:
    variants = [{"name": n, "model_uri": f"models:/iris/{n}", "flavor": None, "config": {}} for n in ("a", "b")]
    with db.write() as session:
        target = rows.target(session)
        spec = specs.build(RULES, variants=variants, traffic={"a": 100})
        land(session, submit.create(session, target, RULES, "iris", spec, {}, ME))
        accepted = submit.traffic(session, target, "iris", {"a": 80, "b": 20}, ME, rules=RULES)
        assert accepted.operation is not None
        assert accepted.operation.desired is not None
        assert accepted.operation.desired.spec == {**spec, "traffic": {"a": 80, "b": 20}}


def test_rollback_reuses_the_revision_that_served_before(db: Database) -> None:
    with db.write() as session:
        target = rows.target(session)
        land(session, apply(session, "models:/iris/1"))
        fail(session, apply(session, "models:/iris/2"))
        land(session, apply(session, "models:/iris/3"))
        accepted = submit.rollback(session, target, "iris", None, ME, rules=RULES)
        assert accepted.operation is not None
        assert accepted.operation.desired is not None
        assert accepted.operation.desired.number == 1
        assert accepted.operation.relative
        absolute = submit.rollback(session, target, "iris", 2, ME, rules=RULES)
        assert absolute.operation is not None
        assert not absolute.operation.relative


def test_rollback_after_a_rollback_and_an_update_goes_to_what_served_and_not_to_the_number_before(db: Database) -> None:
    with db.write() as session:
        target = rows.target(session)
        for model in ("models:/iris/1", "models:/iris/2"):
            land(session, apply(session, model))
        land(session, submit.rollback(session, target, "iris", None, ME, rules=RULES))
        land(session, apply(session, "models:/iris/3"))
        accepted = submit.rollback(session, target, "iris", None, ME, rules=RULES)
        assert accepted.operation is not None
        assert accepted.operation.desired is not None
        assert accepted.operation.desired.number == 1
        land(session, accepted)
        again = submit.rollback(session, target, "iris", None, ME, rules=RULES)
        assert again.operation is not None
        assert again.operation.desired is not None
        assert again.operation.desired.number == 3


def test_rollback_without_an_earlier_revision_is_refused(db: Database) -> None:
    with db.write() as session:
        land(session, create(session))
    with pytest.raises(problems.NoPreviousRevision), db.write() as session:
        submit.rollback(session, rows.target(session), "iris", None, ME, rules=RULES)
    with pytest.raises(problems.RevisionNotFound), db.write() as session:
        submit.rollback(session, rows.target(session), "iris", 9, ME, rules=RULES)


def test_delete_twice_is_one_operation_and_delete_of_nothing_is_refused(db: Database) -> None:
    with db.write() as session:
        land(session, create(session))
        first, second = delete(session), delete(session)
        assert first.operation is not None
        assert second.operation is not None
        assert first.operation.id == second.operation.id
        land(session, first)
    with pytest.raises(problems.DeploymentNotFound), db.write() as session:
        delete(session)


def test_delete_can_cancel_what_waits_before_it(db: Database) -> None:
    with db.write() as session:
        land(session, create(session))
        waiting = [apply(session, f"models:/iris/{version}").operation for version in (2, 3)]
        accepted = delete(session, cancel_pending=True)
        assert [operation and operation.state for operation in waiting] == [State.CANCELLED] * 2
        assert accepted.operation is not None
        assert accepted.operation.due_at is not None


def test_on_conflict_refuses_or_supersedes(db: Database) -> None:
    with db.write() as session:
        land(session, create(session))
        queued = apply(session, "models:/iris/2").operation
    with pytest.raises(problems.Busy), db.write() as session:
        apply(session, "models:/iris/3", Asked("tests", on_conflict="refuse"))
    with db.write() as session:
        accepted = apply(session, "models:/iris/3", Asked("tests", on_conflict="supersede"))
        assert queued is not None
        assert session.get_one(Operation, queued.id).state == State.CANCELLED
        assert accepted.operation is not None
        assert accepted.operation.state not in FINAL


def test_a_superseding_patch_builds_on_what_serves(db: Database) -> None:
    with db.write() as session:
        land(session, create(session))
        apply(session, "models:/iris/2")
        accepted = submit.patch(
            session, rows.target(session), RULES, "iris", {"config": {"a": 1}}, Asked("tests", on_conflict="supersede")
        )
        assert accepted.operation is not None
        assert accepted.operation.base_id == accepted.deployment.current_id
        assert accepted.operation.desired is not None
        assert accepted.operation.desired.spec["variants"][0]["model_uri"] == "models:/iris/1"


def test_the_queue_of_a_deployment_is_bounded(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = admission.settings().model_copy(update={"queue_size": 2})
    monkeypatch.setattr(admission, "settings", lambda: quiet)
    with db.write() as session:
        create(session)
        apply(session, "models:/iris/2")
    with pytest.raises(problems.QueueFull), db.write() as session:
        apply(session, "models:/iris/3")


def test_if_match_guards_the_generation(db: Database) -> None:
    with db.write() as session:
        accepted = create(session)
        tag = accepted.etag
        land(session, accepted)
    with db.write() as session:
        apply(session, "models:/iris/2", Asked("tests", if_match=tag))
    with pytest.raises(problems.StaleGeneration), db.write() as session:
        apply(session, "models:/iris/3", Asked("tests", if_match=tag))
    with pytest.raises(problems.PreconditionRequired), db.write() as session:
        submit.apply(session, rows.target(session), rules(require_if_match=True), "iris", rows.spec("m:/3"), None, ME)


def test_a_failure_moves_the_generation_because_the_tip_went_back(db: Database) -> None:
    with db.write() as session:
        land(session, create(session))
        accepted = apply(session, "models:/iris/2")
        tag = accepted.etag
        fail(session, accepted)
        assert submit.etag(session.scalars(select(Deployment)).unique().one()) != tag


def test_retry_is_a_new_operation_that_names_the_old_and_twice_is_one(db: Database) -> None:
    with db.write() as session:
        first = create(session)
        fail(session, first)
        assert first.operation is not None
        again = submit.retry(session, first.operation.id, ME)
        twice = submit.retry(session, first.operation.id, ME)
        assert again.operation is not None
        assert twice.operation is not None
        assert again.operation.id == twice.operation.id
        assert again.operation.retry_of == first.operation.id
        assert again.operation.desired_id == first.operation.desired_id
        assert again.operation.kind == Kind.CREATE
        with pytest.raises(problems.NotRetryable):
            submit.retry(session, again.operation.id, ME)


def test_retry_does_not_bring_back_what_a_relative_change_built_on(db: Database) -> None:
    with db.write() as session:
        land(session, create(session))
        wrong = apply(session, "models:/iris/2")
        on_it = submit.patch(session, rows.target(session), RULES, "iris", {"config": {"size": 2}}, ME)
        assert on_it.operation is not None
        fail(session, wrong)
        fail(session, on_it)
        with pytest.raises(problems.NotRetryable):
            submit.retry(session, on_it.operation.id, ME)
        sound = submit.patch(session, rows.target(session), RULES, "iris", {"config": {"size": 3}}, ME)
        fail(session, sound)
        assert sound.operation is not None
        again = submit.retry(session, sound.operation.id, ME).operation
        assert again is not None
        assert (again.relative, again.base_id) == (True, sound.operation.base_id)


def test_a_target_that_begins_with_one_variant_refuses_several_at_creation_only(db: Database) -> None:
    narrow = rules(variants_at_create=False)
    two = {
        "variants": [{"name": n, "model_uri": "models:/m", "flavor": None, "config": {}} for n in "ab"],
        "traffic": {"a": 100, "b": 0},
    }
    with pytest.raises(problems.NotSupportedByTarget), db.write() as session:
        submit.create(session, rows.target(session), narrow, "iris", two, {}, ME)
    with db.write() as session:
        submit.create(session, rows.target(session), narrow, "iris", rows.spec(), {}, ME)
        submit.apply(session, rows.target(session), narrow, "iris", two, None, ME)


def test_a_number_that_the_database_gives_back_in_another_form_is_no_difference(db: Database) -> None:
    spec = rows.spec(size=1e20, share=0.5)
    with db.write() as session:
        submit.create(session, rows.target(session), RULES, "iris", spec, {}, ME)
    with db.write() as session:
        accepted = submit.apply(session, rows.target(session), RULES, "iris", spec, None, ME)
        assert accepted.operation is not None
        assert accepted.operation.kind == Kind.CREATE


def test_what_does_not_exist_is_said(db: Database) -> None:
    with db.write() as session:
        target: Target = rows.target(session)
        with pytest.raises(problems.DeploymentNotFound):
            submit.patch(session, target, RULES, "iris", {"config": {}}, ME)
        with pytest.raises(problems.OperationNotFound):
            submit.cancel(session, "nonsense", ME)


@pytest.mark.parametrize(
    ("arguments", "problem", "field"),
    [
        ({}, problems.InvalidField, "model_uri"),
        ({"model_uri": " "}, problems.InvalidModelUri, "model_uri"),
        ({"model_uri": "a\nb"}, problems.InvalidModelUri, "model_uri"),
        ({"model_uri": "models:/m", "traffic": {"main": 99}}, problems.InvalidTraffic, "traffic"),
        ({"model_uri": "models:/m", "traffic": {"other": 100}}, problems.InvalidTraffic, "traffic.other"),
        ({"model_uri": "models:/m", "traffic": {"main": 101}}, problems.InvalidTraffic, "traffic.main"),
        ({"model_uri": "models:/m", "variants": []}, problems.InvalidField, "variants"),
        ({"variants": []}, problems.InvalidField, "variants"),
        ({"variants": [{"name": "a b", "model_uri": "models:/m"}]}, problems.InvalidName, "variants[0].name"),
        ({"variants": [{"name": "a", "model_uri": "models:/m"}] * 2}, problems.InvalidField, "variants[1].name"),
        (
            {"variants": [{"name": n, "model_uri": "models:/m"} for n in "abcd"]},
            problems.NotSupportedByTarget,
            "variants",
        ),
        ({"variants": [{"name": n, "model_uri": "models:/m"} for n in "ab"]}, problems.InvalidTraffic, "traffic"),
    ],
)
def test_a_wrong_specification_names_the_field(
    arguments: dict[str, Any], problem: type[problems.Invalid], field: str
) -> None:
    with pytest.raises(problem) as caught:
        specs.build(RULES, **arguments)
    assert [error.field for error in caught.value.errors] == [field]
    assert all(error.remedy for error in caught.value.errors)
