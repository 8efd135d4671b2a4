"""What every adapter must do, whatever its target. One suite, run over each adapter against its target's fake.

Use it so, in the target's own test module::

    pytest.register_assert_rewrite("tests.adapters.harness", "tests.adapters.conformance")

    from tests.adapters.conformance import Conformance

    class TestConformance(Conformance):
        @pytest.fixture
        def harness(self):
            ...yield a tests.adapters.harness.Harness with nothing on its target...
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from adapters.contract import Change, Conflict, Fence, Handle, Seen, Spec, Temporary, Toward
from tests.adapters.harness import INSTALLATION, Drive, Habit, Harness, Kind, change, drive, look, new_fence, new_name

KINDS: tuple[Kind, ...] = ("create", "update", "traffic", "delete")
HABITS: tuple[Habit, ...] = ("twice", "forgetful", "lossy", "elsewhere")
MOST_MOVES = 20


@dataclass(frozen=True)
class Case:
    """A change that is ready to be driven, and what serves before and after it."""

    name: str
    change: Change
    before: Spec | None
    after: Spec | None


class Conformance:
    """Subclass it and give the fixture ``harness``."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_plan_is_deterministic_and_calls_nothing(self, harness: Harness, kind: Kind) -> None:
        case = prepare(harness, kind)
        before = harness.count()
        assert harness.open().plan(case.change) == harness.open().plan(case.change)
        assert harness.count() == before

    @pytest.mark.parametrize("kind", KINDS)
    def test_forward(self, harness: Harness, kind: Kind) -> None:
        case = prepare(harness, kind)
        end = forward(harness, case)
        assert_done(end)
        assert_serves(harness, case.name, case.after, end)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("habit", HABITS)
    def test_forward_has_the_same_effects_however_the_engine_fares(
        self, harness: Harness, kind: Kind, habit: Habit
    ) -> None:
        plain, hard = prepare(harness, kind), prepare(harness, kind)
        start = harness.count().effects
        assert_done(forward(harness, plain))
        needed = harness.count().effects - start
        end = forward(harness, hard, habit)
        assert_done(end)
        assert_serves(harness, hard.name, hard.after, end)
        assert harness.count().effects - start == 2 * needed
        assert len(harness.things(hard.name)) == len(harness.things(plain.name))

    @pytest.mark.parametrize("kind", KINDS)
    def test_forward_from_the_first_handle_again_changes_nothing(self, harness: Harness, kind: Kind) -> None:
        case = prepare(harness, kind)
        assert_done(forward(harness, case))
        effects, things = harness.count().effects, harness.things(case.name)
        end = forward(harness, case)
        assert_done(end)
        assert_serves(harness, case.name, case.after, end)
        assert (harness.count().effects, harness.things(case.name)) == (effects, things)

    def test_update_leaves_as_much_behind_as_a_create(self, harness: Harness) -> None:
        case = prepare(harness, "update")
        created = len(harness.things(case.name))
        assert_done(forward(harness, case))
        assert len(harness.things(case.name)) == created

    def test_update_answers_throughout(self, harness: Harness) -> None:
        case = prepare(harness, "update")
        route = placed_route(harness, case)
        answers: list[str] = []
        end = drive(harness, plan(harness, case), meanwhile=lambda: answers.append(harness.answering(route)))
        assert_done(end)
        a, b = (harness.spec(which).variants[0].model_uri for which in ("a", "b"))
        assert answers[0] == a
        assert set(answers) <= {a, b}
        assert_serves(harness, case.name, case.after, end)

    def test_update_to_what_is_there_already_changes_nothing(self, harness: Harness) -> None:
        name, a = new_name(), harness.spec("a")
        placed = create(harness, name, a)
        effects = harness.count().effects
        end = drive(harness, harness.open().plan(change(name, a, a, placed)))
        assert_done(end)
        assert_serves(harness, name, a, end)
        assert harness.count().effects == effects

    def test_update_with_a_wrong_hint_of_what_is_there(self, harness: Harness) -> None:
        name, b = new_name(), harness.spec("b")
        placed = create(harness, name, harness.spec("a"))
        end = drive(harness, harness.open().plan(change(name, None, b, placed)))
        assert_done(end)
        assert_serves(harness, name, b, end)

    def test_delete_of_what_is_absent_is_done(self, harness: Harness) -> None:
        name = new_name()
        effects = harness.count().effects
        end = drive(harness, harness.open().plan(change(name, harness.spec("a"), None)))
        assert_done(end)
        assert harness.count().effects == effects

    def test_create_after_a_delete(self, harness: Harness) -> None:
        case = prepare(harness, "delete")
        gone = forward(harness, case)
        assert_done(gone)
        again = drive(harness, harness.open().plan(change(case.name, None, case.before, gone.handle)))
        assert_done(again)
        assert_serves(harness, case.name, case.before, again)

    @pytest.mark.parametrize("kind", ["create", "update", "traffic"])
    def test_back_from_nothing(self, harness: Harness, kind: Kind) -> None:
        case = prepare(harness, kind)
        effects, things = harness.count().effects, harness.things(case.name)
        assert_done(drive(harness, plan(harness, case), "back"))
        assert (harness.count().effects, harness.things(case.name)) == (effects, things)
        assert_serves(harness, case.name, case.before)

    @pytest.mark.parametrize("kind", ["create", "update", "traffic"])
    @pytest.mark.parametrize("habit", ["once", *HABITS])
    def test_back_from_every_point_twice(self, harness: Harness, kind: Kind, habit: Habit) -> None:
        points = 0
        for moves in range(1, MOST_MOVES):
            case = prepare(harness, kind)
            things = len(harness.things(case.name))
            on_the_way = drive(harness, plan(harness, case), moves=moves)
            if on_the_way.progress is not None:
                break
            points += 1
            for handle in (on_the_way.handle, drive(harness, on_the_way.handle, "back", habit=habit).handle):
                undone = drive(harness, handle, "back", habit=habit)
                assert undone.progress is not None
                assert undone.progress.outcome in ("done", "landed")
                landed = undone.progress.outcome == "landed"
                assert_serves(harness, case.name, case.after if landed else case.before)
                assert landed or len(harness.things(case.name)) == things
        else:
            pytest.fail(f"not done after {MOST_MOVES} moves")
        assert points, "the change has no point between its start and its end"

    @pytest.mark.parametrize("kind", ["create", "update", "traffic"])
    def test_back_with_the_handle_of_before_the_first_step(self, harness: Harness, kind: Kind) -> None:
        case = prepare(harness, kind)
        things = len(harness.things(case.name))
        first = plan(harness, case)
        drive(harness, first, moves=1)
        undone = drive(harness, first, "back")
        assert_done(undone)
        assert_serves(harness, case.name, case.before)
        assert len(harness.things(case.name)) == things

    def test_forward_again_after_it_was_taken_back(self, harness: Harness) -> None:
        case = prepare(harness, "update")
        drive(harness, drive(harness, plan(harness, case), moves=1).handle, "back")
        end = forward(harness, case)
        assert_done(end)
        assert_serves(harness, case.name, case.after, end)

    def test_back_of_a_delete_before_its_first_write_undoes_nothing(self, harness: Harness) -> None:
        case = prepare(harness, "delete")
        effects = harness.count().effects
        assert_done(drive(harness, plan(harness, case), "back"))
        assert harness.count().effects == effects
        assert_serves(harness, case.name, case.before)

    @pytest.mark.parametrize("habit", ["once", *HABITS])
    def test_a_failed_create_tells_the_targets_words_and_is_taken_back(self, harness: Harness, habit: Habit) -> None:
        name = new_name()
        end = drive(harness, harness.open().plan(change(name, None, harness.broken())), habit=habit)
        assert_failed(harness, end)
        assert_done(drive(harness, end.handle, "back", habit=habit))
        assert harness.things(name) == set()

    @pytest.mark.parametrize("habit", ["once", *HABITS])
    def test_a_failed_update_tells_the_targets_words_and_is_taken_back(self, harness: Harness, habit: Habit) -> None:
        name, a = new_name(), harness.spec("a")
        placed = create(harness, name, a)
        things = len(harness.things(name))
        end = drive(harness, harness.open().plan(change(name, a, harness.broken(), placed)), habit=habit)
        assert_failed(harness, end)
        assert_done(drive(harness, end.handle, "back", habit=habit))
        assert_serves(harness, name, a)
        assert len(harness.things(name)) == things

    def test_a_failed_update_can_be_asked_for_again(self, harness: Harness) -> None:
        name, a = new_name(), harness.spec("a")
        placed = create(harness, name, a)
        asked = change(name, a, harness.broken(), placed)
        first = drive(harness, harness.open().plan(asked))
        drive(harness, first.handle, "back")
        effects = harness.count().effects
        assert_failed(harness, drive(harness, harness.open().plan(asked)))
        assert harness.count().effects > effects, "it was given up for its first failure without being tried"

    @pytest.mark.parametrize("kind", ["create", "delete"])
    def test_a_foreign_thing_is_a_conflict_and_is_not_touched(self, harness: Harness, kind: Kind) -> None:
        name, a = new_name(), harness.spec("a")
        occupant = harness.occupy(name)
        asked = change(name, None, a) if kind == "create" else change(name, a, None)
        with pytest.raises(Conflict, match=name):
            drive(harness, harness.open().plan(asked))
        assert harness.occupant(name) == occupant

    @pytest.mark.parametrize("kind", ["create", "delete"])
    def test_a_foreign_thing_is_not_touched_on_the_way_back(self, harness: Harness, kind: Kind) -> None:
        name, a = new_name(), harness.spec("a")
        occupant = harness.occupy(name)
        asked = change(name, None, a) if kind == "create" else change(name, a, None)
        assert_done(drive(harness, harness.open().plan(asked), "back"))
        assert harness.occupant(name) == occupant

    def test_a_deployment_of_the_same_installation_with_another_uid_is_foreign(self, harness: Harness) -> None:
        name, a, b = new_name(), harness.spec("a"), harness.spec("b")
        create(harness, name, a)
        with pytest.raises(Conflict, match=name):
            drive(harness, harness.open().plan(change(name, None, b, uid="another")))
        assert_serves(harness, name, a)

    @pytest.mark.parametrize("how_many", [1, 2, 9])
    def test_look_many_answers_for_every_key(self, harness: Harness, how_many: int) -> None:
        adapter, a = harness.open(), harness.spec("a")
        handles: dict[str, Handle] = {}
        for number in range(how_many):
            name = new_name()
            handles[f"key-{number}"] = adapter.plan(change(name, None, a))
            if number % 4 == 0:
                create(harness, name, a)
        before = harness.count().writes
        answers = adapter.look_many(handles)
        assert set(answers) == set(handles)
        assert all(isinstance(answer, Seen) for answer in answers.values())
        assert harness.count().writes == before

    def test_look_many_of_nothing(self, harness: Harness) -> None:
        assert dict(harness.open().look_many({})) == {}

    def test_a_look_says_the_same_in_company_as_alone(self, harness: Harness) -> None:
        adapter = harness.open()
        cases = [prepare(harness, "update") for _ in range(2)] + [prepare(harness, "create") for _ in range(4)]
        handles = {case.name: adapter.plan(case.change) for case in cases}
        together = adapter.look_many(handles)
        assert together == {name: look(harness, adapter, handle) for name, handle in handles.items()}

    def test_observe_all_tells_ours_from_theirs(self, harness: Harness) -> None:
        mine, theirs = new_name(), new_name()
        create(harness, mine, harness.spec("a"))
        harness.occupy(theirs)
        observed = {each.name: each for each in harness.open().observe_all()}
        assert observed[mine].uid == f"uid-{mine}"
        assert theirs not in observed or observed[theirs].uid is None

    def test_observe_all_tells_what_each_carries(self, harness: Harness) -> None:
        first, second, third = (new_name() for _ in range(3))
        create(harness, first, harness.spec("a"))
        create(harness, second, harness.spec("a"))
        create(harness, third, harness.spec("b"))
        contents = {each.name: each.content for each in harness.open().observe_all()}
        assert contents[first] is not None
        assert contents[first] == contents[second] != contents[third]

    def test_an_older_fence_changes_nothing(self, harness: Harness) -> None:
        if not harness.capabilities.has_preconditions:
            pytest.skip("the target cannot compare fences")
        case = prepare(harness, "update")
        adapter = harness.open()
        first = plan(harness, case)
        stale = look(harness, adapter, first)
        drive(harness, first, moves=1)
        drive(harness, first, "back")
        effects = harness.count().effects
        with pytest.raises(Temporary, match="newer worker"):
            adapter.step(first, stale, "forward", Fence(0))
        assert harness.count().effects == effects
        assert_serves(harness, case.name, case.before)

    def test_an_older_fence_changes_nothing_after_a_create_was_taken_back(self, harness: Harness) -> None:
        if not harness.capabilities.has_preconditions:
            pytest.skip("the target cannot compare fences")
        case = prepare(harness, "create")
        adapter = harness.open()
        first = plan(harness, case)
        stale = look(harness, adapter, first)
        drive(harness, first, "back")
        with pytest.raises(Temporary, match="newer worker"):
            adapter.step(first, stale, "forward", Fence(0))
        assert harness.things(case.name) == set()

    @pytest.mark.parametrize("toward", ["forward", "back"])
    @pytest.mark.parametrize("kind", ["create", "update", "delete"])
    def test_a_late_call_of_a_lost_worker_is_refused(self, harness: Harness, kind: Kind, toward: Toward) -> None:
        if not harness.capabilities.has_preconditions:
            pytest.skip("the target cannot compare fences")
        case = prepare(harness, kind)
        lost, handle = harness.open(), plan(harness, case)
        fence, stale = new_fence(), look(harness, lost, handle)
        ended = drive(harness, handle, toward, taken_over=True).progress
        assert ended is not None
        assert ended.outcome == "done"
        effects, things = harness.count().effects, harness.things(case.name)
        with pytest.raises(Temporary):
            lost.step(handle, stale, "forward", fence)
        assert (harness.count().effects, harness.things(case.name)) == (effects, things)

    def test_check_says_what_answered_in_one_line(self, harness: Harness) -> None:
        before = harness.count().writes
        said = harness.open().check()
        assert said.strip()
        assert "\n" not in said
        assert harness.count().writes == before

    def test_resolve_is_the_same_for_what_is_resolved(self, harness: Harness) -> None:
        adapter, a = harness.open(), harness.spec("a")
        resolved = adapter.resolve(a)
        assert adapter.resolve(resolved) == resolved
        assert resolved.traffic == a.traffic

    def test_close_twice(self, harness: Harness) -> None:
        adapter = harness.open()
        adapter.close()
        adapter.close()


def prepare(harness: Harness, kind: Kind) -> Case:
    """A change of this kind of a deployment of its own, whose earlier revision already serves."""
    a, b = harness.spec("a"), harness.spec("b")
    if kind == "traffic" and not harness.capabilities.can_split:
        pytest.skip("the target cannot split traffic")
    before, after = {
        "create": lambda: (None, a),
        "update": lambda: (a, b),
        "traffic": lambda: (harness.split(80, 20), harness.split(30, 70)),
        "delete": lambda: (a, None),
    }[kind]()
    name = new_name()
    placed = create(harness, name, before) if before else {}
    return Case(name, change(name, before, after, placed), before, after)


def create(harness: Harness, name: str, spec: Spec) -> Handle:
    """Deploy it; the handle with which that ended."""
    end = drive(harness, harness.open().plan(change(name, None, spec)))
    assert_done(end)
    return end.handle


def plan(harness: Harness, case: Case) -> Handle:
    """The first handle of the case's change."""
    return harness.open().plan(case.change)


def forward(harness: Harness, case: Case, habit: Habit = "once") -> Drive:
    """Drive the case's change to its end."""
    return drive(harness, plan(harness, case), habit=habit)


def placed_route(harness: Harness, case: Case) -> dict[str, object]:
    """Where the deployment's predictions go, as the target's listing tells it."""
    routes = {each.name: each.route for each in harness.open().observe_all()}
    route = routes[case.name]
    assert route is not None
    return route


def assert_done(end: Drive) -> None:
    """It ended, and well, leaving nothing."""
    assert end.progress is not None
    assert end.progress.outcome == "done", end.progress
    assert end.progress.leftovers == ()


def assert_failed(harness: Harness, end: Drive) -> None:
    """The target gave up, and its words are told."""
    assert end.progress is not None
    assert end.progress.outcome == "failed", end.progress
    assert harness.failure_words in end.progress.message


def assert_serves(harness: Harness, name: str, spec: Spec | None, end: Drive | None = None) -> None:
    """What is there answers predictions as ``spec`` says, by every account; where it is None, nothing is there."""
    observed = {each.name: each for each in harness.open().observe_all()}
    if spec is None:
        assert harness.things(name) == set()
        assert name not in observed
        assert end is None or (end.progress is not None and end.progress.route is None)
        return
    assert observed[name].uid == f"uid-{name}"
    route = observed[name].route
    if end is not None and end.progress is not None:
        assert end.progress.route is not None
        assert end.progress.phase == "clean"
        route = end.progress.route
    assert route is not None
    by_name = {variant.name: variant.model_uri for variant in spec.variants}
    assert harness.answering(route) in {by_name[variant] for variant, share in spec.traffic.items() if share}
    if harness.capabilities.can_pin:
        assert {variant: harness.answering(route, variant) for variant in by_name} == by_name
    seen = observed[name].spec
    if seen is not None:
        assert dict(seen.traffic) == dict(spec.traffic)
        assert {variant.name for variant in seen.variants} == set(by_name)


__all__ = ["INSTALLATION", "Conformance"]
