"""What the ``azureml`` target takes as config and settings, and what it refuses without repeating it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adapters import registry
from adapters.azureml import shapes
from adapters.azureml.describe import DESCRIPTION, AzureMlConfig, AzureMlSettings
from adapters.azureml.goals import goal
from adapters.azureml.models import Scope
from adapters.contract import Permanent, Spec, Variant
from tests.adapters.harness import change

SCOPE = Scope("sub", "group", "main")
CLUSTER = {"compute": "cluster"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"environment_variables": {"KEY_COUNT": "3", "USE_TOKEN": "true"}},
        {"environment_variables": {"API_KEY": "${{azureml://connections/llm/credentials/key}}"}},
        {"environment_variables": {"PASSWORD": "${{keyvault:https://v.vault.azure.net/secrets/p}}"}},
        {"request_settings": {"request_timeout_ms": 180_000}},
        {"mirror_traffic": {"b": 50}},
        {"mirror_traffic": {"b": 10, "a": 0}},
        {"identity": {"type": "none"}},
        {**CLUSTER, "scale_settings": {"min_instances": 1, "max_instances": 3}},
        {"smoke_request": {"input_data": {"columns": ["a"], "data": [[1]]}}},
    ],
)
def test_what_is_taken(given: dict[str, Any]) -> None:
    config = AzureMlConfig.model_validate(given)
    assert AzureMlConfig.model_validate(config.model_dump(mode="json", exclude_unset=True)) == config


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"unknown": 1}, "Extra inputs are not permitted"),
        ({"instance_count": 0}, "greater than or equal to 1"),
        ({"auth_mode": "Key"}, "'key', 'aml_token' or 'aad_token'"),
        ({"environment_variables": {"API_KEY": "hush-hush"}}, "looks like a secret in plain text; refer to a secret"),
        ({"environment_variables": {"DB": "x;AccountKey=hush-hush"}}, "looks like a secret"),
        ({"environment_variables": {"URL": "https://x?sv=1&sig=hush-hush"}}, "looks like a secret"),
        ({"environment_variables": {"a-b": "1"}}, "no name of a variable"),
        ({"tags": {"modelport_uid": "x"}}, "kept by modelport"),
        ({"tags": {"a/b": "x"}}, "too long"),
        ({"tags": {str(n): "x" for n in range(48)}}, "47 at most"),
        ({"mirror_traffic": {"b": 51}}, "50 percent"),
        ({"mirror_traffic": {"a": 10, "b": 10}}, "one variant"),
        ({"request_settings": {"request_timeout_ms": 180_001}}, "less than or equal to 180000"),
        ({"liveness_probe": {"delay": 3}}, "Extra inputs"),
        ({"identity": {"type": "user_assigned"}}, "needs user_assigned_identities"),
        ({"identity": {"type": "user_assigned", "user_assigned_identities": ["me"]}}, "ARM ids"),
        ({"scale_settings": {"min_instances": 1, "max_instances": 2}}, "needs compute"),
        ({"resources": {}}, "needs compute"),
        ({**CLUSTER, "scale_settings": {"min_instances": 3, "max_instances": 2}}, "more than max_instances"),
        ({**CLUSTER, "mirror_traffic": {"b": 10}}, "Kubernetes compute has no mirror_traffic"),
        ({**CLUSTER, "egress_public_network_access": "enabled"}, "Kubernetes compute has no egress"),
    ],
)
def test_what_is_refused_is_not_repeated(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as raised:
        AzureMlConfig.model_validate(given)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"auth_mode": "key"}, {"auth_mode": "aad_token"}, "auth_mode belongs to the whole endpoint"),
        (CLUSTER, {"egress_public_network_access": "enabled"}, "Kubernetes compute has no egress"),
    ],
)
def test_variants_agree_on_what_belongs_to_the_endpoint(one: Any, other: Any, told: str) -> None:
    variants = tuple(Variant(n, "azureml:iris:1", None, c) for n, c in (("a", one), ("b", other)))
    spec = Spec(variants, {"a": 50, "b": 50})
    with pytest.raises(Permanent, match=told):
        goal(SCOPE, change("iris", None, spec), spec, {})


@pytest.mark.parametrize("variant", ["a", "7", "a-very-long-name-of-a-variant-that-goes-on-and-on", "x-" * 15 + "y"])
def test_deployments_have_names_that_azure_takes(variant: str) -> None:
    spec = Spec((Variant(variant, "azureml:iris:1", None, {}),), {variant: 100})
    made = goal(SCOPE, change("iris", None, spec), spec, {})
    assert made is not None
    (name,) = made["bodies"]
    assert 3 <= len(name) <= 32
    assert name[0].isalpha()
    assert "--" not in name


def test_what_a_deployment_is_named_after() -> None:
    def name(uri: str = "azureml:iris:1", **config: Any) -> str:
        spec = Spec((Variant("main", uri, None, config),), {"main": 100})
        made = goal(SCOPE, change("iris", None, spec), spec, {})
        assert made is not None
        return next(iter(made["bodies"]))

    assert name() == name(tags={"team": "a"}) == name(smoke_request={"x": 1}) == name(instance_count=1)
    assert len({name(), name("azureml:iris:2"), name(instance_count=2), name(instance_type="x")}) == 4


@pytest.mark.parametrize(
    "given", [{"resource_manager": "management.azure.com"}, {"authority": "http://x"}, {"host": "x"}]
)
def test_settings_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AzureMlSettings.model_validate(given)


@pytest.mark.parametrize(("text", "seconds"), [("PT90S", 90), ("PT1M30S", 90), ("P1DT1H", 90000), ("PT0.5S", 0.5)])
def test_durations(text: str, seconds: float) -> None:
    assert shapes.seconds(text) == seconds
    assert shapes.seconds(shapes.duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "P", "90", "PT"])
def test_what_is_no_duration(text: str) -> None:
    assert shapes.seconds(text) is None


def test_it_is_a_target_that_tells_its_keys() -> None:
    assert registry.describe("azureml:/sub/group/main") is DESCRIPTION
    assert registry.requirement("azureml:/sub/group/main") == "azureml"
    told = DESCRIPTION.help()
    assert all(key in told for key in (*AzureMlConfig.model_fields, *AzureMlSettings.model_fields))
