"""Modules that a fork had to import are imported by its parent, so that no later fork has to.

Clients import much of what they need when they are first used: MLflow's Databricks client two hundred modules, which
takes a second and a half of a processor, against nine milliseconds for the call itself.
"""

from __future__ import annotations

import importlib
import json
import socket
import sys

DATAGRAM_BYTES = 100_000


class Learning:
    """Made by the parent before it forks. A datagram is whole or not there, whoever else sends at that moment."""

    def __init__(self) -> None:
        self.inbox, self._outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.inbox, self._outbox):
            end.setblocking(False)
        self._tried: set[str] = set()
        self._known: frozenset[str] = frozenset()

    def in_fork(self) -> None:
        """At the beginning of a fork: what is imported from now on is new."""
        self._known = frozenset(sys.modules)

    def tell(self) -> None:
        """At the end of a fork. A message that cannot be sent is left out: the next fork has the same to tell."""
        new = [name for name in sys.modules if name not in self._known]
        message = json.dumps(new).encode()
        if new and len(message) <= DATAGRAM_BYTES:
            try:
                self._outbox.send(message)
            except OSError:
                return

    def take(self) -> None:
        """In the parent, once the inbox is readable: import what was told and not tried before."""
        names: list[str] = json.loads(self.inbox.recv(DATAGRAM_BYTES))
        for name in names:
            if name not in self._tried and name not in sys.modules:
                self._tried.add(name)
                try:
                    importlib.import_module(name)
                except Exception as error:
                    # what cannot be imported by its name alone is left to the forks
                    sys.stderr.write(f"not imported beforehand: {name}: {error}\n")
