"""A real server whose target ``prod`` is a platform in a process of its own: fixtures for modules to import."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from modelport.client import Client
from operations.database import Database
from tests.fakes.platform import Platform
from tests.modelport.real_server import serving

__all__ = ["client", "database_url", "platform", "platform_process", "target", "url"]


@pytest.fixture(scope="module")
def platform_process() -> Iterator[Platform]:
    with Platform(seconds=0.0) as platform:
        yield platform


@pytest.fixture
def platform(platform_process: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    platform_process.reset()
    target = {"uri": platform_process.url, "settings": {"look_seconds": 0.02}}
    monkeypatch.setenv("MODELPORT_TARGETS", json.dumps({"prod": target}))
    return platform_process


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def url(platform: Platform, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    del platform
    with serving(db, monkeypatch, ["http"]) as url:
        yield url


@pytest.fixture
def target(url: str) -> str:
    """The target's URI for MLflow."""
    return f"{url.replace('http:', 'modelport:')}/prod"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client
