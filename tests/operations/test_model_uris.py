"""Model URIs: what MLflow's own path traversals looked like is refused, and so is every second spelling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from operations import model_uris
from operations.problems import Invalid, InvalidModelUri, SecretInConfig
from operations.settings import settings


@pytest.fixture(autouse=True)
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Models may be in ``models`` alone; beside it lies what nobody shall read."""
    import json

    models = tmp_path / "models"
    (models / "iris").mkdir(parents=True)
    (models / "iris" / "MLmodel").write_text("flavors: {}")
    (tmp_path / "models-of-others").mkdir()
    (tmp_path / "secret").write_text("hush")
    monkeypatch.setenv("MODELPORT_MODEL_ROOTS", json.dumps([str(models)]))
    settings.cache_clear()
    yield models
    settings.cache_clear()


@pytest.mark.parametrize(
    "uri",
    [
        "models:/iris/1", "models:/iris@champion", "models:/m-0123456789abcdef", "models:/main.ml.x/3", "models:/é/1",
        "runs:/0123456789abcdef/model", "s3://bucket/iris/1/model.tar.gz", "gs://bucket/iris", "dbfs:/models/iris",
        "wasbs://container@account.blob.core.windows.net/iris", "azureml://registries/r/models/m/versions/1",
        "mlflow-artifacts:/1/model", "models:/a name with spaces/1",
    ],
)  # fmt: skip
def test_what_names_a_model_is_taken(uri: str) -> None:
    model_uris.check(uri)


@pytest.mark.parametrize(
    "uri",
    [
        # CVE-2023-1177: the source of a version is any path of the server
        "/etc/passwd", "file:///etc/passwd", "file:/etc", "{root}/../secret", "file://{root}/../secret",
        # CVE-2023-2780: spellings that a look at the scheme or for a leading dot-dot does not see
        "file:./etc", "file://localhost/etc", "file://elsewhere{root}/iris", "FILE:///etc/passwd", "//etc/passwd",
        "//proc/self/root", "{root}//iris", "{root}/./iris", "{root}/iris/..", "../iris", "iris", "~/iris", "./iris",
        # CVE-2024-3573 and its kin: what comes behind # or ? is a path to some and none to others
        "http://127.0.0.1/x#/../../etc", "s3://bucket/iris#../../../../etc", "s3://bucket/iris?x=/../../etc",
        "file:///x#/../../etc/passwd", "{root}/iris#../../secret", "{root}/iris#files=../../secret1",
        "{root}/iris#files=0123456789ab#x",
        # CVE-2025-11201: traversal within a name that is joined to a folder
        "models:/../../etc/passwd", "models:/iris/..", "models:/./iris/1", "runs:/id/../../x", "s3://bucket/../other/x",
        "mlflow-artifacts:/../../../etc", "dbfs:/../etc", "models:/iris/../../other/1", "models:/iris//1",
        # CVE-2026-2614: a kind of thing for which the source was not looked at
        "prompts:/x/1", "mlflow.prompt:/etc", "models:/%2e%2e/%2e%2e/etc", "models:/..%2f..%2fetc",
        "models:/%252e%252e/x", "{root}/%2e%2e/secret", "models:/iris\\..\\..\\x", "\\\\host\\share", "C:\\models",
        "{root}\\..\\secret", "models:/\uff0e\uff0e/x", "models:/\u2025/x", "models:/iris\x00/1", "models:/iris\n/1",
        "models:/iris\u202e/1", "models:/iris/1 ", " models:/iris/1", "", " ", "{root}-of-others/iris", "/",
        # other things that would be called or read
        "http://169.254.169.254/latest/meta-data", "https://elsewhere/model", "ftp://elsewhere/x", "gopher://x/1",
        "jar:file:/x", "data:text/plain,x", "javascript:/x", "sqlite:////etc/passwd", "models:iris/1", "s3:bucket/x",
        "x" * 3000,
    ],
)  # fmt: skip
def test_everything_else_is_refused(uri: str, roots: Path) -> None:
    with pytest.raises(InvalidModelUri):
        model_uris.check(uri.replace("{root}", str(roots)))


def test_a_target_may_have_schemes_and_names_of_its_own(roots: Path) -> None:
    for uri in ("external:/openai/gpt-4o", "zai/GLM-5.3"):
        with pytest.raises(InvalidModelUri):
            model_uris.check(uri)
    model_uris.check("external:/openai/gpt-4o", schemes=("external",))
    model_uris.check("zai/GLM-5.3", names=True)
    model_uris.check_at_use(["zai/GLM-5.3"], names=True)
    for uri in ("zai/../x", "../x", "./x", "/etc/passwd", "file:etc", "http://x/y", "a//b", "~/x", "x\n"):
        with pytest.raises(InvalidModelUri):
            model_uris.check(uri, names=True)


@pytest.mark.parametrize("uri", ["s3://key:secret@bucket/x", "s3://AKIA0123456789ABCDEF/x", "s3://b/hf_" + "a" * 34])
def test_no_secret_stands_in_one(uri: str) -> None:
    with pytest.raises(SecretInConfig) as refused:
        model_uris.check(uri)
    assert uri not in str(refused.value)


def test_a_path_in_its_folder_is_taken_until_a_link_leads_out(roots: Path) -> None:
    iris = roots / "iris"
    for uri in (str(iris), f"file://{iris}", f"{iris}#files=0123456789ab"):
        model_uris.check(uri)
        model_uris.check_at_use([uri])
    (iris / "inside").symlink_to(iris / "MLmodel")
    model_uris.check_at_use([str(iris)])
    (iris / "data").mkdir()
    (iris / "data" / "weights").symlink_to(roots.parent / "secret")
    with pytest.raises(Invalid, match="leads out"):
        model_uris.check_at_use([str(iris)])
    (roots / "way").symlink_to(roots.parent)
    model_uris.check(f"{roots}/way/secret")
    with pytest.raises(Invalid, match="leads out"):
        model_uris.check_at_use([f"{roots}/way/secret"])


def test_without_folders_no_path_is_taken(roots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPORT_MODEL_ROOTS", "[]")
    settings.cache_clear()
    with pytest.raises(InvalidModelUri, match="outside"):
        model_uris.check(str(roots / "iris"))
