"""A model's server gives up what its code shall not have: the worker's user, its files, and more than its share."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.local import launch

root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a process of its own, or the reason for which it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result: Any = work()
        except SystemExit as end:
            result = f"exit: {end.code}"
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        found = json.loads(answer.read())
    os.waitpid(pid, 0)
    return found


@root
def test_it_becomes_the_user_for_good_and_keeps_only_its_own_folder(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o011 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    (tmp_path / launch.STATE).write_text("{}")
    secret = tmp_path / "secret"
    secret.write_text("hush")
    secret.chmod(0o600)

    def work() -> list[Any]:
        own = launch.confine(tmp_path, "nobody", {})
        (own / "model").mkdir()
        refused = []
        for act in (
            lambda: os.setuid(0),
            secret.read_text,
            lambda: (tmp_path / launch.STATE).write_text("{}"),
            lambda: (tmp_path / "new").write_text("x"),
            (tmp_path / launch.STATE).unlink,
        ):
            try:
                act()
                refused.append(False)
            except PermissionError:
                refused.append(True)
        return [os.getuid(), own.name, refused, os.environ["HOME"] == str(own), 0 in os.getgroups()]

    uid, own, refused, home, roots_group = in_child(work)
    assert uid != 0
    assert (own, refused, home, roots_group) == (launch.OWN, [True] * 5, True, False)


def test_limits_hold(tmp_path: Path) -> None:
    def work() -> list[Any]:
        launch.confine(tmp_path, None, {"AS": 2_000_000_000, "NOFILE": 64, "NPROC": None})
        try:
            bytearray(3_000_000_000)
        except MemoryError:
            return [True, resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)]
        return [False]

    assert in_child(work) == [True, [64, 64], [0, 0]]


def test_a_user_that_is_not_there_ends_it_with_the_reason(tmp_path: Path) -> None:
    assert "cannot run as nobody-here" in in_child(lambda: launch.confine(tmp_path, "nobody-here", {}) and None)
