"""Which model URIs are taken: known schemes, folders that the operator named, and one spelling for each.

What is not in its one spelling is refused, not repaired: dots, encodings, backslashes, fragments and queries are how
paths got out of their folders in MLflow (CVE-2023-1177, CVE-2023-2780, CVE-2024-3573, CVE-2025-11201, CVE-2026-2614).
Loading a model runs its code; nothing here changes that.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from operations.disclosure import check_text
from operations.problems import InvalidModelUri
from operations.settings import settings

LENGTH = 2048
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(/.*)", re.DOTALL)
FIXED = re.compile(r"#(files|content)=[0-9a-f]{12}\Z")
"""What a target that reads or packs a path's files adds to it, to fix them."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*(/[A-Za-z0-9][A-Za-z0-9_.@-]*)*")
REMEDY = "give it as MLflow knows it: models:/name/1, models:/name@alias, runs:/id/path, or a whole path"


def check(uri: str, field: str = "model_uri", *, schemes: Sequence[str] = (), names: bool = False) -> None:
    """Whether it can be a model URI at all, and one that is taken here. Asks no disk. Raises InvalidModelUri.

    ``schemes`` are taken beside the operator's, and with ``names`` a name that only the target knows.
    """
    if names and NAME.fullmatch(uri) and len(uri) <= LENGTH:
        check_text(uri, field)
        return
    fault = _fault(uri, schemes)
    if fault is not None:
        raise InvalidModelUri.one(field, *fault)
    check_text(uri, field)
    path = local_path(uri)
    if path is not None and not _within(path, _roots()):
        raise InvalidModelUri.one(field, "is a path outside of the folders that models may be in", _allowed_folders())


def check_at_use(uris: Iterable[str], *, names: bool = False) -> None:
    """Paths at the moment of use, on the machine that reads the files: no link may lead out either.

    Who can write into the folder can still change it afterwards. Raises InvalidModelUri.
    """
    for uri in uris:
        path = local_path(uri)
        if path is None or (names and NAME.fullmatch(uri)):
            continue
        check(uri)
        roots = _roots()
        for found in (path, *_links(path)):
            if not _within(os.path.realpath(found), roots):
                out = "leads out of the folders that models may be in"
                raise InvalidModelUri.one("model_uri", out, _allowed_folders())


def local_path(uri: str) -> str | None:
    """The path that it names on the machine that reads it; None where it names none."""
    text = FIXED.sub("", uri)
    if text.startswith("file:"):
        text = text.removeprefix("file:").removeprefix("//")
        return text.removeprefix("localhost") if text.startswith("localhost/") else text
    return None if SCHEME.fullmatch(text) else text


def _fault(uri: str, schemes: Sequence[str]) -> tuple[str, str] | None:
    if not uri.strip():
        return "is empty", REMEDY
    if len(uri) > LENGTH:
        return f"is longer than {LENGTH} characters", REMEDY
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in uri):
        return "has control characters", REMEDY
    path = local_path(uri)
    text = uri if path is None else FIXED.sub("", uri)
    for sign, name in (("\\", "a backslash"), ("%", "a percent sign"), ("#", "a fragment"), ("?", "a query")):
        if sign in text:
            return f"has {name}, which is no part of a model's name", REMEDY
    plain = unicodedata.normalize("NFKC", text)
    if any(part in (".", "..") for part in re.split(r"[/\\]", plain)) or uri != uri.strip():
        return "has . or .. in it, or spaces around it", REMEDY
    if path is not None:
        if not path.startswith("/") or "//" in path or "\0" in path:
            return "is no whole path in its one spelling", REMEDY
        return None
    scheme, rest = SCHEME.fullmatch(text).groups()  # type: ignore[union-attr]  # or it would be a path
    taken = [*settings().model_schemes, *schemes]
    if scheme not in taken:
        known = ", ".join(taken)
        return f"has the scheme {scheme[:40]}, which is not taken here", f"The schemes are: {known}."
    if "//" in rest.removeprefix("//"):
        return "has an empty part", REMEDY
    return None


def _within(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _roots() -> list[str]:
    """The folders, as they are named and where they really are."""
    named = [Path(root).absolute() for root in settings().model_roots]
    return [str(root) for root in (*named, *(root.resolve() for root in named))]


def _links(path: str) -> Iterable[str]:
    for folder, folders, files in os.walk(path):
        for found in (Path(folder, name) for name in (*folders, *files)):
            if found.is_symlink():
                yield str(found)


def _allowed_folders() -> str:
    folders = ", ".join(str(Path(root).absolute()) for root in settings().model_roots) or "none"
    return f"The folders are: {folders}. An operator adds others to MODELPORT_MODEL_ROOTS."
