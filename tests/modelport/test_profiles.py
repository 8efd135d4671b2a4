"""Which server is asked, with which key; and ``modelport config``, which keeps them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from modelport import profiles
from modelport.connection import Connection
from modelport.exits import Exit
from modelport.profiles import Profile, ProfileError, Profiles
from tests.fakes.control_plane import ControlPlane
from tests.modelport.running import Run, documents

FILE = """
profile = "prod"
[profiles.prod]
url = "https://prod"
api_key = "prod-key"
[profiles.test]
url = "http://test/"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    monkeypatch.setenv("MODELPORT_CONFIG", str(path))
    return path


@pytest.fixture
def run_anywhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("MODELPORT_URL")
    return run


def made(url: str | None = None, key: str | None = None, profile: str | None = None) -> tuple[str, str | None]:
    found = Connection.made_from(url, key, None, profile)
    return found.url, found.api_key


@pytest.mark.usefixtures("file")
def test_what_goes_before_what(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made() == ("https://prod", "prod-key")
    assert made(profile="test") == ("http://test", None)
    monkeypatch.setenv("MODELPORT_PROFILE", "test")
    assert made() == ("http://test", None)
    assert made(profile="prod") == ("https://prod", "prod-key")
    monkeypatch.setenv("MODELPORT_URL", "http://environment")
    assert made() == ("http://environment", None)
    assert made(profile="prod") == ("https://prod", "prod-key")
    assert made(url="http://given", profile="prod") == ("http://given", None)


@pytest.mark.usefixtures("file")
def test_the_key_of_a_profile_goes_to_its_own_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(url="http://given") == ("http://given", None)
    assert made(key="given-key") == ("https://prod", "given-key")
    monkeypatch.setenv("MODELPORT_API_KEY", "environment-key")
    assert made() == ("https://prod", "environment-key")
    assert made(profile="prod") == ("https://prod", "prod-key")
    assert made(profile="test") == ("http://test", "environment-key")
    assert made(url="http://given") == ("http://given", "environment-key")


@pytest.mark.usefixtures("file")
def test_hints_reach_the_same_server() -> None:
    assert Connection.made_from(None, None, None).options == ""
    assert Connection.made_from("https://prod/", None, None).options == ""
    assert Connection.made_from("http://other", None, None).options == " --url http://other"
    assert Connection.made_from(None, None, None, "test").options == " --profile test"


def test_without_a_file_it_is_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert made() == ("http://127.0.0.1:8000", None)
    monkeypatch.delenv("MODELPORT_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert profiles.path() == tmp_path / "xdg" / "modelport" / "config.toml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profiles.path() == tmp_path / ".config" / "modelport" / "config.toml"


@pytest.mark.parametrize(
    "text",
    [
        "profile = ",
        "profile = 1",
        "profiles = 1",
        "[profiles.prod]\napi_key = 'x'",
        "[profiles.prod]\nurl = 1",
        "[profiles.prod]\nurl = 'http://x'\nkey = 'x'",
    ],
)
def test_a_file_that_cannot_be_read_is_named(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ProfileError, match=r"config\.toml"):
        made()
    assert made(url="http://given") == ("http://given", None)


@pytest.mark.usefixtures("file")
def test_a_profile_that_is_not_there_is_wrong_use_and_names_those_that_are(run_anywhere: Run) -> None:
    result = run_anywhere("ls", "--profile", "moon")
    assert result.exit_code == Exit.USAGE
    assert "prod, test" in " ".join(result.stderr.replace("│", " ").split())


def test_what_is_written_is_read_again(file: Path) -> None:
    odd = Profiles("a b", {"a b": Profile("http://x/ü?\n", 'k"ey\\'), "ö": Profile("http://y")})
    profiles.write(odd)
    assert profiles.read() == odd
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["config.toml"]


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("MODELPORT_CONFIG", str(tmp_path / "taken" / "config.toml"))
    with pytest.raises(ProfileError, match="cannot be written"):
        profiles.write(Profiles())


def test_the_commands(plane: ControlPlane, run_anywhere: Run) -> None:
    run = run_anywhere
    assert run("config", "set", "prod").exit_code == Exit.USAGE
    made = run("config", "set", "prod", "--url", f"{plane.url}/", "--api-key", "secret")
    assert made.stdout == f"profile prod: {plane.url}, in use\n"
    assert run("config", "set", "test", "--url", "http://test").stdout == "profile test: http://test\n"
    assert run("ls").exit_code == Exit.OK
    assert plane.requests[-1].headers["Authorization"] == "Bearer secret"

    listed = run("config", "ls")
    assert [line.split() for line in listed.stdout.splitlines()[1:]] == [
        ["prod", plane.url, "set", "yes"],
        ["test", "http://test", "none"],
    ]
    assert "secret" not in run("config", "ls", "--json").output + run("config", "show").output
    [shown] = documents(run("config", "show", "--json"))
    assert (shown["url"], shown["has_api_key"]) == (plane.url, True)
    assert shown["origin"].startswith("profile prod of ")

    assert run("config", "use", "test").stdout == "profile test is in use: http://test\n"
    assert run("ls", "--profile", "prod").exit_code == Exit.OK
    assert run("config", "rm", "test").exit_code == Exit.OK
    assert run("config", "use", "test").exit_code == Exit.USAGE
    assert [each["in_use"] for each in documents(run("config", "ls", "--json"))[0]["items"]] == [False]


def test_a_key_is_asked_for_and_kept_for_its_server_alone(run_anywhere: Run) -> None:
    run = run_anywhere
    asked = run("config", "set", "prod", "--url", "http://prod", "--ask-api-key", input=b"secret\n")
    assert asked.exit_code == Exit.OK
    assert "secret" not in asked.output
    assert profiles.read().get("prod") == Profile("http://prod", "secret")
    run("config", "set", "prod")
    assert profiles.read().get("prod").api_key == "secret"
    run("config", "set", "prod", "--url", "http://elsewhere")
    assert profiles.read().get("prod") == Profile("http://elsewhere", None)
