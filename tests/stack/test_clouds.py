"""The clouds through real processes, with credentials by reference that are found nowhere afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from stack.demo import connect, finish
from tests.fakes.azureml import URI, AzureMl
from tests.fakes.azureml_signin import TENANT, SignIn
from tests.fakes.databricks import Databricks
from tests.fakes.kubernetes import NAMESPACE, Kubernetes
from tests.fakes.sagemaker import SageMaker
from tests.stack.parts import FLOWER_AUTH, Parts
from tests.stack.waiting import until

pytestmark = pytest.mark.stack

TOKEN = "dapi-planted-token-0123456789"
ACCESS_KEY, SECRET_KEY = "AKIAPLANTED0123456", "planted/secret+key0123456789"
KEYS = json.dumps({"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY})
CLIENT_SECRET = "planted~client.secret0123456789"
ROBOT = json.dumps({"tenant_id": TENANT, "client_id": "robot", "client_secret": CLIENT_SECRET})
CLUSTER_TOKEN = "planted-token-of-a-service-account-0123456789"
# what the directory and an endpoint hand out in exchange begins so
TOKENS, ENDPOINT_KEYS = "directory-token-", "key-iris-"
MODELS = {
    "lakehouse": "models:/main.ml.iris/{}",
    "aws": "s3://models/iris/{}/model.tar.gz",
    "azure": "azureml://jobs/train-{}/outputs/artifacts/paths/model",
    "cluster": "s3://models/iris/{}",
}
CONFIG: dict[str, dict[str, Any]] = {
    "lakehouse": {"workload_size": "Small", "scale_to_zero_enabled": True},
    "aws": {},
    "azure": {"instance_type": "Standard_DS3_v2"},
    "cluster": {"min_replicas": 1},
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    folder, beside = tmp_path_factory.mktemp("clouds"), tmp_path_factory.mktemp("directory")
    fast = {"create_seconds": 0.5, "update_seconds": 0.5, "delete_seconds": 0.1}
    with (
        Databricks(seconds=0.5, token=TOKEN) as workspace,
        SageMaker(keys={ACCESS_KEY: SECRET_KEY}, **fast) as account,
        AzureMl(seconds=0.3, token="", prefix=TOKENS) as ml,
        SignIn({"robot": CLIENT_SECRET}, beside) as directory,
        Kubernetes(seconds=0.3, token=CLUSTER_TOKEN) as cluster,
        Parts(folder, env=environment(directory, cluster), flower=True) as parts,
        connect(parts.api_url) as api,
    ):
        settings: dict[str, Any] = {"host": workspace.url, "look_seconds": 0.2}
        lakehouse = {"uri": "databricks", "settings": settings, "credentials": "env:LAKEHOUSE"}
        api.put("/v1/targets/lakehouse", json=lakehouse).raise_for_status()
        settings = {
            "endpoint_url": account.url,
            "execution_role_arn": "arn:aws:iam::123456789012:role/execution",
            "image_url": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mlflow-pyfunc:3",
            "look_seconds": 0.2,
        }
        aws = {"uri": "sagemaker:/us-east-1", "settings": settings, "credentials": "env:AWS_KEYS"}
        api.put("/v1/targets/aws", json=aws).raise_for_status()
        settings = {
            "resource_manager": ml.url,
            "authority": directory.authority,
            "instance_discovery": False,
            "look_seconds": 0.2,
        }
        azure = {"uri": URI, "settings": settings, "credentials": "env:ROBOT"}
        api.put("/v1/targets/azure", json=azure).raise_for_status()
        settings = {"gateway_url": cluster.url, "look_seconds": 0.2}
        ml_namespace = {"uri": f"kserve:/{NAMESPACE}", "settings": settings, "credentials": "env:CLUSTER"}
        api.put("/v1/targets/cluster", json=ml_namespace).raise_for_status()
        # what the vendor refuses comes with the credentials that it refused
        workspace.faults({"kind": "denied", "verb": "CREATE", "name": "refused"})
        account.faults({"kind": "denied", "action": "CreateEndpoint", "name": "refused"})
        ml.faults({"kind": "denied", "verb": "ENDPOINT", "name": "refused"})
        cluster.faults({"kind": "denied", "verb": "APPLY", "name": "refused"})
        yield parts


def environment(directory: SignIn, cluster: Kubernetes) -> dict[str, str]:
    """The secrets, and the certificate of the directory that azure-identity has to trust."""
    secrets = {"LAKEHOUSE": TOKEN, "AWS_KEYS": KEYS, "ROBOT": ROBOT, "CLUSTER": kubeconfig(cluster)}
    return {**secrets, "REQUESTS_CA_BUNDLE": str(directory.bundle)}


def kubeconfig(cluster: Kubernetes) -> str:
    return json.dumps(
        {
            "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
            "users": [{"name": "u", "user": {"token": CLUSTER_TOKEN}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )


@pytest.mark.timeout(200)
@pytest.mark.parametrize("target", ["lakehouse", "aws", "azure", "cluster"])
def test_a_cloud_from_create_to_delete_leaves_no_secret(parts: Parts, target: str) -> None:
    with connect(parts.api_url) as api:
        path = f"/v1/deployments/{target}/iris"
        body = {"model_uri": MODELS[target].format(1), "config": CONFIG[target]}
        created = finish(api, api.put(path, json=body))
        assert created["state"] == "succeeded"
        assert api.post(f"{path}/predict", json={"inputs": [[1.0]]}).status_code == 200
        updated = finish(api, api.patch(path, json={"model_uri": MODELS[target].format(2)}))
        assert updated["state"] == "succeeded"
        finish(api, api.post(f"{path}/rollback"))
        assert api.get(path).json()["current"]["variants"][0]["model_uri"] == MODELS[target].format(1)
        check = api.post(f"/v1/targets/{target}/check", headers={"Prefer": "wait=20"}).json()
        assert check["ok"], check
        refused = api.put(f"/v1/deployments/{target}/refused", json=body, headers={"Prefer": "wait=60"}).json()
        assert refused["state"] == "failed", refused
        finish(api, api.delete(path))
        until(lambda: shown(parts, refused["id"]) == "FAILURE", seconds=30)
        flower = httpx.get(f"{parts.flower_url}/api/tasks", auth=FLOWER_AUTH, timeout=30.0, trust_env=False).text
        operations = api.get("/v1/operations").text
    assert refused["id"] in flower
    for secret in (TOKEN, SECRET_KEY, CLIENT_SECRET, TOKENS, ENDPOINT_KEYS, CLUSTER_TOKEN):
        assert secret not in flower
        assert secret not in operations
        assert [place for place, text in stored(parts) if secret.encode() in text] == []


def shown(parts: Parts, uuid: str) -> str | None:
    answer = httpx.get(f"{parts.flower_url}/api/task/info/{uuid}", auth=FLOWER_AUTH, timeout=10.0, trust_env=False)
    return str(answer.json().get("state")) if answer.status_code == 200 else None


def stored(parts: Parts) -> Iterator[tuple[str, bytes]]:
    """Everything that was written anywhere: the database with its log, the processes' logs, Flower's file, Redis."""
    files = [path for path in Path(parts.folder).rglob("*") if path.is_file()]
    assert any(path.name.startswith("modelport.db") for path in files)
    assert any(path.suffix == ".log" for path in files)
    for path in files:
        yield str(path), path.read_bytes()
    with redis.from_url(parts.redis.client_url) as client:
        for key in client.keys("*"):
            yield f"redis {key!r}", client.dump(key) or b""
