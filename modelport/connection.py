"""Where the server is and how it is spoken to: arguments first, then the environment, then the defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_SECONDS = 30.0  # a server under load answers late; one that is gone refuses at once


@dataclass(frozen=True)
class Connection:
    """The address of a server and what every request to it carries. ``timeout`` is seconds for one answer."""

    url: str
    api_key: str | None
    timeout: float

    @classmethod
    def made_from(cls, url: str | None, api_key: str | None, timeout: float | None) -> Connection:
        """Fills in what is None from ``MODELPORT_URL``, ``MODELPORT_API_KEY`` and ``MODELPORT_TIMEOUT_SECONDS``.

        Raises ValueError for what is no URL or no number of seconds.
        """
        url = (url or os.environ.get("MODELPORT_URL") or DEFAULT_URL).rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no server's URL; one looks like {DEFAULT_URL}")
        if timeout is None:
            timeout = _seconds(os.environ.get("MODELPORT_TIMEOUT_SECONDS") or DEFAULT_TIMEOUT_SECONDS)
        return cls(url, api_key or os.environ.get("MODELPORT_API_KEY") or None, timeout)

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        headers = {"User-Agent": f"modelport/{version()}", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers

    @property
    def options(self) -> str:
        """What the command line needs to reach the same server; empty where it is the one that it asks anyway."""
        try:
            usual = Connection.made_from(None, None, None).url
        except ValueError:
            usual = ""
        return "" if self.url == usual else f" --url {self.url}"

    def unreachable(self, reason: Exception) -> str:
        """What to say when no answer came."""
        what = str(reason) or type(reason).__name__
        return f"no answer from {self.url}: {what}"


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
