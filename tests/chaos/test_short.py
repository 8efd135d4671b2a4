"""The short form of ``make chaos``: enough murder for every run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import run

pytestmark = pytest.mark.stack


@pytest.mark.timeout(280)
def test_nothing_is_lost_doubled_stuck_left_behind_or_wrong(tmp_path: Path) -> None:
    damage = run(tmp_path, operations=60, faults=12)
    assert damage.operations == 60
    assert damage.acceptable(fences=True), damage
