"""``docs/targets/http.md``: what it shows is run through the service against the reference implementation."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.http.describe import HttpConfig, HttpSettings
from modelport.cli import app
from operations.database import Database
from tests.adapters.test_http_reference import SECRET, Served
from tests.modelport.real_server import serving

PAGE = Path(__file__).parents[2] / "docs/targets/http.md"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("PLATFORM_TOKEN", SECRET)
    with Served(token=SECRET) as served:
        yield served
    assert served.broken == []


@pytest.fixture
def url(platform: Served, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(db, monkeypatch, ["http"]) as url:
        yield url


def test_the_commands_do_what_the_page_says(url: str, platform: Served) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    told, there = [], []
    for line in block.splitlines():
        command = line.removeprefix("$ ").replace("https://platform.example.com/base", platform.url)
        program, *arguments = shlex.split(command)
        assert program == "modelport"
        ran = CliRunner().invoke(app, [*arguments, "--url", url])
        assert ran.exit_code == 0, f"{command}: {ran.output}"
        told.append(ran.stdout)
        there.append(platform.shown("iris"))

    _, created, predicted, split, pinned, traffic, rolled_back, deleted = range(len(told))
    shares = [shown["traffic"] if shown else None for shown in there]
    assert shares[created] == shares[rolled_back] == {"main": 100}
    assert (shares[split], shares[traffic]) == ({"now": 90, "next": 10}, {"now": 50, "next": 50})
    assert json.loads(told[predicted])["predictions"] == ["models:/iris/1"]
    assert json.loads(told[pinned])["predictions"] == ["models:/iris/2"]
    assert (there[created] or {})["variants"][0]["platform"] == {"team": "fraud"}
    assert there[deleted] is None


def test_the_page_has_every_key() -> None:
    text = PAGE.read_text()
    for model in (HttpConfig, HttpSettings):
        assert all(f"`{name}`" in text for name in model.model_fields)


def test_the_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text())
    assert links
    assert all((PAGE.parent / link).exists() for link in links)
