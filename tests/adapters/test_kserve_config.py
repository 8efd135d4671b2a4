"""The config and the settings of ``kserve`` and ``kubernetes``: what is taken, and what is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adapters import registry
from adapters.contract import Permanent, Spec, Variant
from adapters.kserve.describe import DESCRIPTION, KServeConfig, KServeSettings
from adapters.kserve.goals import goal
from adapters.kubernetes.describe import KubernetesConfig, KubernetesSettings

MODELS = [KServeConfig, KubernetesConfig]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"env": {"API_KEY": "hush-hush"}}, "looks like a secret in plain text"),
        ({"env": {"HF_TOKEN": "hush-hush"}}, "looks like a secret"),
        ({"env": {"X": "AKIAABCDEFGHIJKLMNOP"}}, "looks like a secret"),
        ({"env": {"1st": "x"}}, "env"),
        ({"env": {"A": "{{secrets/no-key}}"}}, "{{secrets/NAME/KEY}}"),
        ({"env": {"A": "{{secrets/Upper/key}}"}}, "{{secrets/NAME/KEY}}"),
        ({"resources": {"limits": {"cpu": "much"}}}, "resources.limits.cpu"),
        ({"resources": {"limit": {"cpu": "1"}}}, "resources.limit"),
        ({"labels": {"modelport/uid": "x"}}, "is kept by modelport"),
        ({"annotations": {"serving.kserve.io/deploymentMode": "Knative"}}, "is kept by modelport"),
        ({"labels": {"a": "not a label"}}, "labels"),
        ({"tolerations": [{"effect": "Sometimes"}]}, "tolerations"),
        ({"service_account": "Upper"}, "service_account"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_pods_config_is_checked(model: type[KServeConfig], config: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as raised:
        model.model_validate(config)
    assert told in str(raised.value)
    assert "hush-hush" not in "; ".join(error["msg"] for error in raised.value.errors())


@pytest.mark.parametrize("value", ["true", "0", "4"])
def test_a_switch_that_is_named_like_a_secret_is_none(value: str) -> None:
    KServeConfig.model_validate({"env": {"USE_TOKEN": value, "TOKENIZER_THREADS": value}})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"min_replicas": 3, "max_replicas": 2}, "min_replicas is more than max_replicas"),
        ({"scale_target": 5}, "scale_target needs scale_metric"),
        ({"scale_metric": "moon"}, "scale_metric"),
        ({"protocol": "grpc"}, "protocol"),
        ({"deployment_mode": "ModelMesh"}, "deployment_mode"),
        ({"min_replicas": -1}, "min_replicas"),
    ],
)
def test_kserves_config_is_checked(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        KServeConfig.model_validate(config)


def test_an_image_that_holds_its_model_is_run_as_it_is() -> None:
    with pytest.raises(ValidationError, match="holds_model runs the image as it is"):
        KubernetesConfig.model_validate({"holds_model": True, "args": ["x"]})


@pytest.mark.parametrize(
    "settings",
    [
        {"api_url": "https://me:pw@host"},
        {"api_url": "kubernetes.default"},
        {"gateway_url": "ftp://host"},
        {"predict_credentials": "the-secret-itself"},
        {"look_seconds": 0},
        {"token": "x"},
    ],
)
def test_settings_hold_no_secret_and_nothing_unknown(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        KServeSettings.model_validate(settings)


def test_both_targets_share_their_settings() -> None:
    shared = {"api_url": "https://c:6443", "ca_file": "/ca", "context": "x", "service_url": "http://{service}"}
    KServeSettings.model_validate(shared)
    KubernetesSettings.model_validate(shared)


@pytest.mark.parametrize("key", ["labels", "annotations", "deployment_mode"])
def test_what_belongs_to_the_whole_must_be_agreed_on(key: str) -> None:
    values: Any = {"deployment_mode": ("Standard", "Knative")}.get(key, ({"a": "1"}, {"a": "2"}))
    variants = tuple(Variant(n, "s3://m/1", None, {key: value}) for n, value in zip("ab", values, strict=True))
    with pytest.raises(Permanent, match=f"{key} belongs to the whole InferenceService"):
        goal(Spec(variants, {"a": 50, "b": 50}))


def test_one_variant_may_say_it_for_all() -> None:
    variants = (Variant("a", "s3://m/1", None, {"labels": {"x": "y"}}), Variant("b", "s3://m/2", None, {}))
    planned = goal(Spec(variants, {"a": 50, "b": 50}))
    assert planned is not None
    assert planned["frame"]["labels"] == {"x": "y"}


@pytest.mark.parametrize("scheme", ["kserve", "kubernetes"])
def test_the_help_names_every_key(scheme: str) -> None:
    described = registry.describe(f"{scheme}:/ml")
    assert (described.scheme, described.extra) == (scheme, "kserve")
    text = described.help()
    for model in (described.config_model, described.settings_model):
        assert all(f"  {name}: " in text for name in model.model_fields)
        assert all(info.description for info in model.model_fields.values())


def test_a_worker_offers_both() -> None:
    assert {"kserve", "kubernetes"} <= registry.offered().keys()
    assert registry.requirement("kserve:/ml") == "kserve"
    assert DESCRIPTION.capabilities.max_variants == 2
