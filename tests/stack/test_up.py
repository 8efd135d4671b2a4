"""The stack's own work, with stand-ins for API and workers, and with the real broker and the real Flower."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from stack import up
from stack.supervisor import ChildEnded
from stack.up import CHECKOUT, Stack, StackFailed
from tests.stack.waiting import until

FLOWER = next(line for line in (CHECKOUT / "Procfile").read_text().splitlines() if line.startswith("flower:"))
SERVER = 'cd "$MODELPORT_FOLDER" && exec python -m http.server $MODELPORT_API_PORT --bind 127.0.0.1'


def procfile(folder, **commands):
    """A Procfile of stand-ins; a command given by name replaces one of them."""
    lines = {
        "release": 'sh -c \'mkdir -p "$MODELPORT_FOLDER" && echo ok > "$MODELPORT_FOLDER/readyz"\'',
        "write": "sleep 600",
        "look": "sleep 600",
        "api": f"sh -c '{SERVER}'",
        "flower": f"sh -c 'exec python -m http.server $FLOWER_PORT --bind 127.0.0.1 -d {folder}'",
        **commands,
    }
    folder.mkdir(exist_ok=True)
    (folder / "healthcheck").write_text("OK")
    path = folder / "Procfile"
    path.write_text("".join(f"{name}: {command}\n" for name, command in lines.items()))
    return path


@pytest.fixture
def taken_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """One stack with real broker and real Flower for the tests that only look at it."""
    folder = tmp_path_factory.mktemp("running with space")
    file = procfile(folder / "parts", flower=FLOWER.partition(": ")[2])
    with Stack(folder / "data", procfile=file) as stack:
        yield stack


def test_flower_answers_its_user_and_nobody_else(running):
    workers = f"{running.flower_url}/api/workers"
    assert httpx.get(workers).status_code == 401
    assert httpx.get(workers, auth=running.flower_auth).status_code == 200


def test_flowers_password_is_readable_for_its_user_alone(running):
    assert running.new_password
    assert stat.S_IMODE(running.flower_password_file.stat().st_mode) == 0o600


def test_no_command_line_holds_a_password(running):
    broker = psutil.Process(running.pids()["write"]).environ()["MODELPORT_BROKER_URL"]
    passwords = [urlsplit(broker).password, running.flower_auth[1]]
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines for password in passwords if password in line]


def test_every_part_leads_a_group_of_its_own(running):
    assert {name: os.getpgid(pid) for name, pid in running.pids().items()} == running.pids()
    assert set(running.pids()) == {"redis", "write", "look", "api", "flower"}


def test_a_folder_runs_one_stack_at_a_time(running):
    with pytest.raises(StackFailed, match="already runs"):
        Stack(running.folder).__enter__()


def test_the_password_stays_the_same_at_the_next_start(tmp_path):
    file = procfile(tmp_path / "parts")
    with Stack(tmp_path / "data", procfile=file) as first:
        auth = first.flower_auth
    with Stack(tmp_path / "data", procfile=file) as second:
        assert (second.flower_auth, second.new_password) == (auth, False)


def test_flower_keeps_its_state_in_the_folder_even_if_its_path_has_spaces(tmp_path):
    file = procfile(tmp_path / "parts", flower=FLOWER.partition(": ")[2])
    with Stack(tmp_path / "my data", procfile=file) as stack:
        pass
    assert list(stack.folder.glob("flower.db*"))


def test_taken_ports_are_left_to_who_has_them(tmp_path, taken_port, monkeypatch):
    monkeypatch.setattr(up, "API_PORT", taken_port)
    monkeypatch.setattr(up, "FLOWER_PORT", taken_port)
    with Stack(tmp_path / "data", procfile=procfile(tmp_path / "parts")) as stack:
        assert taken_port not in (stack.api_port, stack.flower_port)
        assert httpx.get(f"{stack.api_url}/readyz").text == "ok\n"


def test_a_port_lost_between_the_look_and_the_bind_is_replaced(tmp_path, taken_port, monkeypatch):
    found = up.free_port
    monkeypatch.setattr(up, "free_port", lambda preferred=None: taken_port if preferred else found())
    with Stack(tmp_path / "data", procfile=procfile(tmp_path / "parts")) as stack:
        assert taken_port not in (stack.api_port, stack.flower_port)


def test_leaving_stops_every_process_and_removes_the_brokers_folder(tmp_path):
    with Stack(tmp_path / "data", procfile=procfile(tmp_path / "parts")) as stack:
        processes = {name: psutil.Process(pid) for name, pid in stack.pids().items()}
        broker = Path(urlsplit(processes["write"].environ()["MODELPORT_BROKER_URL"]).path)
        assert broker.is_socket()
    assert [name for name, process in processes.items() if process.is_running()] == []
    assert not broker.parent.exists()


@pytest.mark.parametrize("name", ["redis", "write", "look", "api", "flower"])
def test_a_part_that_ends_takes_the_others_with_it(tmp_path, name):
    with Stack(tmp_path / "data", procfile=procfile(tmp_path / "parts")) as stack:
        processes = [psutil.Process(pid) for pid in stack.pids().values()]
        os.kill(stack.pids()[name], signal.SIGKILL)
        with pytest.raises(ChildEnded, match=f"{name} was ended by SIGKILL"):
            stack.wait()
    assert [process for process in processes if process.is_running()] == []


@pytest.mark.parametrize("name", ["release", "write", "api", "flower"])
def test_a_part_that_does_not_start_is_named_with_its_last_words(tmp_path, name):
    file = procfile(tmp_path / "parts", **{name: "sh -c 'echo no disk; exit 7'"})
    with pytest.raises(StackFailed, match=rf"{name} ended with exit code 7(.|\n)*no disk"):
        Stack(tmp_path / "data", procfile=file).__enter__()


def test_a_part_that_is_never_ready_fails_the_start_in_time(tmp_path):
    file = procfile(tmp_path / "parts", api="sh -c 'echo thinking; exec sleep 600'")
    with pytest.raises(StackFailed, match=r"api is not ready after 1 s(.|\n)*thinking"):
        Stack(tmp_path / "data", procfile=file, start_timeout_seconds=1.0).__enter__()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_every_way_of_ending_the_command_ends_all_of_it(tmp_path, number, code):
    file = procfile(tmp_path / "parts")
    script = (
        "import runpy, stack.up; from pathlib import Path;"
        f"stack.up.Stack.__init__.__kwdefaults__['procfile'] = Path({str(file)!r});"
        "import sys; sys.argv = ['stack', 'up', '--folder', sys.argv[1]];"
        "runpy.run_module('stack', run_name='__main__')"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("MODELPORT_")}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, env=env
    ) as command:
        next(line for line in command.stdout if "Ctrl-C stops everything" in line)
        children = psutil.Process(command.pid).children(recursive=True)
        assert len(children) >= 6
        command.send_signal(number)
        assert command.wait(30) == code
    until(lambda: not [child for child in children if _alive(child)])


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
