"""An Azure ML workspace, faked: the things of ``azureml_things``, the faults of ``azureml_conduct``.

``python -m tests.fakes.azureml --seconds 20`` serves one and prints ``{"url": ...}``;
``with AzureMl(seconds=20) as workspace`` does so in a process of its own.
"""

from __future__ import annotations

import http.client
import json
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tests.fakes.azureml_conduct import PATH
from tests.fakes.azureml_server import FakeAzureMl
from tests.fakes.process import Served, main

TOKEN = "arm-fake-token"
URI = "azureml:/sub/group/main"


class AzureMl(Served):
    """A fake workspace in a process of its own, which ends with this one at the latest."""

    module = "tests.fakes.azureml"

    def __enter__(self) -> Self:
        super().__enter__()
        self._side = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        return self

    def __exit__(self, *failure: object) -> None:
        self._side.close()
        super().__exit__(*failure)

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A call as another user of the workspace makes it, below its path; it is counted like all others."""
        url = f"{PATH}/{path}?api-version=2025-12-01"
        return self._client.request(method, url, json=body, headers={"Authorization": f"Bearer {TOKEN}"})

    def conduct(self, **changes: Any) -> None:
        """Change what ``Conduct`` has: seconds, latency, token and so on, from the next call on."""
        self._ask("conduct", changes)

    def faults(self, *faults: dict[str, Any]) -> None:
        """These faults and no others from now on."""
        self._ask("faults", {"faults": list(faults)})

    def pending(self) -> list[dict[str, Any]]:
        """The faults that are not used up."""
        return list(self._ask("faults"))

    def log(self, *verbs: str) -> list[dict[str, Any]]:
        """Every call in its order, or those of these verbs."""
        return [call for call in self._ask("log") if not verbs or call["verb"] in verbs]

    def counts(self) -> dict[str, Any]:
        """Calls by verb, and by endpoint what was really changed."""
        return dict(self._ask("counts"))

    def image(self, name: str) -> dict[str, Any] | None:
        """An endpoint and its deployments as they are shown, without counting as a call; None where there is none."""
        found: dict[str, Any] | None = self._ask("image", {"name": name})
        return found

    def models(self) -> list[str]:
        """The models that were registered, as NAME/VERSION."""
        return list(self._ask("models"))

    def plant(self, *endpoints: dict[str, Any]) -> None:
        """Serve these at once: somebody else's."""
        self._ask("plant", {"endpoints": list(endpoints)})

    def cancel(self, name: str) -> None:
        """End what is under way, as the vendor's support does."""
        self._ask("cancel", {"name": name})

    def reset(self) -> None:
        """As it was when it started, its conduct too."""
        self._ask("reset", {})

    def _ask(self, what: str, body: Any = None) -> Any:
        # many of these are asked for by each test, and an httpx request costs several times as much
        content = None if body is None else json.dumps(body)
        try:
            answer = self._sent(what, content)
        except (ConnectionError, http.client.HTTPException):  # it was idle for too long
            self._side.close()
            answer = self._sent(what, content)
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)

    def _sent(self, what: str, content: str | None) -> http.client.HTTPResponse:
        self._side.request("GET" if content is None else "POST", f"/_fake/{what}", content)
        return self._side.getresponse()


if __name__ == "__main__":
    main(__doc__, FakeAzureMl, {"seconds": 20.0})
