from __future__ import annotations

import json
from pathlib import Path

from pydantic_core import PydanticUndefined, to_jsonable_python

from operations.settings import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs/operating.md"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->"


def table() -> str:
    """The settings as they are in the code."""
    lines = ["| variable | default | what it is for |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        assert default is not PydanticUndefined
        shown = to_jsonable_python(default)
        text = shown if isinstance(shown, str) else json.dumps(shown)
        cell = f"`{text}`" if text else "empty"
        lines.append(f"| `MODELPORT_{name.upper()}` | {cell} | {field.description} |")
    return "\n".join(lines) + "\n"


def write() -> None:
    """Bring the page up to date: ``python -m tests.operations.test_settings_doc``."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2])


def test_the_table_of_settings_is_the_code():
    assert PAGE.read_text().partition(BEGIN)[2].partition(END)[0] == table()


def test_every_setting_says_what_it_is_for():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


if __name__ == "__main__":
    write()
