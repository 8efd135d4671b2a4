"""Keys of the servers that run on this machine right now, so that who started them need not hand keys around.

One file for each address, ``keys/127.0.0.1:8000`` beside the profiles, readable by its owner alone and there while the
server is: a key is sent to loopback only, and not to whoever takes the port afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def read(url: str) -> str | None:
    """The key of the server at this address; None where there is none, or it is another machine's."""
    file = _file(url)
    if file is None:
        return None
    try:
        return file.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


@contextmanager
def kept(url: str, key: str | None) -> Iterator[None]:
    """Keep the key where ``read`` finds it, until the end. What cannot be written is left out."""
    file = _file(url)
    written = False
    if file is not None and key:
        with suppress(OSError):
            _write(file, key)
            written = True
    try:
        yield
    finally:
        if file is not None and written and read(url) == key:
            file.unlink(missing_ok=True)


def _write(file: Path, key: str) -> None:
    import tempfile  # which is slow to load, and seldom needed

    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # made with mode 0600, and in the place of the old one in one step
    handle, new = tempfile.mkstemp(dir=file.parent, prefix=".new")
    with os.fdopen(handle, "w", encoding="ascii") as out:
        out.write(f"{key}\n")
    Path(new).replace(file)


def _file(url: str) -> Path | None:
    from modelport import profiles

    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK:
        return None
    return profiles.path().parent / "keys" / f"127.0.0.1:{parts.port or 80}"
