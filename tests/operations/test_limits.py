"""A target's limit: however the workers ask, no window of its length sees more writes than it allows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operations import limits
from operations.database import Database
from operations.models import Target
from operations.states import Kind, Lane
from tests import rows


def take(
    db: Database,
    at: float,
    wanted: int,
    *,
    writes: int,
    per_seconds: float,
    lane: Lane = Lane.WRITE,
    within_seconds: float = 0.0,
) -> limits.Taken:
    with db.write() as session:
        session.info["instant"] = at
        target = rows.target(session)
        return limits.take(
            session,
            target.id,
            wanted=wanted,
            lane=lane,
            writes=writes,
            per_seconds=per_seconds,
            within_seconds=within_seconds,
        )


@given(
    writes=st.integers(1, 60),
    per_seconds=st.sampled_from([1.0, 10.0, 300.0]),
    asked=st.lists(
        st.tuples(st.floats(0.0, 0.4), st.integers(1, 80), st.sampled_from([0.0, 1.0, 3.0])), min_size=1, max_size=30
    ),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_window_sees_more_than_the_limit(
    db: Database, writes: int, per_seconds: float, asked: list[tuple[float, int, float]]
) -> None:
    with db.write() as session:
        rows.target(session).tokens = 0.0
        rows.target(session).tokens_at = 0.0
    at = 1e9
    granted: list[float] = []
    for pause, wanted, within in asked:
        at += pause * per_seconds
        taken = take(db, at, wanted, writes=writes, per_seconds=per_seconds, within_seconds=within)
        granted += [at + taken.start(place) for place in range(taken.granted)]
        assert all(start <= at + within + 1e-3 for start in granted[len(granted) - taken.granted :])
    for first in granted:
        # a window of exactly that length that begins with a grant, its end not included
        assert sum(first <= other < first + per_seconds for other in granted) <= writes


def test_nearly_the_whole_limit_is_granted_to_those_who_keep_asking(db: Database) -> None:
    at, granted = 1e9, 0
    while at < 1e9 + 3000:
        taken = take(db, at, 1000, writes=50, per_seconds=300.0)
        granted += taken.granted
        at += max(taken.start(taken.granted), 0.001)
    assert granted >= 0.93 * 500


def test_who_waits_is_told_when_by_how_many_wait_before_it(db: Database) -> None:
    with db.write() as session:
        at = session.info["instant"] = 1e9
        for number in range(5):
            rows.submit(session, Kind.CREATE, f"m{number}", not_before=at + 10).due_at = at + 10
        other = rows.target(session, "other", "memory:/two")
        rows.submit(session, Kind.CREATE, "elsewhere", target=other, not_before=at + 10).due_at = at + 10
        session.flush()
    taken = take(db, 1e9, 12, writes=100, per_seconds=300.0)
    assert (taken.granted, taken.ahead) == (5, 5)
    assert taken.spacing == pytest.approx(302.0 / 95)
    assert [round(taken.wait(place) / taken.spacing, 6) for place in range(3)] == [6, 7, 8]
    assert taken.wait(1000) == 300.0
    assert taken.wait(0, begun=True) == pytest.approx(taken.spacing)


def test_a_limit_of_ten_a_second_is_used_up_by_who_asks_once_a_second(db: Database) -> None:
    at, granted = 1e9, 0
    for _ in range(60):
        granted += take(db, at, 1000, writes=10, per_seconds=1.0, within_seconds=1.0).granted
        at += 1.0
    assert granted >= 60 * 7.1


def test_a_new_bucket_is_full(db: Database, tmp_path: Path) -> None:
    assert take(db, 1e9, 3, writes=100, per_seconds=60.0).granted == 3
    with db.read() as session:
        assert session.query(Target).one().tokens == 2.0


def test_bulk_work_leaves_some_to_those_who_ask_for_one_thing(db: Database) -> None:
    assert take(db, 1e9, 100, writes=100, per_seconds=60.0, lane=Lane.BULK).granted == 4
    waits = take(db, 1e9, 100, writes=100, per_seconds=60.0, lane=Lane.BULK)
    assert (waits.granted, waits.start(0)) == (0, pytest.approx(62.0 / 95))
    assert take(db, 1e9, 2, writes=100, per_seconds=60.0).granted == 1
