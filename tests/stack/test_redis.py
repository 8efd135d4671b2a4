from __future__ import annotations

import stat
import tempfile
from urllib.parse import urlsplit

import psutil
import pytest
import redis as client
from kombu import Connection

from stack.redis import Redis, RedisNotReady


@pytest.fixture(scope="module")
def redis():
    with Redis() as server:
        yield server


def test_kombu_sends_and_receives_through_the_url(redis):
    with Connection(redis.url) as connection, connection.SimpleQueue("hints") as queue:
        queue.put({"there is": "work"})
        assert queue.get(timeout=5).payload == {"there is": "work"}


def test_without_the_password_nothing_is_answered(redis):
    with client.Redis(unix_socket_path=str(redis.socket)) as stranger, pytest.raises(client.AuthenticationError):
        stranger.ping()


def test_folder_config_and_socket_belong_to_their_user_alone(redis):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (redis.folder, redis._config, redis.socket)}
    assert modes == {redis.folder.name: 0o700, "redis.conf": 0o600, "redis.sock": 0o700}


def test_the_password_is_on_no_command_line_and_no_tcp_port_is_open(redis):
    password = urlsplit(redis.url).password
    process = psutil.Process(redis._process.pid)
    assert password not in " ".join(process.cmdline())
    assert process.net_connections(kind="inet") == []


def test_the_socket_moves_to_a_short_folder_when_the_temporary_one_is_long(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with Redis() as server:
        assert not server.folder.is_relative_to(long)
        assert server.ready()
    assert list(long.iterdir()) == []


def test_stopping_leaves_no_process_and_no_file():
    with Redis() as server:
        process = psutil.Process(server._process.pid)
    server.stop()
    server.remove()
    assert not process.is_running()
    assert not server.folder.exists()


def test_a_server_that_ends_at_once_says_why_and_leaves_nothing():
    server = Redis()
    server._config.write_text("no-such-directive 1\n")
    with pytest.raises(RedisNotReady, match="no-such-directive"):
        server.__enter__()
    assert not server.folder.exists()


def test_two_servers_share_nothing(redis):
    with Redis() as other:
        assert other.url != redis.url
        assert other.folder != redis.folder
        assert redis.ready()
