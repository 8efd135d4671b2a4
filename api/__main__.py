"""``python -m api``: serves the HTTP interface where the settings say, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from api.app import create_app
from api.authentication import may_listen
from operations import logs
from operations.settings import settings

STARTUP_FAILED = 3

log = structlog.get_logger(__name__)


class Patient(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # whichever of uvicorn's two is installed
    """uvicorn's own, which closes a connection that brings no whole request's headers for a while.

    uvicorn itself closes idle connections, but waits without end for the rest of headers that have begun.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:
        """As uvicorn's, with a clock."""
        super().connection_made(transport)
        self._last: object = None
        self._clock = self.loop.call_later(settings().header_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's."""
        self._clock.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._last is self.cycle:
            self.transport.close()
            return
        self._last = self.cycle
        self._clock = self.loop.call_later(settings().header_seconds, self._look)


class Server(uvicorn.Server):
    """Ends long polls and event streams when it is told to stop; what else is in flight may finish."""

    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        self._app = app
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,  # the libraries' lines go where ours go
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            http=Patient,
            limit_concurrency=settings().connections,
            timeout_graceful_shutdown=round(settings().api_stop_seconds),
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, and says where it listens, which port 0 leaves to the system."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            log.info("listening", address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which waits for everything in flight."""
        if self.started:
            self._app.state.watch.close()
        await super().shutdown(sockets)


def serve() -> int:
    """Serve; blocks until told to stop. The process's exit code."""
    logs.configure()
    refused = may_listen(host_is_loopback=_is_loopback(settings().api_host))
    if refused is not None:
        log.error("not_listening", host=settings().api_host, reason=refused.detail)
        return STARTUP_FAILED
    server = Server(create_app(), host=settings().api_host, port=settings().api_port)
    server.run()
    return 0 if server.started else STARTUP_FAILED


def _is_loopback(host: str) -> bool:
    """Whether everything that this name or address means is this machine alone."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)


if __name__ == "__main__":
    sys.exit(serve())
