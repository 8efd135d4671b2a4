"""What users and names could make us call: none of it is reached, and real servers on this machine say so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from adapters import outgoing
from adapters.contract import Permanent, Place, Temporary
from adapters.http.connection import base_of, open_client
from adapters.http.platform import Platform


class Server:
    """A server that counts who reached it, and redirects or talks for ever if it is told to."""

    def __init__(self, redirect: str | None = None, endless: bool = False) -> None:
        self.reached = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.reached += 1
                self.send_response(302 if redirect else 200)
                if redirect:
                    self.send_header("Location", redirect)
                if not endless:
                    self.send_header("Content-Length", "2")
                self.end_headers()
                try:
                    self.wfile.write(b"{}")
                    while endless:
                        self.wfile.write(b" " * 65536)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def make(**how: Any) -> Server:
        started.append(Server(**how))
        return started[-1]

    yield make
    for server in started:
        server.close()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with open_client() as client:
        yield client


class Names:
    """A resolver in whose hands some names are; how often each was asked is counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked = 0
        real = socket.getaddrinfo

        def resolve(host: Any, port: Any, *rest: Any, **kw: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            if name not in self.answers:
                return real(host, port, *rest, **kw)
            self.asked += 1
            answers = self.answers[name]
            now = answers.pop(0) if len(answers) > 1 else answers[0]
            return [
                (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in now
            ]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.1.2.3", "169.254.169.254", "169.254.1.1", "100.100.100.200", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "::1", "::", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "fe80::1", "ff02::1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "fd00:ec2::254",
    ],
)  # fmt: skip
def test_a_name_that_means_such_an_address_is_not_called(names: Names, address: str) -> None:
    names.answers["platform.example"] = [[address]]
    with pytest.raises(outgoing.Forbidden):
        outgoing.judged("platform.example", 80)
    names.answers["platform.example"] = [["10.255.255.1", address]]
    with pytest.raises(outgoing.Forbidden):
        outgoing.judged("platform.example", 80)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "10.1.2.3", "172.16.0.1", "192.168.1.1", "fd12::1", "2606:2800::1"]
)
def test_public_and_private_platforms_are_called(names: Names, address: str) -> None:
    names.answers["platform.example"] = [[address]]
    assert [str(found) for found in outgoing.judged("platform.example", 80)] == [address]


def test_dns_that_changes_its_answer_reaches_nothing(
    start: Callable[..., Server], names: Names, client: httpx.Client
) -> None:
    server = start()
    # public when it is judged, this machine when it would be connected to
    names.answers["rebind.example"] = [["127.0.0.1"]]
    with pytest.raises(httpx.ConnectError, match="loopback"):
        client.get(f"http://rebind.example:{server.port}/")
    names.answers["rebind.example"] = [["10.255.255.1"], ["127.0.0.1"]]
    names.asked = 0
    with pytest.raises(httpx.TransportError):
        client.get(f"http://rebind.example:{server.port}/", timeout=0.05)
    assert (server.reached, names.asked) == (0, 1), "what was judged is what is connected to"
    with pytest.raises(httpx.ConnectError):
        client.get(f"http://rebind.example:{server.port}/", timeout=0.05)
    assert server.reached == 0


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.", "0"])
def test_other_spellings_of_loopback_reach_nothing(
    start: Callable[..., Server], client: httpx.Client, host: str
) -> None:
    server = start()
    with pytest.raises((httpx.TransportError, httpx.InvalidURL)):
        client.get(f"http://{host}:{server.port}/")
    assert server.reached == 0
    with pytest.raises(Permanent):
        base_of(Place("p", f"http://{host}:{server.port}", "i", ""))


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest", "http://[::ffff:127.0.0.1]:80", "http://[::ffff:a9fe:a9fe]", "http://0.0.0.0:80",
        "http://[64:ff9b::7f00:1]", "http://user:pass@host", "http://[fd00:ec2::254]", "ftp://host", "http://",
        "http://host/?x=1", "http://host/#x", "http://2852039166/",
    ],
)  # fmt: skip
def test_such_a_target_cannot_be_used(uri: str) -> None:
    with pytest.raises((Permanent, ValueError)):
        base_of(Place("p", uri, "i", ""))


def test_what_is_registered_is_reached_and_a_redirect_is_not_followed(
    start: Callable[..., Server], client: httpx.Client
) -> None:
    inner = start()
    outer = start(redirect=f"http://127.0.0.1:{inner.port}/secret")
    for host in ("127.0.0.1", "localhost"):
        assert client.get(f"http://{host}:{inner.port}/").status_code == 200
    assert inner.reached == 2
    with pytest.raises(Permanent, match="redirects"):
        Platform(Place("p", f"http://127.0.0.1:{outer.port}", "i", "")).get("x")
    assert (outer.reached, inner.reached) == (1, 2)


def test_an_answer_without_an_end_is_cut_off(start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "ANSWER_BYTES", 1_000_000)
    server = start(endless=True)
    with pytest.raises(Temporary, match="longer than"):
        Platform(Place("p", f"http://127.0.0.1:{server.port}", "i", "")).get("x")


def test_proxies_of_the_environment_are_not_used(start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server, proxy = start(), start()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    with open_client() as client:
        client.get(f"http://127.0.0.1:{server.port}/")
    assert (server.reached, proxy.reached) == (1, 0)
