"""Ports of this machine's loopback address."""

from __future__ import annotations

import socket


def free_port(preferred: int | None = None) -> int:
    """The preferred port if nothing listens there, else one that the system picks.

    Another process may take it before it is used: whoever gets it must try again with another one if binding fails.
    """
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port or 0))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("this machine has no free port on 127.0.0.1")
