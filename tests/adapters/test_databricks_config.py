"""The ``databricks`` target's config: what is understood, what is refused and why, and what it comes to."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.contract import Permanent, Spec, Variant
from adapters.databricks.describe import DESCRIPTION, DatabricksConfig
from adapters.databricks.goals import config_body, goal, variants_of

OPENAI = {"task": "llm/v1/chat", "openai_config": {"openai_api_key": "{{secrets/llm/openai}}"}}


def checked(**config: Any) -> dict[str, Any]:
    return DatabricksConfig.model_validate(config).model_dump(mode="json", exclude_unset=True)


def spec(uri: str = "models:/main.ml.iris/3", **config: Any) -> Spec:
    return Spec((Variant("main", uri, None, checked(**config)),), {"main": 100})


def aim(asked: Spec) -> dict[str, Any]:
    found = goal(asked)
    assert found is not None
    return found


def test_a_models_entity_has_all_that_the_interface_needs() -> None:
    found = aim(spec(workload_type="GPU_SMALL", environment_vars={"LEVEL": "debug"}))
    (entity,) = config_body(found)["served_entities"]
    assert entity == {
        "name": found["names"]["main"],
        "entity_name": "main.ml.iris",
        "entity_version": "3",
        "workload_size": "Small",
        "workload_type": "GPU_SMALL",
        "scale_to_zero_enabled": False,
        "environment_vars": {"LEVEL": "debug"},
    }


@pytest.mark.parametrize(
    "sized",
    [
        {"workload_size": "Large"},
        {"min_provisioned_concurrency": 4, "max_provisioned_concurrency": 16},
        {"max_provisioned_throughput": 9500},
        {"provisioned_model_units": 2, "burst_scaling_enabled": False},
    ],
)
def test_one_way_of_sizing_is_sent_alone(sized: dict[str, Any]) -> None:
    (entity,) = aim(spec(**sized))["entities"]
    assert sized.items() <= entity.items()
    assert ("workload_size" in entity) == ("workload_size" in sized)


def test_a_name_differs_as_soon_as_anything_asked_for_does() -> None:
    asked = [
        spec(),
        spec("models:/main.ml.iris/4"),
        spec(environment_vars={"A": "1"}),
        spec(scale_to_zero_enabled=True),
        Spec((Variant("other", "models:/main.ml.iris/3", None, {}),), {"other": 100}),
    ]
    names = [next(iter(aim(each)["names"].values())) for each in asked]
    assert len(set(names)) == len(names)
    assert aim(spec()) == aim(spec())
    assert all(len(name) <= 63 for name in names)


def test_the_endpoints_own_settings_do_not_make_another_entity() -> None:
    plain, tagged = aim(spec()), aim(spec(tags={"team": "a"}))
    assert plain["names"] == tagged["names"]
    assert plain["content"] != tagged["content"]


def test_a_long_variant_name_still_fits() -> None:
    names = aim(Spec((Variant("v" * 63, "models:/m/1", None, {}),), {"v" * 63: 100}))["names"]
    assert len(names["v" * 63]) == 63


def test_names_of_mlflow_and_of_the_older_interface_are_understood() -> None:
    found = checked(model_name="main.ml.iris", model_version=3, tags=[{"key": "team", "value": "a"}, {"key": "x"}])
    assert found == {"entity_name": "main.ml.iris", "entity_version": "3", "tags": {"team": "a", "x": ""}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_TOKEN", "hush"),
        ("OPENAI_API_KEY", "hush"),
        ("DB_PASSWORD", "hush"),
        ("SETTING", "dapi0123456789abcdef0123456789abcdef"),
        ("SETTING", "AKIAIOSFODNN7EXAMPLE"),
        ("SETTING", "-----BEGIN RSA PRIVATE KEY-----\nhush"),
    ],
)
def test_a_secret_in_plain_text_is_refused_with_the_remedy(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=r"put the value into a Databricks secret scope") as raised:
        checked(environment_vars={name: value})
    assert name in str(raised.value)
    assert value not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_TOKEN", "{{secrets/scope/key}}"),
        ("MAX_TOKENS", "512"),
        ("USE_TOKEN", "true"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("MONKEY", "banana"),
    ],
)
def test_what_is_no_secret_is_let_through(name: str, value: str) -> None:
    assert checked(environment_vars={name: value}) == {"environment_vars": {name: value}}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"workload_size": "Small", "max_provisioned_concurrency": 4}, "exclude each other"),
        ({"min_provisioned_concurrency": 8, "max_provisioned_concurrency": 4}, "not less"),
        ({"max_provisioned_concurrency": 4}, "needs min_provisioned_concurrency"),
        ({"instance_profile_arn": "arn:nope"}, "instance_profile_arn"),
        ({"environment_vars": {"not a name": "x"}}, "no name of a variable"),
        ({"environment_vars": {f"V{n}": "x" for n in range(31)}}, "30 at most"),
        ({"tags": {"modelport_uid": "x"}}, "kept by modelport"),
        ({"tags": {"k" * 128: "x"}}, "too long"),
        ({"ai_gateway": {"rate_limits": [{"renewal_period": "minute"}]}}, "needs calls or tokens"),
        ({"ai_gateway": {"rate_limits": [{"calls": 1, "principal": "x"}]}}, "principal needs key"),
        ({"workload_sise": "Small"}, "Extra inputs"),
        ({"external_model": {"task": "x"}}, "exactly one of"),
        ({"external_model": {**OPENAI, "provider": "cohere"}}, "does not belong"),
        ({"external_model": OPENAI, "workload_size": "Small"}, "external_model excludes workload_size"),
        ({"external_model": OPENAI, "scale_to_zero_enabled": True}, "external_model excludes scale_to_zero_enabled"),
        ({"external_model": {"task": "x", "openai_config": {}}}, "needs openai_api_key"),
        ({"external_model": {"task": "x", "openai_config": {"openai_api_key": "hush"}}}, "no reference to a secret"),
        ({"external_model": {"task": "x", "palm_config": {"palm_api_key_plaintext": "hush"}}}, "in plain text"),
        (
            {
                "external_model": {
                    "task": "x",
                    "amazon_bedrock_config": {"aws_region": "r", "bedrock_provider": "cohere"},
                }
            },
            "needs keys",
        ),
    ],
)
def test_what_cannot_be_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as raised:
        checked(**config)
    assert "hush" not in str(raised.value)


def test_an_external_model() -> None:
    (entity,) = aim(spec("external:/openai/gpt-4o", external_model=OPENAI))["entities"]
    assert entity["external_model"] == {**OPENAI, "provider": "openai", "name": "gpt-4o"}
    assert set(entity) == {"name", "external_model"}


@pytest.mark.parametrize(
    ("uri", "config", "told"),
    [
        ("runs:/abc/model", {}, r"runs:/abc/model is no model that Databricks can serve; register it"),
        ("models:/main.ml.iris", {}, "names no version"),
        ("models:/main.ml.iris/3", {"entity_version": "4"}, "entity_version 4 is not that of its URI"),
        ("models:/main.ml.iris/3", {"entity_name": "other"}, "entity_name other is not the model of its URI"),
        ("external:/openai/gpt-4o", {}, "needs the URI"),
        ("models:/m/1", {"external_model": OPENAI}, "needs the URI"),
        ("external:/cohere/command", {"external_model": OPENAI}, "not of the provider cohere"),
        ("external:/openai/gpt-4o", {"external_model": {**OPENAI, "name": "gpt-5"}}, "not the model gpt-4o"),
    ],
)
def test_a_uri_that_cannot_be_served(uri: str, config: dict[str, Any], told: str) -> None:
    with pytest.raises(Permanent, match=told):
        goal(spec(uri, **config))


def test_a_version_may_stand_in_the_config() -> None:
    assert aim(spec("models:/main.ml.iris", entity_version="3"))["rows"][0][2] == "3"


def test_what_belongs_to_the_endpoint_must_agree() -> None:
    def split(first: dict[str, Any], second: dict[str, Any]) -> Spec:
        variants = (
            Variant("a", "models:/m/1", None, checked(**first)),
            Variant("b", "models:/m/2", None, checked(**second)),
        )
        return Spec(variants, {"a": 50, "b": 50})

    assert aim(split({"tags": {"t": "1"}}, {}))["wide"] == {"tags": {"t": "1"}}
    with pytest.raises(Permanent, match="tags belongs to the whole endpoint"):
        goal(split({"tags": {"t": "1"}}, {"tags": {"t": "2"}}))


def test_variants_of_names_that_are_not_ours() -> None:
    found = variants_of(["model_a-1", "model.a-1", "champion-0123456789ab", "___"])
    assert found == {
        "entity": "___",
        "champion": "champion-0123456789ab",
        "model-a-1": "model.a-1",
        "model-a-1-2": "model_a-1",
    }


def test_the_help_names_every_key() -> None:
    told = DESCRIPTION.help()
    for model in (DatabricksConfig, DESCRIPTION.settings_model):
        assert all(f"  {key}: " in told for key in model.model_fields)
    assert "Annotated" not in told


def test_neither_describing_nor_predicting_imports_the_sdk() -> None:
    script = (
        "import sys, adapters.databricks.describe, adapters.databricks.invoke; "
        "sys.exit(any(name.startswith(('databricks', 'mlflow', 'requests')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
