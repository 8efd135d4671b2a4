"""Calls to hosts that people named: resolved once, judged, and connected to exactly the address that was judged.

A literal address and ``localhost`` are allowed by being registered, exactly as they are written. A name may mean public
addresses and those of private networks, as in-house platforms have, but never loopback, link-local (where clouds hand
out credentials), multicast or reserved ones: whoever answers for the name could otherwise point it at this machine.
Proxies of the environment are not used: they would resolve names in our place. Redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ANSWER_BYTES = 64 * 1024 * 1024
PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")
METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"))
)


class Forbidden(httpcore.ConnectError):
    """The host means an address that is not called; the message says which and why."""


def client(limits: httpx.Limits, verify: ssl.SSLContext) -> httpx.Client:
    """A client for many threads that goes out through this module alone."""
    return httpx.Client(transport=Transport(limits, verify), follow_redirects=False, trust_env=False)


class Transport(httpx.HTTPTransport):
    """httpx's own, with connections that are made here."""

    def __init__(self, limits: httpx.Limits, verify: ssl.SSLContext) -> None:
        super().__init__(limits=limits, verify=verify, trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=verify,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=Backend(),
        )


class Backend(httpcore.SyncBackend):
    """Connects to addresses that were judged, never to names."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve once, judge every answer, connect to the first that works. Raises Forbidden before any connection."""
        failure: Exception | None = None
        for address in judged(host, port):
            try:
                return super().connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")


def judged(host: str, port: int) -> list[Address]:
    """The addresses of this host that may be called, from one resolution. Raises Forbidden, httpcore.ConnectError."""
    literal = _literal(host)
    if literal is not None:
        if literal in METADATA or literal.is_multicast or literal.is_unspecified:
            raise Forbidden(f"{host} is no address of a platform")
        return [literal]
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved: {error.strerror}") from None
    found = list(dict.fromkeys(ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers))
    for address in found:
        why_not = _refused(host, address)
        if why_not:
            # one such answer is enough: a name that has it is not one of a platform
            raise Forbidden(f"{host} means {address}, which is {why_not}; register the address itself if that is meant")
    return found


def check_host(host: str) -> str | None:
    """What is wrong with a host that is to be registered; None where it is well written."""
    literal = _literal(host)
    if literal is None:
        last = host.rstrip(".").rpartition(".")[2].lower()
        if last.isdecimal() or last.startswith("0x"):
            return f"{host} is another spelling of an address; write it as four numbers"
        return None
    if literal in METADATA or literal.is_multicast or literal.is_unspecified:
        return f"{host} is no address of a platform"
    if isinstance(literal, ipaddress.IPv6Address) and literal != _plain(literal):
        return f"{host} is an IPv4 address in other clothes; write {_plain(literal)}"
    return None


def _refused(host: str, address: Address) -> str | None:
    plain = _plain(address)
    if host.rstrip(".").lower() == "localhost":
        return None if plain.is_loopback else "not this machine"
    if plain in METADATA:
        return "where a cloud hands out credentials"
    if plain.is_loopback:
        return "loopback"
    if plain.is_multicast or not (plain.is_global or any(plain in network for network in PRIVATE)):
        return "neither public nor of a private network"
    return None


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address
