"""What this machine remembers of a deployment: what it serves, and the highest fence it was written with.

<root>/<uid>/deployment.json   whose it is, its revision and its route; the switch of traffic is its replacement
<root>/<uid>/<server id>/      one server, see launch.py
<root>/fences/<uid>            the fence; it outlives a delete, so that a write from before it is still refused
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    """One deployment's folder, where it is ours. Opening it touches nothing."""

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
                raise Temporary(f"refused: a newer worker took a step with fence {seen}, this one carries {fence}")
            if fence > seen:
                file.truncate(0)
                file.write(str(fence))
                file.flush()
            yield

    def serves(self) -> JSON | None:
        """What is published, None before the first switch. Raises Conflict where it is another installation's."""
        found = read_json(self.folder / DEPLOYMENT)
        if found is not None and found["installation"] != self._installation:
            raise Conflict(_theirs(self.folder, found))
        return found

    def publish(self, document: JSON) -> None:
        """Switch: from now on this is what the deployment serves. What served before ``change`` is kept beside it."""
        before = self.serves()
        if before is not None:
            again = before["change"] == document["change"]
            before = before["previous"] if again else {**before, "previous": None}
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self.folder / DEPLOYMENT, {"installation": self._installation, **document, "previous": before})

    def restore(self, change: str) -> None:
        """Switch back to what served before this change, if what serves is this change's."""
        serves = self.serves()
        if serves is None or serves["change"] != change:
            return
        if serves["previous"] is None:
            self.withdraw()
        else:
            write_json(self.folder / DEPLOYMENT, serves["previous"])

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


@dataclass(frozen=True)
class Found:
    """A deployment's folder, whoever's it is. ``serves`` is None where nothing was published yet, or no more."""

    folder: Path
    installation: str
    name: str
    serves: JSON | None
    servers: list[Server]

    @property
    def uid(self) -> str:
        """The folder's name."""
        return self.folder.name


def everything(root: Path) -> list[Found]:
    """Every deployment of a target, in the order of their uids; reads what is published and whose each server is."""
    if not root.is_dir():
        return []
    folders = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name != FENCES]
    return [found for folder in folders if (found := _found(folder)) is not None]


def conflict(found: Iterable[Found], installation: str, uid: str, name: str) -> str | None:
    """Why this deployment may not be touched: its name, or its folder, is somebody else's."""
    for other in found:
        ours = (other.installation, other.uid) == (installation, uid)
        if not ours and (other.name == name or other.uid == uid):
            return _theirs(other.folder, {"installation": other.installation, "name": other.name})
    return None


def _theirs(folder: Path, marks: JSON) -> str:
    return (
        f"{folder} holds a deployment {marks['name']} of installation {marks['installation']} that is not this one; "
        "adopt it, or stop its servers and remove the folder"
    )


def _found(folder: Path) -> Found | None:
    serves, servers = read_json(folder / DEPLOYMENT), servers_in(folder)
    marks = serves or next((wanted for server in servers if (wanted := server.wanted())), None)
    return Found(folder, marks["installation"], marks["name"], serves, servers) if marks else None


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
