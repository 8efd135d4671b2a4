"""Files that a packing process and the adapter share, and what a model's files hold. Imports nothing but Python."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

LOCK, STATE, RESULT = "lock", "state.json", "result.json"
BLOCK = 1024 * 1024


def fingerprint(model: Path) -> str:
    """Twelve hex digits that change with the names and bytes of a model's files. Raises OSError without an MLmodel."""
    told = hashlib.sha256((model / "MLmodel").read_bytes())
    for path in sorted(model.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            told.update(f"\0{path.relative_to(model)}\0".encode())
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    told.update(block)
    return told.hexdigest()[:12]


def read_json(path: Path) -> dict[str, Any] | None:
    """The document, or None where there is none."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Replace the file in one go. Readable by us alone."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file)
    Path(name).replace(path)
