"""Signing in to the fake cluster in every way that the targets take, and what is told when it fails."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.contract import Denied, Permanent, Place, Temporary
from adapters.kserve.adapter import open_adapter
from adapters.kubernetes import connection
from tests.fakes.kubernetes import NAMESPACE, TOKEN, Kubernetes

SECRET = "s3cr3t-of-the-cluster"


@pytest.fixture(scope="module")
def running() -> Iterator[Kubernetes]:
    with Kubernetes(seconds=0) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Kubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kubernetes]:
    running.reset()
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    yield running
    connection.forget()


def check(credentials: str | None = None, uri: str = f"kserve:/{NAMESPACE}", **place: Any) -> str:
    settings = place.pop("settings", {})
    made = Place("cluster", uri, "test", "", settings, credentials, **{"call_timeout_seconds": 5.0, **place})
    adapter = open_adapter(made)
    try:
        return adapter.check()
    finally:
        adapter.close()


def kubeconfig(cluster: Kubernetes, **user: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
        "users": [{"name": "u", "user": user}, {"name": "other", "user": {"token": "other"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "c", "user": "other"}},
        ],
        "current-context": "one",
    }


def sent(cluster: Kubernetes) -> str:
    return str(cluster.log("LIST")[-1]["headers"].get("authorization"))


def test_a_token_needs_nothing_of_the_client(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_open", lambda *_: pytest.fail("the client was asked"))
    monkeypatch.setenv("A_TOKEN", TOKEN)
    assert check("env:A_TOKEN", settings={"api_url": cluster.url + "/"}).startswith("the cluster answers")


def test_a_token_is_read_when_it_is_used(cluster: Kubernetes, tmp_path: Path) -> None:
    file = tmp_path / "token"
    for token in (TOKEN, "rotated"):
        cluster.conduct(token=token)
        file.write_text(f"{token}\n")
        check(f"file:{file}", settings={"api_url": cluster.url})
        assert sent(cluster) == f"Bearer {token}"


@pytest.mark.parametrize("form", [yaml.safe_dump, json.dumps])
def test_a_kubeconfig_by_reference(cluster: Kubernetes, tmp_path: Path, form: Any) -> None:
    file = tmp_path / "given"
    file.write_text(form(kubeconfig(cluster, token=TOKEN)))
    assert check(f"file:{file}").startswith("the cluster answers")
    with pytest.raises(Denied, match="401 Unauthorized"):
        check(f"file:{file}", settings={"context": "two"})
    assert sent(cluster) == "Bearer other"


def test_the_processes_own_kubeconfig(cluster: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "own"
    monkeypatch.setenv("KUBECONFIG", str(file))
    for token in (TOKEN, "rotated-by-somebody"):
        cluster.conduct(token=token)
        file.write_text(yaml.safe_dump(kubeconfig(cluster, token=token)))
        os.utime(file, ns=(len(token), len(token)))  # so that two within one tick of the clock differ
        assert check().startswith("the cluster answers")


def test_an_exec_plugin_is_asked_again_when_its_token_expires(cluster: Kubernetes, tmp_path: Path) -> None:
    count, plugin = tmp_path / "count", tmp_path / "plugin"
    plugin.write_text(
        f"""#!/bin/sh
echo x >> {count}
echo '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
"status": {{"token": "{TOKEN}", "expirationTimestamp": "2001-01-01T00:00:00Z"}}}}'
"""
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    file = tmp_path / "given"
    file.write_text(yaml.safe_dump(kubeconfig(cluster, exec=run)))
    for _ in range(2):
        assert check(f"file:{file}").startswith("the cluster answers")
    assert len(count.read_text().split()) > 1
    assert sent(cluster) == f"Bearer {TOKEN}"


def test_a_pods_own_service_account(cluster: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own loader is asked; where a pod's files lie is fixed in it."""
    from kubernetes import config

    def in_cluster(configuration: Any) -> None:
        configuration.host = cluster.url
        configuration.api_key["authorization"] = f"bearer {TOKEN}"

    monkeypatch.setattr(config, "load_incluster_config", in_cluster)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("KUBECONFIG")
    cluster.conduct(token=None)
    assert check().startswith("the cluster answers")
    assert sent(cluster) == f"bearer {TOKEN}"


def test_a_clusters_certificate_is_checked_against_the_ca_of_the_settings(
    cluster: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fakes.certificates import self_signed

    pem, key = self_signed(tmp_path)
    monkeypatch.setenv("A_TOKEN", TOKEN)
    with Kubernetes(seconds=0, certificate=str(pem), key=str(key)) as secured:
        url = {"api_url": secured.url}
        assert check("env:A_TOKEN", settings={**url, "ca_file": str(pem)}).startswith("the cluster answers")
        assert check("env:A_TOKEN", settings={**url, "ca_data": pem.read_text()}).startswith("the cluster answers")
        with pytest.raises(Temporary, match="CERTIFICATE_VERIFY_FAILED"):
            check("env:A_TOKEN", settings=url)
        given = kubeconfig(secured, token=TOKEN)
        given["clusters"][0]["cluster"]["certificate-authority"] = str(pem)
        file = tmp_path / "given"
        file.write_text(yaml.safe_dump(given))
        assert check(f"file:{file}").startswith("the cluster answers")


@pytest.mark.parametrize(
    ("secret", "settings", "told"),
    [
        (SECRET, {}, "has a token, but no address: set settings.api_url"),
        (f"{SECRET}é", {"api_url": "http://127.0.0.1:1"}, "characters that cannot stand in a header"),
        ("{" + SECRET, {}, "env:WRONG: neither a token nor a kubeconfig"),
        (f"clusters: [\n{SECRET}", {}, "neither a token nor a kubeconfig"),
        (f"a: b\nc: {SECRET}", {}, "neither a token nor a kubeconfig"),
        (yaml.safe_dump({"users": [{"name": "u", "user": {"token": SECRET}}]}), {}, "signing in failed"),
    ],
)
def test_what_does_not_sign_in_says_why_without_the_secret(
    cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch, secret: str, settings: dict[str, Any], told: str
) -> None:
    monkeypatch.setenv("WRONG", secret)
    with pytest.raises(Denied, match=told) as raised:
        check("env:WRONG", settings=settings)
    assert SECRET not in str(raised.value)
    assert cluster.log() == []


def test_a_wrong_token_that_the_server_repeats_is_hidden(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG", SECRET)
    with pytest.raises(Denied, match=r"401 Unauthorized: Unauthorized: Bearer \*\*\*") as raised:
        check("env:WRONG", settings={"api_url": cluster.url})
    assert SECRET not in str(raised.value)


def test_no_credentials_at_all(cluster: Kubernetes) -> None:
    with pytest.raises(Denied, match="signing in failed: ConfigException"):
        check()


def test_an_unreachable_cluster_is_temporary(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", TOKEN)
    with pytest.raises(Temporary, match="could not be reached"):
        check("env:A_TOKEN", settings={"api_url": "http://127.0.0.1:1"})


def test_a_call_takes_no_longer_than_its_limit(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", TOKEN)
    cluster.conduct(latency=30)
    with pytest.raises(Temporary, match=r"no answer within 0\.2 s"):
        check("env:A_TOKEN", settings={"api_url": cluster.url}, call_timeout_seconds=0.2)


def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fakes.redirecting import redirecting

    monkeypatch.setenv("A_TOKEN", TOKEN)
    with redirecting("http://127.0.0.1:1/") as (url, asked):
        with pytest.raises(Permanent, match="redirects, which is not followed"):
            check("env:A_TOKEN", settings={"api_url": url})
        assert len(asked) == 1


@pytest.mark.parametrize("uri", ["kserve://ml", "kserve:/a/b", "kserve:/ML", "kserve:/-a", "kserve:/a?b=c"])
def test_a_uri_that_is_none(uri: str) -> None:
    with pytest.raises(Permanent, match="not of the form kserve:/NAMESPACE"):
        check(uri=uri)


@pytest.mark.parametrize("uri", ["kserve", "kserve:/", "kserve:/default", "kserve:default"])
def test_without_a_namespace_it_is_the_default_one(
    cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("A_TOKEN", TOKEN)
    assert check("env:A_TOKEN", uri=uri, settings={"api_url": cluster.url}).endswith("in namespace default")
