"""Amazon SageMaker, faked: its control plane, its runtime, and what S3, STS, tagging and logs it needs.

``python -m tests.fakes.sagemaker --create-seconds 20`` serves one and prints ``{"url": ...}``; give that address to any
AWS client as ``endpoint_url``. ``with SageMaker(create_seconds=20) as fake`` does so in a process of its own.
"""

from __future__ import annotations

from typing import Any

from tests.fakes.process import Served, main
from tests.fakes.sagemaker_front import FakeSageMaker

TIMES = ("create_seconds", "update_seconds", "weights_seconds", "delete_seconds", "latency")


class SageMaker(Served):
    """A fake SageMaker in a process of its own, which ends with this one at the latest."""

    module = "tests.fakes.sagemaker"

    def conduct(self, **changes: Any) -> None:
        """Change what ``Conduct`` has: create_seconds, looks, keys and so on, from the next call on."""
        self._ask("conduct", changes)

    def faults(self, *faults: dict[str, Any]) -> None:
        """These faults and no others from now on."""
        self._ask("faults", list(faults))

    def pending(self) -> list[dict[str, Any]]:
        """The faults that are not used up."""
        return list(self._ask("faults"))

    def log(self, *actions: str) -> list[dict[str, Any]]:
        """Every call in its order, or those of these actions."""
        return [call for call in self._ask("log") if not actions or call["action"] in actions]

    def counts(self) -> dict[str, Any]:
        """Calls and effects by action, predictions by variant, roles assumed."""
        return dict(self._ask("counts"))

    def things(self) -> dict[str, Any]:
        """Models, configurations, endpoints as they are described, and tags by ARN."""
        return dict(self._ask("things"))

    def objects(self) -> dict[str, Any]:
        """S3's objects by URL, with size and what was said about them."""
        return dict(self._ask("objects"))

    def maintain(self, name: str, seconds: float) -> None:
        """Have the vendor maintain this endpoint for so long."""
        self._ask("maintain", {"name": name, "seconds": seconds})

    def populate(self, count: int, installation: str, ending: str) -> None:
        """So many endpoints at once that bear this installation's mark; their configurations' names end so."""
        self._ask("populate", {"count": count, "tags": {"modelport:installation": installation}, "ending": ending})

    def release(self, name: str, kind: str = "rolls_back", words: str = "it took too long") -> None:
        """Let a change that is stuck end at once."""
        self._ask("release", {"name": name, "kind": kind, "words": words})

    def reset(self) -> None:
        """As it was when it started, its conduct too."""
        self._ask("reset", {})

    def _ask(self, what: str, body: Any = None) -> Any:
        method = "GET" if body is None else "POST"
        return self._client.request(method, f"/_fake/{what}", json=body).raise_for_status().json()


if __name__ == "__main__":
    # a connection that idles for a look's pause is still good
    main(__doc__, FakeSageMaker, dict.fromkeys(TIMES), timeout_keep_alive=75)
