"""The fake cluster, driven by the official Python client and by kubectl, and what it refuses as a real one does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.adapters.harness import eventually
from tests.fakes.certificates import self_signed
from tests.fakes.kubernetes import NAMESPACE, TOKEN, Kubernetes
from tests.fakes.kubernetes_admission import SCHEMA

kubernetes = pytest.importorskip("kubernetes", reason="the official client is not installed")
KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on PATH")
GROUP = {"group": "serving.kserve.io", "version": "v1beta1", "namespace": NAMESPACE, "plural": "inferenceservices"}


def isvc(model: str, name: str = "iris", **predictor: Any) -> dict[str, Any]:
    spec = {"model": {"modelFormat": {"name": "mlflow"}, "storageUri": f"s3://models/{model}"}, **predictor}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": spec},
    }


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def running(certificate: tuple[Path, Path]) -> Iterator[Kubernetes]:
    with Kubernetes(seconds=0.2, certificate=str(certificate[0]), key=str(certificate[1])) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Kubernetes) -> Kubernetes:
    running.reset()
    return running


@pytest.fixture
def kubeconfig(cluster: Kubernetes, certificate: tuple[Path, Path], tmp_path: Path) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "fake", "cluster": {"server": cluster.url, "certificate-authority": str(certificate[0])}}
        ],
        "users": [{"name": "me", "user": {"token": TOKEN}}],
        "contexts": [{"name": "here", "context": {"cluster": "fake", "user": "me", "namespace": NAMESPACE}}],
        "current-context": "here",
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.fixture
def client(kubeconfig: Path) -> Iterator[Any]:
    kubernetes.config.load_kube_config(str(kubeconfig))
    with kubernetes.client.ApiClient() as api:
        yield api


def test_the_official_client_through_a_whole_life(cluster: Kubernetes, client: Any) -> None:
    custom, apps, core = (
        getattr(kubernetes.client, kind)(client) for kind in ("CustomObjectsApi", "AppsV1Api", "CoreV1Api")
    )
    made = custom.create_namespaced_custom_object(body=isvc("a"), **GROUP)
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "Standard"}

    def shown() -> Any:
        return custom.get_namespaced_custom_object(name="iris", **GROUP)

    ready = eventually(shown, lambda there: there.get("status", {}).get("url") is not None)
    assert ready["status"]["modelStatus"]["transitionStatus"] == "UpToDate"
    (deployment,) = apps.list_namespaced_deployment(NAMESPACE).items
    assert (deployment.metadata.name, deployment.status.available_replicas) == ("iris-predictor", 1)
    (pod,) = core.list_namespaced_pod(NAMESPACE).items
    said = core.read_namespaced_pod_log(pod.metadata.name, NAMESPACE, container="kserve-container", tail_lines=1)
    assert said == "iris-predictor line 3\n"

    stale = {**ready, "spec": isvc("b")["spec"]}
    custom.patch_namespaced_custom_object(name="iris", body={"spec": {"predictor": {"minReplicas": 2}}}, **GROUP)
    with pytest.raises(kubernetes.client.ApiException, match="the object has been modified") as raised:
        custom.replace_namespaced_custom_object(name="iris", body=stale, **GROUP)
    assert raised.value.status == 409

    listed = custom.list_namespaced_custom_object(limit=1, **GROUP)
    assert [each["metadata"]["name"] for each in listed["items"]] == ["iris"]
    custom.delete_namespaced_custom_object(name="iris", **GROUP)
    with pytest.raises(kubernetes.client.ApiException) as raised:
        eventually(shown, lambda _: False)
    assert raised.value.status == 404


def test_without_its_token_nobody_gets_in(cluster: Kubernetes) -> None:
    answer = cluster.request("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", Authorization="Bearer other")
    assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")


class TestKubectl:
    pytestmark = needs_kubectl

    @pytest.fixture(autouse=True)
    def configured(self, kubeconfig: Path, tmp_path: Path) -> None:
        self.env = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)}

    def run(self, *arguments: str, given: Any = None, fails: bool = False) -> str:
        ran = subprocess.run(
            [KUBECTL or "kubectl", *arguments],
            input=None if given is None else json.dumps(given),
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode != 0) == fails, ran.stdout + ran.stderr
        return ran.stderr if fails else ran.stdout

    def test_a_whole_life(self, cluster: Kubernetes) -> None:
        apply = ("apply", "--server-side", "--field-manager=a", "-f", "-")
        assert "serverside-applied" in self.run(*apply, given=isvc("a"))
        self.run("wait", "--for=condition=Ready", "isvc/iris", "--timeout=20s")
        assert "2" in self.run("logs", "iris-predictor-pod", "-c", "kserve-container", "--tail", "2")
        told = self.run("apply", "--server-side", "--field-manager=b", "-f", "-", given=isvc("b"), fails=True)
        assert 'conflict with "a"' in told
        self.run("apply", "--server-side", "--field-manager=b", "--force-conflicts", "-f", "-", given=isvc("b"))
        uri = self.run("get", "isvc", "iris", "-o", "jsonpath={.spec.predictor.model.storageUri}")
        assert uri == "s3://models/b"
        self.run("delete", "isvc", "iris", "--timeout=20s")
        assert cluster.objects("inferenceservices") == {}

    def test_a_dry_run_changes_nothing(self, cluster: Kubernetes) -> None:
        self.run("apply", "--server-side", "--dry-run=server", "-f", "-", given=isvc("a"))
        assert cluster.objects("inferenceservices") == {}

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            (isvc("a", minReplicas="two"), "admission webhook"),
            (isvc("a", replicas=2), "unknown field|not declared in schema"),
            (isvc("a", minReplicas=3, maxReplicas=2), "denied the request"),
            ({**isvc("a"), "spec": {"predictor": {"minReplicas": 1}}}, "denied the request"),
            (isvc("a", name="1st"), "invalid"),
        ],
    )
    def test_what_is_wrong_is_refused(self, cluster: Kubernetes, given: dict[str, Any], told: str) -> None:
        said = self.run("apply", "--server-side", "-f", "-", given=given, fails=True)
        assert any(word in said for word in told.split("|")), said


def apply(cluster: Kubernetes, document: dict[str, Any], manager: str, **query: str) -> Any:
    name = document["metadata"]["name"]
    parameters = "&".join(f"{key}={value}" for key, value in {"fieldManager": manager, **query}.items())
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/{name}?{parameters}"
    return cluster.request("PATCH", path, document, **{"Content-Type": "application/apply-patch+yaml"})


def test_applied_again_without_a_field_its_manager_loses_it(cluster: Kubernetes) -> None:
    apply(cluster, isvc("a", minReplicas=2, maxReplicas=4), "me")
    apply(cluster, isvc("a", minReplicas=2), "other")
    shown = apply(cluster, isvc("a"), "me").json()["spec"]["predictor"]
    assert ("maxReplicas" in shown, shown["minReplicas"]) == (False, 2)


def test_an_equal_apply_is_no_change(cluster: Kubernetes) -> None:
    first, second = (apply(cluster, isvc("a"), "me").json()["metadata"] for _ in range(2))
    assert (first["generation"], first["uid"]) == (second["generation"], second["uid"])
    assert cluster.counts()["effects"] == {"iris": {"apply": 1}}


def test_a_mode_cannot_change(cluster: Kubernetes) -> None:
    apply(cluster, isvc("a"), "me")
    eventually(lambda: cluster.objects("inferenceservices")["iris"], lambda there: "url" in there.get("status", {}))
    document = isvc("a")
    document["metadata"]["annotations"] = {"serving.kserve.io/deploymentMode": "Knative"}
    refused = apply(cluster, document, "me", force="true")
    assert refused.status_code == 403
    assert "deploymentMode cannot be changed from 'Standard' to 'Knative'" in refused.json()["message"]


@pytest.mark.skipif("MODELPORT_KSERVE_CRD" not in os.environ, reason="MODELPORT_KSERVE_CRD names no published schema")
def test_the_schema_is_a_part_of_the_published_one() -> None:
    published = yaml.load(Path(os.environ["MODELPORT_KSERVE_CRD"]).read_text(), yaml.CSafeLoader)
    (version,) = (each for each in published["spec"]["versions"] if each["name"] == "v1beta1")
    ours = json.loads(SCHEMA.read_text())["schema"]
    differences = list(compare(ours["properties"]["spec"], _spec(version), ours["$defs"], ()))
    assert differences == []


def _spec(version: dict[str, Any]) -> Any:
    return version["schema"]["openAPIV3Schema"]["properties"]["spec"]


def compare(ours: Any, theirs: Any, defs: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Where ours allows what theirs does not have, or has other types and enumerations."""
    if "$ref" in ours:
        ours = defs[ours["$ref"].rpartition("/")[2]]
    where = ".".join(path)
    if "enum" in ours and set(ours["enum"]) != set(theirs.get("enum", ())):
        yield f"{where}: {ours['enum']} and {theirs.get('enum')}"
    if "type" in ours and ours["type"] != theirs.get("type"):
        yield f"{where}: {ours['type']} and {theirs.get('type')}"
    if set(ours.get("required", ())) < set(theirs.get("required", ())):
        yield f"{where}: {set(theirs['required'])} are required, not {ours.get('required')}"
    for name, inner in ours.get("properties", {}).items():
        if name not in theirs.get("properties", {}):
            yield f"{where}.{name}: there is no such field"
        else:
            yield from compare(inner, theirs["properties"][name], defs, (*path, name))
    if "items" in ours:
        yield from compare(ours["items"], theirs["items"], defs, (*path, "[]"))
