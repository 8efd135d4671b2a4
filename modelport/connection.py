"""Where the server is and how it is spoken to: arguments first, then environment and profiles, then the defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

from modelport import local_keys

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_SECONDS = 30.0  # a server under load answers late; one that is gone refuses at once


@dataclass(frozen=True)
class Connection:
    """The address of a server and what every request to it carries. ``timeout`` is seconds for one answer.

    ``origin`` says in words where the address comes from; ``profile`` is the one that was asked for.
    """

    url: str
    api_key: str | None
    timeout: float
    origin: str = "given"
    profile: str | None = None

    @classmethod
    def made_from(
        cls, url: str | None, api_key: str | None, timeout: float | None, profile: str | None = None
    ) -> Connection:
        """Fills in what is None.

        The address comes from ``url``, else ``profile``, else ``MODELPORT_URL``, else the profile of
        ``MODELPORT_PROFILE`` or of the file, else it is this machine's. The key of a profile goes to its own server and
        to no other; ``MODELPORT_API_KEY`` stands in where no key is given, before that of a profile that nobody named.
        Without any, a server of this machine is given the key that it was started with.

        Raises ValueError for what is no URL, no profile or no number of seconds.
        """
        if timeout is None:
            timeout = _seconds(os.environ.get("MODELPORT_TIMEOUT_SECONDS") or DEFAULT_TIMEOUT_SECONDS)
        asked = profile if profile and not url else None
        named = _of_profile(asked) if asked else None
        found = _Found(url, None, "given") if url else named or _usual()
        key = api_key or (found.api_key if asked else None) or os.environ.get("MODELPORT_API_KEY") or found.api_key
        checked = _checked(found.url)
        return cls(checked, key or local_keys.read(checked), timeout, found.origin, asked)

    @property
    def options(self) -> str:
        """What the command line needs to reach the same server; empty where it is the one that it asks anyway."""
        if self.profile:
            return f" --profile {self.profile}"
        try:
            usual = _checked(_usual().url)
        except ValueError:
            usual = ""
        return "" if self.url == usual else f" --url {self.url}"

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        headers = {"User-Agent": f"modelport/{version()}", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers

    def unreachable(self, reason: Exception) -> str:
        """What to say when no answer came."""
        what = str(reason) or type(reason).__name__
        return f"no answer from {self.url}: {what}"


class _Found(NamedTuple):
    url: str
    api_key: str | None
    origin: str


def _usual() -> _Found:
    """The server where nobody names one."""
    url = os.environ.get("MODELPORT_URL")
    if url:
        return _Found(url, None, "MODELPORT_URL")
    from modelport import profiles

    name = os.environ.get("MODELPORT_PROFILE") or profiles.read().current
    return _of_profile(name) if name else _Found(DEFAULT_URL, None, "the default")


def _of_profile(name: str) -> _Found:
    from modelport import profiles

    found = profiles.read().get(name)
    return _Found(found.url, found.api_key, f"profile {name} of {profiles.path()}")


def _checked(url: str) -> str:
    url = url.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is no server's URL; one looks like {DEFAULT_URL}")
    return url


def _seconds(value: str | float) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"MODELPORT_TIMEOUT_SECONDS is {value!r} and should be a number of seconds above 0")
    return seconds


@cache
def version() -> str:
    """The version of this package that is installed; ``0`` where it runs from its source."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("modelport")
    except PackageNotFoundError:
        return "0"
