"""The ``sagemaker`` target for the conformance suite and its own tests: a fake SageMaker, and one deployment's life."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx

from adapters.contract import Fence, Handle, Place, Progress, Request, Seen, Spec, Toward, Variant
from adapters.sagemaker.adapter import SageMakerAdapter, open_adapter
from adapters.sagemaker.describe import DESCRIPTION
from adapters.sagemaker.invoke import invoke
from adapters.sagemaker.naming import Owner
from tests.adapters.harness import INSTALLATION, Count, change, drive, look, new_name, through_json
from tests.fakes.sagemaker import SageMaker

ROLE = "arn:aws:iam::123456789012:role/execution"
ACCESS_KEY, SECRET = "AKIAPLANTED", "pl4nted-s3cr3t"
WRITES = ("Create", "Update", "Delete", "AddTags")  # what is put to S3 is put by a process of its own


class SageMakerHarness:
    """A fake's state of this test's own, in one process for all of them."""

    capabilities = DESCRIPTION.capabilities
    failure_words = "no weights in the cellar"
    deadline_seconds = 60.0

    def __init__(self, fake: SageMaker, folder: str = "", **place: Any) -> None:
        self.fake = fake
        settings = {
            "endpoint_url": fake.url,
            "execution_role_arn": ROLE,
            "image_url": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mlflow-pyfunc:3",
            "bucket": "models",
            "look_seconds": 0.02,
            "keep_revisions": 0,
            **place.pop("settings", {}),
        }
        self.place = Place(
            **{
                "name": "aws",
                "uri": "sagemaker:/us-east-1",
                "installation": INSTALLATION,
                "folder": folder,
                "settings": settings,
                "credentials": "env:SAGEMAKER_TEST_KEYS",
                "call_timeout_seconds": 20.0,
                **place,
            }
        )
        self._opened: list[SageMakerAdapter] = []

    def open(self) -> SageMakerAdapter:
        self._opened.append(open_adapter(self.place))
        return self._opened[-1]

    def close(self) -> None:
        for adapter in self._opened:
            adapter.close()

    def spec(self, which: str) -> Spec:
        return Spec((variant("main", which),), {"main": 100})

    def split(self, a: int, b: int) -> Spec:
        return Spec((variant("a", "a"), variant("b", "b")), {"a": a, "b": b})

    def broken(self) -> Spec:
        return Spec((variant("main", "broken", env={"FAKE_FAILS": self.failure_words}),), {"main": 100})

    def answering(self, route: dict[str, Any], variant: str | None = None) -> str:
        answer = invoke(self.place, route, Request(b'{"inputs": [1]}', "application/json", variant), 10.0)
        return str(json.loads(answer.body)["predictions"][0])

    def count(self) -> Count:
        counts = self.fake.counts()
        writes = sum(n for action, n in counts["calls"].items() if action.startswith(WRITES))
        return Count(sum(counts["calls"].values()), writes, sum(counts["effects"].values()))

    def things(self, name: str) -> set[str]:
        there, mark = self.fake.things(), self.owner(name).mark
        found = {f"{kind}/{each}" for kind in ("models", "configs") for each in there[kind] if mark in each}
        found |= {each for each in self.fake.objects() if mark in each}
        return found | ({f"endpoints/{name}"} if name in there["endpoints"] else set())

    def owner(self, name: str) -> Owner:
        return Owner(INSTALLATION, f"uid-{name}", name)

    def occupy(self, name: str) -> Any:
        self.plant(name)
        return self.occupant(name)

    def occupant(self, name: str) -> Any:
        there = self.fake.things()
        endpoint = there["endpoints"].get(name)
        return endpoint and [endpoint, there["tags"].get(endpoint["EndpointArn"])]

    def plant(self, name: str, **tags: str) -> None:
        """Deploy something that modelport did not make, as any AWS client does."""
        container = {"Image": "image:1", "ModelDataUrl": "s3://models/theirs.tar.gz", "Environment": {"A": "b"}}
        for action, given in (
            ("CreateModel", {"ModelName": f"{name}-m", "PrimaryContainer": container, "ExecutionRoleArn": ROLE}),
            (
                "CreateEndpointConfig",
                {
                    "EndpointConfigName": f"{name}-c",
                    "ProductionVariants": [
                        {
                            "VariantName": "theirs",
                            "ModelName": f"{name}-m",
                            "InstanceType": "ml.m5.large",
                            "InitialInstanceCount": 2,
                            "InitialVariantWeight": 1.0,
                        }
                    ],
                },
            ),
            (
                "CreateEndpoint",
                {
                    "EndpointName": name,
                    "EndpointConfigName": f"{name}-c",
                    "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
                },
            ),
        ):
            self.as_anybody(action, given)
        while self.as_anybody("DescribeEndpoint", {"EndpointName": name})["EndpointStatus"] != "InService":
            pass

    def as_anybody(self, action: str, given: dict[str, Any]) -> Any:
        """One call by another client of the account."""
        answer = httpx.post(self.fake.url, json=given, headers={"X-Amz-Target": f"SageMaker.{action}"})
        return answer.raise_for_status().json()

    @contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.fake.faults(*({"kind": "drop_after", "action": f"{verb}*", "count": None} for verb in WRITES))
        try:
            yield
        finally:
            self.fake.faults()


def variant(name: str, model: str, **config: Any) -> Variant:
    return Variant(name, f"s3://models/{model}.tar.gz", None, {"instance_type": "ml.m5.xlarge", **config})


class Life:
    """One deployment and what the core would have on record of it."""

    def __init__(self, target: SageMakerHarness, name: str | None = None) -> None:
        self.target, self.adapter = target, target.open()
        self.name = name or new_name()
        self.current: Spec | None = None
        self.placed: Handle = {}

    def plan(self, desired: Spec | None, *, adopt: bool = False) -> Handle:
        asked = change(self.name, self.current, desired, self.placed)
        return through_json(self.adapter.plan(replace(asked, adopt=adopt)))

    def look(self, handle: Handle) -> Seen:
        return look(self.target, self.adapter, handle)

    def step(self, handle: Handle, toward: Toward = "forward", seen: Seen | None = None) -> Progress:
        progress = self.adapter.step(handle, seen or self.look(handle), toward, Fence(1))
        return replace(progress, handle=through_json(progress.handle))

    def bring(self, handle: Handle, toward: Toward = "forward") -> Progress:
        progress = drive(self.target, handle, toward, adapter=self.adapter).progress
        assert progress is not None
        return progress

    def settle(self, desired: Spec | None) -> Progress:
        """Bring it about, and record it as the core does."""
        progress = self.bring(self.plan(desired))
        assert progress.outcome == "done", progress.message
        self.current, self.placed = desired, progress.handle if desired else {}
        return progress

    def served(self) -> dict[str, Any] | None:
        """The endpoint by the target's own account."""
        found: dict[str, Any] | None = self.target.fake.things()["endpoints"].get(self.name)
        return found

    def things(self) -> set[str]:
        return self.target.things(self.name)
