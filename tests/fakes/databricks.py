"""A Databricks workspace, faked: the endpoints of ``databricks_endpoints``, the faults of ``databricks_conduct``.

``python -m tests.fakes.databricks --seconds 20`` serves one and prints ``{"url": ...}``;
``with Databricks(seconds=20) as workspace`` does so in a process of its own.
"""

from __future__ import annotations

from typing import Any

import httpx

from tests.fakes.databricks_server import FakeDatabricks
from tests.fakes.process import Served, main

TOKEN = "dapi-fake"


class Databricks(Served):
    """A fake workspace in a process of its own, which ends with this one at the latest."""

    module = "tests.fakes.databricks"

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A call as another user of the workspace makes it; it is counted like all others."""
        return self._client.request(method, path, json=body, headers={"Authorization": f"Bearer {TOKEN}"})

    def conduct(self, **changes: Any) -> None:
        """Change what ``Conduct`` has: seconds, latency, token and so on, from the next call on."""
        self._ask("POST", "/_fake/conduct", changes)

    def faults(self, *faults: dict[str, Any]) -> None:
        """These faults and no others from now on."""
        self._ask("POST", "/_fake/faults", {"faults": list(faults)})

    def pending(self) -> list[dict[str, Any]]:
        """The faults that are not used up."""
        return list(self._ask("GET", "/_fake/faults"))

    def log(self, *verbs: str) -> list[dict[str, Any]]:
        """Every call in its order, or those of these verbs."""
        return [call for call in self._ask("GET", "/_fake/log") if not verbs or call["verb"] in verbs]

    def counts(self) -> dict[str, Any]:
        """Calls by verb, and by endpoint what was really changed."""
        return dict(self._ask("GET", "/_fake/counts"))

    def endpoint(self, name: str) -> dict[str, Any] | None:
        """An endpoint with all that it has, rate limits too, without counting as a call; None where there is none."""
        found: dict[str, Any] | None = self._ask("POST", "/_fake/endpoint", {"name": name})
        return found

    def plant(self, *endpoints: dict[str, Any]) -> None:
        """Serve these at once, as bodies of a create: somebody else's."""
        self._ask("POST", "/_fake/plant", {"endpoints": list(endpoints)})

    def cancel(self, name: str) -> None:
        """Press the button that stops an update."""
        self._ask("POST", "/_fake/cancel", {"name": name})

    def reset(self) -> None:
        """As it was when it started, its conduct too."""
        self._ask("POST", "/_fake/reset", {})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return self._client.request(method, path, json=body).raise_for_status().json()


if __name__ == "__main__":
    main(__doc__, FakeDatabricks, {"seconds": 20.0})
