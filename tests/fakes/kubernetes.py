"""A Kubernetes cluster with KServe, faked: its API server, its controllers, its gateway and the models behind it.

``python -m tests.fakes.kubernetes --seconds 20`` serves one and prints ``{"url": ...}``;
``with Kubernetes(seconds=20) as cluster`` does so in a process of its own. With ``certificate`` and ``key``, two files,
it speaks https: kubectl sends no token over plain http.
"""

from __future__ import annotations

import json
import mmap
import sys
import tempfile
from typing import Any

import httpx

from tests.fakes.kubernetes_conduct import TALLY
from tests.fakes.kubernetes_objects import GROUPS
from tests.fakes.kubernetes_server import FakeKubernetes
from tests.fakes.process import Served, main

TOKEN = "fake-token"
NAMESPACE = "ml"


class Kubernetes(Served):
    """A fake cluster in a process of its own, which ends with this one at the latest."""

    module = "tests.fakes.kubernetes"

    def __enter__(self) -> Kubernetes:
        # what tests ask for before and after every step is read here and not asked for, which takes most of their time
        self._tally = tempfile.NamedTemporaryFile()  # closed when it ends
        self._tally.write(bytes(TALLY.size))
        self._tally.flush()
        self._map = mmap.mmap(self._tally.fileno(), TALLY.size)
        self._conduct["tally"] = self._tally.name
        super().__enter__()
        if "certificate" in self._conduct:
            self.url = self.url.replace("http://", "https://")
            self._client.close()
            self._client = httpx.Client(base_url=self.url, trust_env=False, verify=False)  # noqa: S501
        return self

    def __exit__(self, *reason: object) -> None:
        super().__exit__(*reason)
        self._map.close()
        self._tally.close()

    def tally(self) -> tuple[int, int, int]:
        """So far: calls, those that write, and what was really changed; without a call."""
        calls, writes, effects = TALLY.unpack(self._map[: TALLY.size])
        return calls, writes, effects

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of a target that reach all of it, for credentials that are its token."""
        return {
            "api_url": self.url,
            "service_url": self.url + "/_service/{namespace}/{service}",
            "look_seconds": 0.02,
        }

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """A call as another user of the cluster makes it; it is counted like all others."""
        return self._client.request(method, path, json=body, headers={"Authorization": f"Bearer {TOKEN}", **headers})

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
        """Calls by verb, by object what was really changed, and the rights that the calls needed."""
        return dict(self._ask("GET", "/_fake/counts"))

    def objects(self, plural: str, selector: str = "") -> dict[str, dict[str, Any]]:
        """By name what there is of this kind, without counting as a call."""
        found = self._ask("POST", "/_fake/objects", {"plural": plural, "namespace": NAMESPACE, "selector": selector})
        return {each["metadata"]["name"]: each for each in found}

    def serving(self, name: str) -> dict[str, int]:
        """By model its share of the predictions of this deployment, as routes and pods have it now."""
        return dict(self._ask("POST", "/_fake/serving", {"namespace": NAMESPACE, "name": name}))

    def plant(self, plural: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
        """Put something of somebody else's there, at once."""
        document = {"apiVersion": GROUPS[plural], "metadata": {"name": name, **metadata}, "spec": spec}
        body = {"plural": plural, "namespace": NAMESPACE, "name": name, "object": document}
        return dict(self._ask("POST", "/_fake/plant", body))

    def reset(self) -> None:
        """As it was when it started, its conduct too."""
        self._ask("POST", "/_fake/reset", {})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return self._client.request(method, path, json=body).raise_for_status().json()


def app(certificate: str = "", key: str = "", tally: str | None = None, **conduct: Any) -> FakeKubernetes:
    """The application; the certificate's files are uvicorn's affair."""
    return FakeKubernetes(tally, **conduct)


if __name__ == "__main__":
    conduct = json.loads(sys.argv[sys.argv.index("--conduct") + 1]) if "--conduct" in sys.argv else {}
    tls = {"ssl_certfile": conduct["certificate"], "ssl_keyfile": conduct["key"]} if "certificate" in conduct else {}
    main(__doc__, app, {"seconds": 20.0}, **tls)
