"""A platform of your own, faked: the contract of ``platform_contract``, the faults of ``platform_faults``.

``python -m tests.fakes.platform --seconds 20 --latency 0.1`` serves one and prints ``{"url": ...}``;
``with Platform(seconds=20) as platform`` does so in a process of its own.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import httpx

from tests.fakes.platform_faults import Conduct, FakePlatform
from tests.fakes.process import Served, main

DEFAULTS = {field.name: field.default for field in fields(Conduct)}


class Platform(Served):
    """A fake platform in a process of its own, which ends with this one at the latest."""

    module = "tests.fakes.platform"

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A call as another user of the platform makes it."""
        return self._client.request(method, path, json=body)

    def conduct(self, **changes: Any) -> None:
        """Change what ``Conduct`` has: seconds, latency, token and so on, from the next call on."""
        self._ask("POST", "/_fake/conduct", changes)

    def faults(self, *faults: dict[str, Any]) -> None:
        """These faults and no others from now on."""
        self._ask("POST", "/_fake/faults", {"faults": list(faults)})

    def add_fault(self, **fault: Any) -> None:
        """One more fault."""
        self.faults(*self.pending(), fault)

    def pending(self) -> list[dict[str, Any]]:
        """The faults that are not used up."""
        return list(self._ask("GET", "/_fake/faults"))

    def log(self, *verbs: str) -> list[dict[str, Any]]:
        """Every call in its order, or those of these verbs."""
        return [call for call in self._ask("GET", "/_fake/log") if not verbs or call["verb"] in verbs]

    def counts(self) -> dict[str, Any]:
        """Calls by verb; by deployment the contents put into effect, creations and deletions; writes by second."""
        return dict(self._ask("GET", "/_fake/counts"))

    def deployments(self) -> list[dict[str, Any]]:
        """What is there, page by page, as the contract lists it."""
        found: list[dict[str, Any]] = []
        token: str | None = ""
        while token is not None:
            page = self._ask(
                "GET", f"/deployments?page_size=1000&page_token={token}" if token else "/deployments?page_size=1000"
            )
            found += page["deployments"]
            token = page["next_page_token"]
        return found

    def plant(self, name: str, variants: list[dict[str, Any]], traffic: dict[str, int]) -> None:
        """Deploy something that is not modelport's."""
        self._ask("POST", "/_fake/plant", {"name": name, "variants": variants, "traffic": traffic})

    def reset(self) -> None:
        """As it was when it started, its conduct too."""
        self._ask("POST", "/_fake/reset", {})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return self.request(method, path, body).raise_for_status().json()


if __name__ == "__main__":
    main(__doc__, FakePlatform, {name: DEFAULTS[name] for name in ("seconds", "latency", "delete_seconds")})
