from __future__ import annotations

import re
from pathlib import Path

from operations.states import ALLOWED, FINAL, State

PAGE = (Path(__file__).resolve().parents[2] / "docs/states.md").read_text()
ARROWS = re.findall(r"^ +(\S+) --> (\S+)$", PAGE, re.M)


def test_the_diagram_is_the_table():
    drawn = [(State(before), State(after)) for before, after in ARROWS if "[*]" not in (before, after)]
    table = [(before, after) for before, afters in ALLOWED.items() for after in afters]
    assert sorted(drawn) == sorted(table)


def test_the_diagram_begins_and_ends_where_operations_do():
    assert [after for before, after in ARROWS if before == "[*]"] == [State.QUEUED]
    assert {before for before, after in ARROWS if after == "[*]"} == set(FINAL)


def test_every_state_is_explained_once():
    assert sorted(re.findall(r"^\| `(\w+)` \|", PAGE, re.M)) == sorted(State)
