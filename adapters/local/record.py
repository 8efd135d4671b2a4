"""What this machine remembers of a deployment: what it serves, and the highest fence it was written with.

<root>/<uid>/deployment.json   whose it is, its revision and its route; the switch of traffic is its replacement
<root>/<uid>/<server id>/      one server, see launch.py
<root>/fences/<uid>            the fence; it outlives a delete, so that a write from before it is still refused
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from adapters.contract import JSON, Conflict, Place, Temporary
from adapters.local.launch import read_json, write_json
from adapters.local.servers import Server, servers_in

DEPLOYMENT = "deployment.json"
FENCES = "fences"


def root_of(place: Place) -> Path:
    """Where the deployments of this target live."""
    return Path(place.folder).absolute() / "local" / quote(place.name, safe="")


class Record:
    """One deployment's folder. Opening it touches nothing."""

    def __init__(self, root: Path, uid: str, installation: str) -> None:
        self.folder = root / uid
        self._fence = root / FENCES / uid
        self._installation = installation

    @contextmanager
    def writing(self, fence: int, timeout: float) -> Iterator[None]:
        """One writer at a time on this machine, and none with a lower fence than was seen.

        Waits for at most ``timeout`` seconds; then, and for a stale fence, raises Temporary.
        """
        self._fence.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._fence.open("a+") as file:
            _lock(file.fileno(), timeout)
            file.seek(0)
            seen = int(file.read() or 0)
            if fence < seen:
                raise Temporary(f"refused: a step with fence {seen} was taken, this one carries {fence}")
            if fence > seen:
                file.truncate(0)
                file.write(str(fence))
                file.flush()
            yield

    def serves(self) -> JSON | None:
        """What is published, None before the first switch. Raises Conflict where it is another installation's."""
        found = read_json(self.folder / DEPLOYMENT)
        if found is not None and found["installation"] != self._installation:
            raise Conflict(f"{self.folder} holds {found['installation']}'s deployment {found['name']}")
        return found

    def publish(self, document: JSON) -> None:
        """Switch: from now on this is what the deployment serves."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self.folder / DEPLOYMENT, {"installation": self._installation, **document})

    def withdraw(self) -> None:
        """From now on it serves nothing."""
        (self.folder / DEPLOYMENT).unlink(missing_ok=True)

    def server(self, server_id: str) -> Server:
        """The server of this name, there or not."""
        return Server(self.folder / server_id)

    def servers(self) -> list[Server]:
        """Every server that has a folder, wanted or not."""
        return servers_in(self.folder)

    def close(self) -> None:
        """Remove the folder once nothing is in it."""
        if self.folder.is_dir():
            self.folder.rmdir()


def records(root: Path) -> Iterator[tuple[str, JSON | None, list[Server]]]:
    """Everything under a target: uid, what is published, servers. Whoever's it is."""
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and folder.name != FENCES:
            yield folder.name, read_json(folder / DEPLOYMENT), servers_in(folder)


def _lock(descriptor: int, timeout: float) -> None:
    """flock and not lockf: it also keeps the threads of one process apart."""
    until = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise Temporary("another step of this deployment is still under way on this machine") from None
            time.sleep(0.02)
        else:
            return
