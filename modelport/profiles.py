"""Profiles: servers by name, with their keys, in a TOML file that only its owner can read::

    profile = "prod"              # the one that is used where nothing else is said

    [profiles.prod]
    url = "https://models.internal"
    api_key = "..."

The file is ``MODELPORT_CONFIG``, else ``modelport/config.toml`` in ``XDG_CONFIG_HOME`` or ``~/.config``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

NAME_LENGTH = 64


class ProfileError(ValueError):
    """The file cannot be read, or has no profile of this name; the message says which file and what would help."""


@dataclass(frozen=True)
class Profile:
    """One server."""

    url: str
    api_key: str | None = None


@dataclass(frozen=True)
class Profiles:
    """What the file says. ``current`` is the name of the profile that is used where nothing else is said."""

    current: str | None = None
    by_name: Mapping[str, Profile] = field(default_factory=dict)

    def get(self, name: str) -> Profile:
        """One profile. Raises ProfileError."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise ProfileError(
                f"there is no profile {name!r} in {path()} (there: {known}); make it with: modelport config set"
            )
        return self.by_name[name]

    def with_profile(self, name: str, profile: Profile) -> Profiles:
        """With a profile more, or another one of this name; the first is used at once."""
        return replace(self, current=self.current or name, by_name={**self.by_name, name: profile})

    def without(self, name: str) -> Profiles:
        """Without a profile; raises ProfileError where there is none."""
        self.get(name)
        left = {other: profile for other, profile in self.by_name.items() if other != name}
        return Profiles(None if self.current == name else self.current, left)

    def using(self, name: str) -> Profiles:
        """With another one that is used where nothing else is said. Raises ProfileError."""
        self.get(name)
        return replace(self, current=name)


def path() -> Path:
    """Where the file is, whether it is there or not."""
    named = os.environ.get("MODELPORT_CONFIG")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "modelport" / "config.toml"


def read() -> Profiles:
    """What the file says; nothing where there is no file. Raises ProfileError."""
    import tomllib

    file = path()
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Profiles()
    except (OSError, ValueError) as error:
        raise ProfileError(f"{file} cannot be read: {error}") from error
    return _profiles(document, file)


def write(profiles: Profiles) -> None:
    """Replace the file as a whole, readable by its owner alone. Raises ProfileError."""
    import tempfile  # which is slow to load, and seldom needed

    file = path()
    lines = [f"profile = {_text(profiles.current)}", ""] if profiles.current else []
    for name, profile in profiles.by_name.items():
        lines += [f"[profiles.{_text(name)}]", f"url = {_text(profile.url)}"]
        lines += [f"api_key = {_text(profile.api_key)}"] if profile.api_key else []
        lines.append("")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # made with mode 0600, and in the place of the old one in one step
        handle, new = tempfile.mkstemp(dir=file.parent, prefix=file.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write("\n".join(lines))
            Path(new).replace(file)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(new).unlink()
            raise
    except OSError as error:
        raise ProfileError(f"{file} cannot be written: {error}") from error


def _profiles(document: dict[str, Any], file: Path) -> Profiles:
    tables = document.get("profiles", {})
    current = document.get("profile")
    if not isinstance(tables, dict) or not isinstance(current, str | None):
        raise ProfileError(f'{file}: it should have profile = "name" and tables [profiles.name]')
    found = {}
    for name, table in tables.items():
        known = isinstance(table, dict) and table.keys() <= {"url", "api_key"} and "url" in table
        if not known or not all(isinstance(value, str) for value in table.values()):
            raise ProfileError(f"{file}: profiles.{name} should have url and perhaps api_key, both text, and no more")
        found[name] = Profile(**table)
    return Profiles(current, found)


def _text(value: str | None) -> str:
    return json.dumps(value)  # which TOML reads as the same text
