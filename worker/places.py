"""The adapters of one worker process: opened once for each target and opened anew when its registration changed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from adapters import registry
from adapters.contract import Adapter, Place
from adapters.description import Description, Limits
from operations.models import Target
from operations.settings import Settings
from operations.targets import adapter_settings


@dataclass(frozen=True)
class Opened:
    """A target ready to be driven."""

    place: Place
    adapter: Adapter
    description: Description
    limits: Limits
    threads: int

    def width(self, calls: int) -> int:
        """How many of so many calls may be under way at once."""
        return max(1, min(self.limits.parallel, self.threads, calls))


class Places:
    """Opens adapters; safe from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: dict[str, Opened] = {}

    def open(self, target: Target) -> Opened:
        """The target's adapter. Raises registry.MissingExtra, naming what to install."""
        place = Place(
            name=target.name,
            uri=target.uri,
            installation=self._settings.installation,
            folder=str(self._settings.folder.absolute()),
            settings=adapter_settings(target.settings),
            credentials=target.credentials,
            call_timeout_seconds=self._settings.call_timeout_seconds,
        )
        with self._lock:
            opened = self._opened.get(target.id)
            if opened is None or opened.place != place:
                if opened is not None:
                    opened.adapter.close()
                description = registry.describe(target.uri)
                adapter = registry.open_adapter(place)
                opened = Opened(place, adapter, description, description.limits, self._settings.threads)
            # read each time: they are the registration's, and may be changed while the adapter stays open
            opened = replace(opened, limits=Limits(**{**vars(opened.description.limits), **target.limits}))
            self._opened[target.id] = opened
            return opened

    def close(self) -> None:
        """Close every adapter."""
        with self._lock:
            for opened in self._opened.values():
                opened.adapter.close()
            self._opened.clear()
