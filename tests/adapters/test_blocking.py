"""Driving a change to its end without the service, over real processes of the ``local`` target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.blocking import bring_about
from adapters.contract import Permanent
from tests.adapters.local_target import LocalTarget, local_target, processes_of


@pytest.fixture
def target(tmp_path: Path) -> Iterator[LocalTarget]:
    with local_target(tmp_path) as target:
        yield target


def test_it_returns_once_the_change_is_done(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("v1"))

    target.route = bring_about(target.adapter, target.change(desired), 60).route

    assert target.answer() == "v1"


def test_a_failure_is_taken_back_and_raised(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("bad", fail="no weights here"))

    with pytest.raises(Permanent, match=r"no weights here$"):
        bring_about(target.adapter, target.change(desired), 60)

    assert list(target.adapter.observe_all()) == []


def test_what_is_not_done_in_time_is_taken_back(target: LocalTarget) -> None:
    desired = target.spec(main=target.model("v1", hang=True))

    with pytest.raises(Permanent, match=r"not done in 1 s: variant main loads its model"):
        bring_about(target.adapter, target.change(desired), 1)

    assert not processes_of(target.folder)
