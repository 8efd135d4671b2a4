"""What a fake SageMaker has: models, endpoint configurations and endpoints, and how they change by the clock.

Messages, statuses and refusals are the vendor's: an endpoint under change refuses every other change, also its
deletion; a failed update goes back to the old configuration and says why; a failed create can only be deleted.
A model whose environment has ``FAKE_FAILS`` fails with these words.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

JSON = dict[str, Any]

IN_PROGRESS = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}


class Refusal(Exception):
    """An answer that is an error, in the vendor's words."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass
class Fate:
    """How a change ends: after ``seconds``, or after that many reads which show it."""

    seconds: float
    kind: str = "succeeds"
    words: str = ""
    looks: int | None = None


@dataclass
class Ongoing:
    """A change under way."""

    what: str
    fate: Fate
    began: float
    config: str | None = None
    variants: list[JSON] = field(default_factory=list)
    shown: int = 0

    def over(self, now: float) -> bool:
        if self.fate.kind == "stuck":
            return False
        if self.fate.looks is not None:
            return self.shown >= self.fate.looks
        return now >= self.began + self.fate.seconds


@dataclass
class Endpoint:
    name: str
    arn: str
    config: str
    created: float
    modified: float
    status: str = "Creating"
    failure: str | None = None
    variants: list[JSON] = field(default_factory=list)
    shadows: list[JSON] = field(default_factory=list)
    deployment: JSON | None = None
    ongoing: Ongoing | None = None


class Hosting:
    """The control plane of one account in one region."""

    def __init__(self, account: str, region: str) -> None:
        self.prefix = f"arn:aws:sagemaker:{region}:{account}"
        self.account = account
        self.models: dict[str, JSON] = {}
        self.configs: dict[str, JSON] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.before: dict[str, JSON | None] = {}
        self.now: Callable[[], float] = time.time

    def create_model(self, given: JSON) -> JSON:
        name, arn = given["ModelName"], f"{self.prefix}:model/{given['ModelName'].lower()}"
        if name in self.models:
            raise Refusal("ValidationException", f'Cannot create already existing model "{arn}".')
        if not given.get("PrimaryContainer") and not given.get("Containers"):
            raise Refusal("ValidationException", "Expected exactly one of PrimaryContainer and Containers.")
        self.models[name] = {**given, "ModelArn": arn, "CreationTime": self.now()}
        self._tag(arn, self.models[name].pop("Tags", []))
        return {"ModelArn": arn}

    def describe_model(self, name: str) -> JSON:
        return self._model(name)

    def delete_model(self, name: str) -> None:
        self.tags.pop(self._model(name)["ModelArn"], None)
        del self.models[name]

    def create_config(self, given: JSON) -> JSON:
        name = given["EndpointConfigName"]
        arn = f"{self.prefix}:endpoint-config/{name.lower()}"
        if name in self.configs:
            raise Refusal("ValidationException", f'Cannot create already existing endpoint configuration "{arn}".')
        shadows = given.get("ShadowProductionVariants", [])
        if shadows and (len(shadows) > 1 or len(given["ProductionVariants"]) > 1):
            raise Refusal("ValidationException", "With a shadow variant there may be one production variant only.")
        for variant in [*given["ProductionVariants"], *shadows]:
            self._model(variant["ModelName"])
            if ("InstanceType" in variant) == ("ServerlessConfig" in variant):
                raise Refusal("ValidationException", "Expected exactly one of InstanceType and ServerlessConfig.")
        self.configs[name] = {**given, "EndpointConfigArn": arn, "CreationTime": self.now()}
        self._tag(arn, self.configs[name].pop("Tags", []))
        return {"EndpointConfigArn": arn}

    def describe_config(self, name: str) -> JSON:
        return self._config(name)

    def delete_config(self, name: str) -> None:
        self.tags.pop(self._config(name)["EndpointConfigArn"], None)
        del self.configs[name]

    def create_endpoint(self, given: JSON, fate: Fate) -> JSON:
        name = given["EndpointName"]
        arn = f"{self.prefix}:endpoint/{name.lower()}"
        if any(there.lower() == name.lower() for there in list(self.endpoints) if self._settled(there)):
            raise Refusal("ValidationException", f'Cannot create already existing endpoint "{arn}".')
        config = self._config(given["EndpointConfigName"])
        self.before[name] = None
        now = self.now()
        there = Endpoint(name, arn, config["EndpointConfigName"], now, now)
        there.deployment = given.get("DeploymentConfig")
        there.ongoing = Ongoing("create", self._fate(config, fate), now, there.config, _fleet(config))
        self.endpoints[name] = there
        self._tag(arn, given.get("Tags", []))
        return {"EndpointArn": arn}

    def update_endpoint(self, given: JSON, fate: Fate) -> JSON:
        there = self._changeable(given["EndpointName"])
        if there.status == "Failed":
            raise Refusal("ValidationException", f'Cannot update failed endpoint "{there.arn}".')
        config = self._config(given["EndpointConfigName"])
        variants = _fleet(config)
        if given.get("RetainAllVariantProperties"):
            excluded = {each["VariantPropertyType"] for each in given.get("ExcludeRetainedVariantProperties", [])}
            _retain(variants, there.variants, excluded)
        there.deployment = given.get("DeploymentConfig")
        self._begin(there, "update", self._fate(config, fate), config["EndpointConfigName"], variants)
        return {"EndpointArn": there.arn}

    def update_weights(self, given: JSON, fate: Fate) -> JSON:
        there = self._changeable(given["EndpointName"])
        variants = copy.deepcopy(there.variants)
        known = {variant["VariantName"]: variant for variant in variants}
        for asked in given["DesiredWeightsAndCapacities"]:
            if asked["VariantName"] not in known:
                raise Refusal("ValidationException", f"Variant {asked['VariantName']} does not exist.")
            variant = known[asked["VariantName"]]
            variant["DesiredWeight"] = asked.get("DesiredWeight", variant["DesiredWeight"])
            variant["DesiredInstanceCount"] = asked.get("DesiredInstanceCount", variant.get("DesiredInstanceCount"))
        self._begin(there, "weights", fate, None, variants)
        return {"EndpointArn": there.arn}

    def delete_endpoint(self, name: str, fate: Fate) -> None:
        there = self._changeable(name)
        self._begin(there, "delete", fate, None, [])

    def maintain(self, name: str, fate: Fate) -> None:
        """Maintenance by the vendor, ``SystemUpdating``."""
        self._begin(self._changeable(name), "maintain", fate, None, [])

    def populate(self, count: int, tags: JSON, ending: str) -> None:
        """So many endpoints at once, which bear these tags and a uid each; their configurations end so."""
        described = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        for number in range(count):
            name, config = f"many-{number}", f"many-{number}{ending}"
            self.create_model({"ModelName": name, "PrimaryContainer": {"Image": "image:1"}})
            variant = {"VariantName": "main", "ModelName": name, **described}
            self.create_config({"EndpointConfigName": config, "ProductionVariants": [variant]})
            marks = [{"Key": key, "Value": value} for key, value in {**tags, "modelport:uid": name}.items()]
            self.create_endpoint({"EndpointName": name, "EndpointConfigName": config, "Tags": marks}, Fate(0))

    def release(self, name: str, fate: Fate) -> None:
        """Let a change that is stuck end so, at once."""
        there = self._endpoint(name)
        if there.ongoing is not None:
            there.ongoing.fate = fate

    def describe(self, name: str, *, shown: bool = False) -> JSON:
        """The endpoint as DescribeEndpoint answers; ``shown`` counts as a read that shows the change under way."""
        there = self._endpoint(name)
        if shown and there.ongoing is not None:
            there.ongoing.shown += 1
        document: JSON = {
            "EndpointName": there.name,
            "EndpointArn": there.arn,
            "EndpointConfigName": there.config,
            "EndpointStatus": there.status,
            "CreationTime": there.created,
            "LastModifiedTime": there.modified,
        }
        if there.variants:
            document["ProductionVariants"] = [_summary(variant) for variant in there.variants]
        if there.shadows:
            document["ShadowProductionVariants"] = [_summary(variant) for variant in there.shadows]
        if there.failure:
            document["FailureReason"] = there.failure
        if there.deployment:
            document["LastDeploymentConfig"] = there.deployment
        config = self.configs.get(there.config, {})
        document |= {key: config[key] for key in ("AsyncInferenceConfig",) if key in config}
        if there.ongoing is not None and there.ongoing.config is not None:
            document["PendingDeploymentSummary"] = {
                "EndpointConfigName": there.ongoing.config,
                "StartTime": there.ongoing.began,
                "ProductionVariants": [
                    {"VariantName": v["VariantName"], "VariantStatus": [{"Status": "Creating"}]}
                    for v in there.ongoing.variants
                ],
            }
        return document

    def names(self) -> list[str]:
        """The endpoints that are there, oldest first."""
        return [name for name in list(self.endpoints) if self._settled(name)]

    def arns(self) -> set[str]:
        """Everything that has tags."""
        things = [m["ModelArn"] for m in self.models.values()] + [c["EndpointConfigArn"] for c in self.configs.values()]
        return {*things, *(self.endpoints[name].arn for name in self.names())}

    def serving(self, name: str, variant: str | None) -> tuple[str, JSON]:
        """The variant that a request goes to, and its model."""
        found = next((e for e in self.endpoints.values() if e.name == name), None)
        if found is None or not self._settled(name) or not found.variants or found.status in ("Creating", "Failed"):
            raise Refusal("ValidationError", f"Endpoint {name} of account {self.account} not found.")
        weights = {each["VariantName"]: each["CurrentWeight"] for each in found.variants}
        if variant is not None and variant not in weights:
            raise Refusal("ValidationError", f"Variant {variant} not found for Request to endpoint {name}.")
        chosen = variant or random.choices(list(weights), list(weights.values()))[0]
        model = next(each["Model"] for each in found.variants if each["VariantName"] == chosen)
        return chosen, model

    def _endpoint(self, name: str) -> Endpoint:
        if name not in self.endpoints or not self._settled(name):
            arn = f"{self.prefix}:endpoint/{name.lower()}"
            raise Refusal("ValidationException", f'Could not find endpoint "{arn}".')
        return self.endpoints[name]

    def _model(self, name: str) -> JSON:
        if name not in self.models:
            raise Refusal("ValidationException", f'Could not find model "{self.prefix}:model/{name.lower()}".')
        return self.models[name]

    def _config(self, name: str) -> JSON:
        if name not in self.configs:
            arn = f"{self.prefix}:endpoint-config/{name.lower()}"
            raise Refusal("ValidationException", f'Could not find endpoint configuration "{arn}".')
        return self.configs[name]

    def _changeable(self, name: str) -> Endpoint:
        there = self._endpoint(name)
        if there.status in IN_PROGRESS:
            raise Refusal("ValidationException", f'Cannot update in-progress endpoint "{there.arn}".')
        return there

    def _begin(self, there: Endpoint, what: str, fate: Fate, config: str | None, variants: list[JSON]) -> None:
        self.before[there.name] = self.describe(there.name)
        there.ongoing = Ongoing(what, fate, self.now(), config, variants)
        there.status = {"delete": "Deleting", "maintain": "SystemUpdating"}.get(what, "Updating")
        there.modified = max(self.now(), there.modified + 0.001)
        self._settled(there.name)

    def _settled(self, name: str) -> bool:
        """Bring the endpoint to what it is by now; whether it is still there."""
        there = self.endpoints[name]
        change = there.ongoing
        if change is None or not change.over(self.now()):
            return True
        there.ongoing = None
        there.modified = max(self.now(), there.modified + 0.001)
        if change.what == "delete" and change.fate.kind == "succeeds":
            self.tags.pop(there.arn, None)
            del self.endpoints[name]
            return False
        there.status, there.failure = "InService", None
        if change.fate.kind == "succeeds":
            self._take_over(there, change)
            return True
        there.failure = change.fate.words
        if change.what in ("create", "delete"):
            there.status = "Failed"
        elif change.fate.kind == "fails":
            there.status = "UpdateRollbackFailed"
        return True

    def _take_over(self, there: Endpoint, change: Ongoing) -> None:
        if change.config is not None:
            there.config = change.config
            config = self.configs.get(change.config, {})
            there.shadows = [_running(v) for v in config.get("ShadowProductionVariants", [])]
        if change.what == "maintain":
            return
        models = {v["VariantName"]: v["Model"] for v in there.variants}
        there.variants = []
        for variant in change.variants:
            model = self.models.get(variant["ModelName"]) or models.get(variant["VariantName"], {})
            current = {**variant, "CurrentWeight": variant["DesiredWeight"], "Model": model}
            current["CurrentInstanceCount"] = variant.get("DesiredInstanceCount")
            there.variants.append(current)

    def _fate(self, config: JSON, fate: Fate) -> Fate:
        for variant in config["ProductionVariants"]:
            model = self.models.get(variant["ModelName"], {})
            container = model.get("PrimaryContainer") or model.get("Containers", [{}])[0]
            words = container.get("Environment", {}).get("FAKE_FAILS")
            if words:
                return Fate(fate.seconds, "rolls_back", words, fate.looks)
        return fate

    def _tag(self, arn: str, tags: list[JSON]) -> None:
        self.tags[arn] = {tag["Key"]: tag["Value"] for tag in tags}


def _fleet(config: JSON) -> list[JSON]:
    return [_running(variant) for variant in config["ProductionVariants"]]


def _running(variant: JSON) -> JSON:
    shown = {
        "VariantName": variant["VariantName"],
        "ModelName": variant["ModelName"],
        "DesiredWeight": float(variant.get("InitialVariantWeight", 1.0)),
    }
    if "InitialInstanceCount" in variant:
        shown["DesiredInstanceCount"] = variant["InitialInstanceCount"]
    if "ServerlessConfig" in variant:
        shown["DesiredServerlessConfig"] = variant["ServerlessConfig"]
    return shown


def _retain(variants: list[JSON], old: list[JSON], excluded: set[str]) -> None:
    before = {variant["VariantName"]: variant for variant in old}
    for variant in variants:
        was = before.get(variant["VariantName"], {})
        for kind in ("DesiredInstanceCount", "DesiredWeight"):
            if kind in was and kind not in excluded:
                variant[kind] = was[kind]


def _summary(variant: JSON) -> JSON:
    return {k: v for k, v in variant.items() if k.startswith(("Variant", "Current", "Desired")) and v is not None}
