"""What an account really serves, in listings; only what changed since it was last described is described again.

Two listings tell of thousands of endpoints: one of all with the time of their last change, one of the tags of those
that bear this installation's mark. Which configuration serves is in no listing, so that
is asked for once after each change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from adapters.contract import JSON, Observed, Spec
from adapters.sagemaker.calls import Calls
from adapters.sagemaker.goals import Defaults, goal_of
from adapters.sagemaker.naming import (
    INSTALLATION_TAG,
    UID_TAG,
    Owner,
    content_of,
    fleet_of,
    from_tag,
    tag_value,
)
from adapters.sagemaker.reading import moment, spec_of, traffic_of
from adapters.sagemaker.refusals import Absent
from adapters.sagemaker.shown import Shown

DESCRIPTIONS_AT_ONCE = 8
SERVING = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack", "UpdateRollbackFailed"})


class Unowned(Observed):
    """One that nobody's mark is on. What it was made of takes calls of its own, made when somebody asks."""

    def __init__(self, read: Callable[[], Spec | None], **told: Any) -> None:
        super().__init__(uid=None, spec=None, **told)
        object.__setattr__(self, "_read", read)

    def __getattribute__(self, name: str) -> Any:
        """``spec`` is read the first time it is asked for."""
        value = super().__getattribute__(name)
        if name == "spec" and value is None and "_read" in self.__dict__:
            value = self.__dict__.pop("_read")()
            object.__setattr__(self, "spec", value)
        return value


class Observing:
    """Remembers for the life of the process what does not change: what a configuration of somebody else comes to."""

    def __init__(self, installation: str, calls: Calls, shown: Shown, defaults: Defaults) -> None:
        self._mark = tag_value(installation)
        self._calls = calls
        self._defaults = defaults
        self._shown = shown
        self._fleets: dict[str, str | None] = {}
        self._theirs: set[tuple[str, Any]] = set()

    def all(self) -> Iterator[Observed]:
        """Every endpoint of the region."""
        tags = self._calls.owned(self._mark)
        listed = self._shown.now()
        with ThreadPoolExecutor(DESCRIPTIONS_AT_ONCE, thread_name_prefix="describe") as pool:
            for document in pool.map(self._shown.described, listed.values()):
                if document is not None:
                    yield self._observed(document, tags.get(document["EndpointArn"]))

    def spec(self, document: JSON) -> Spec | None:
        """What this endpoint was made of, as far as this target's config can say it. Takes a call for each part."""
        config = self._calls.config(document["EndpointConfigName"])
        if config is None:
            return None
        named = [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]
        models = {}
        for name in {variant["ModelName"] for variant in named if "ModelName" in variant}:
            model = self._calls.model(name)
            if model is not None:
                models[name] = (model, self._tags(model["ModelArn"]))
        return spec_of(document, config, models)

    def _observed(self, document: JSON, tags: dict[str, str] | None) -> Observed:
        config = document["EndpointConfigName"]
        if tags is None and fleet_of(config) is not None:
            tags = self._tags_of_new(document)
        uid = from_tag(tags[UID_TAG]) if tags and tags.get(INSTALLATION_TAG) == self._mark else None
        traffic = traffic_of(document)
        detail = {
            "endpoint_config": config,
            "traffic": traffic,
            "failure": document.get("FailureReason"),
            "last_modified": moment(document["LastModifiedTime"]),
            "placed": {"live": config},
        }
        told = {"name": document["EndpointName"], "status": document["EndpointStatus"], "detail": detail}
        route = {"name": document["EndpointName"]}
        if "AsyncInferenceConfig" in document:
            route |= {"asynchronous": True}
        serves = document["EndpointStatus"] in SERVING
        if uid is None:
            owned = bool(tags)
            return Unowned(lambda: None if owned else self.spec(document), route=route if serves else None, **told)
        fleet = self._fleet(document) if serves else None
        content = content_of(fleet, traffic) if fleet else None
        return Observed(uid=uid, spec=None, content=content, route=route if serves else None, **told)

    def _tags_of_new(self, document: JSON) -> dict[str, str]:
        """The listing of tags lags behind what was just made; what another installation made is asked for once."""
        thing = (document["EndpointArn"], document["CreationTime"])
        if thing in self._theirs:
            return {INSTALLATION_TAG: ""}
        tags = self._tags(document["EndpointArn"])
        if tags.get(INSTALLATION_TAG, self._mark) != self._mark:
            self._theirs.add(thing)
        return tags

    def _fleet(self, document: JSON) -> str | None:
        """By the configuration's name, where it is one of ours; else by all that the endpoint was made of."""
        config = document["EndpointConfigName"]
        found = fleet_of(config)
        if found is not None:
            return found
        if config not in self._fleets:
            spec = self.spec(document)
            self._fleets[config] = goal_of(Owner("", "", "x"), spec, self._defaults)["fleet"] if spec else None
        return self._fleets[config]

    def _tags(self, arn: str) -> dict[str, str]:
        try:
            return self._calls.tags(arn)
        except Absent:
            return {}
