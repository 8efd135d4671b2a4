"""MLflow models on their way to SageMaker: fixed, packed by a process of its own, found, and removed again."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from adapters.contract import Denied, Handle, Permanent, Progress, Spec, Variant
from adapters.sagemaker.files import RESULT, STATE, read_json, write_json
from tests.adapters.harness import eventually
from tests.adapters.sagemaker_target import ACCESS_KEY, SECRET, Life, SageMakerHarness
from tests.fakes.sagemaker import SageMaker
from tests.models import ModelURIs, train


@pytest.fixture(scope="module")
def running() -> Iterator[SageMaker]:
    with SageMaker(looks=1, check_model_data=True) as fake:
        yield fake


@pytest.fixture
def fake(running: SageMaker, monkeypatch: pytest.MonkeyPatch) -> SageMaker:
    running.reset()
    monkeypatch.setenv("SAGEMAKER_TEST_KEYS", f"{ACCESS_KEY}:{SECRET}")
    return running


@pytest.fixture
def target(fake: SageMaker, tmp_path: Path) -> Iterator[SageMakerHarness]:
    harness = SageMakerHarness(fake, str(tmp_path / "installation"))
    yield harness
    harness.close()


@pytest.fixture
def life(target: SageMakerHarness) -> Life:
    return Life(target)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelURIs:
    return train(tmp_path_factory.mktemp("models"))


def model(folder: Path, flavor: str = "python_function", weights: str = "1") -> str:
    """What looks like a model, with no need to train one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MLmodel").write_text(f"flavors:\n  {flavor}:\n    loader_module: nothing\n")
    (folder / "weights").write_text(weights)
    return str(folder)


def resolved(life: Life, uri: str, **config: Any) -> Spec:
    return life.adapter.resolve(Spec((Variant("main", uri, None, config),), {"main": 100}))


def archive(fake: SageMaker, url: str) -> dict[str, bytes]:
    """The files of an object that is an archive."""
    config = Config(s3={"addressing_style": "path"})
    client = boto3.client(
        "s3", "us-east-1", endpoint_url=fake.url, aws_access_key_id="a", aws_secret_access_key="b", config=config
    )
    bucket, _, key = url.removeprefix("s3://").partition("/")
    data = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.close()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: file.read() for m in tar.getmembers() if (file := tar.extractfile(m)) is not None}


def packing(life: Life, desired: Spec) -> tuple[Progress, Path]:
    """A change whose model is being packed, and the folder where that happens."""
    handle = life.plan(desired)
    progress = Progress(handle, "again")
    while not progress.handle["packing"]:
        progress = life.step(progress.handle)
    (name,) = progress.handle["packing"]
    return progress, Path(life.target.place.folder) / "sagemaker-packing" / name


def test_a_model_is_packed_as_mlflow_does_and_goes_with_its_deployment(
    fake: SageMaker, life: Life, tmp_path: Path
) -> None:
    life.settle(resolved(life, model(tmp_path / "churn"), env={"WORKERS": "2"}))
    ((url, about),) = fake.objects().items()
    assert about["x-amz-tagging"] == "SageMaker=true"
    assert url.endswith("/model.tar.gz")
    assert set(archive(fake, url)) == {"MLmodel", "weights"}
    (sent,) = [call["given"]["PrimaryContainer"] for call in fake.log("CreateModel")]
    assert sent["ModelDataUrl"] == url
    assert sent["Environment"] == {
        "MLFLOW_DEPLOYMENT_FLAVOR_NAME": "python_function",
        "SERVING_ENVIRONMENT": "SageMaker",
        "WORKERS": "2",
    }
    life.settle(resolved(life, model(tmp_path / "churn", weights="2")))
    assert len(fake.objects()) == 1
    life.settle(None)
    assert fake.objects() == {}
    assert not list((Path(life.target.place.folder) / "sagemaker-packing").iterdir())


def test_a_revision_without_a_record_is_found_and_removed_with_its_archive(
    fake: SageMaker, life: Life, tmp_path: Path
) -> None:
    life.settle(resolved(life, model(tmp_path / "churn")))
    life.current, life.placed = None, {}
    life.settle(None)
    assert (fake.objects(), life.things()) == ({}, set())


def test_versions_aliases_and_runs_are_fixed_and_fetched(fake: SageMaker, models: ModelURIs, tmp_path: Path) -> None:
    settings = {"tracking_uri": models.tracking_uri}
    target = SageMakerHarness(fake, str(tmp_path / "installation"), settings=settings)
    life = Life(target)
    for asked, fixed in ((models.alias, "models:/iris/1"), (models.latest, "models:/iris/2")):
        spec = resolved(life, asked)
        assert spec.variants[0].model_uri == fixed
        life.settle(spec)
        ((url, _),) = fake.objects().items()
        assert "MLmodel" in archive(fake, url)
    assert resolved(life, models.run).variants[0].model_uri == f"models:/{models.model_id}"
    with pytest.raises(Permanent, match="variant main: models:/absent/1"):
        resolved(life, "models:/absent/1")
    target.close()


def test_paths_are_fixed_by_what_their_files_hold(life: Life, tmp_path: Path) -> None:
    uri = model(tmp_path / "churn")
    first = resolved(life, uri)
    assert life.adapter.resolve(first) == first
    os.utime(tmp_path / "churn" / "weights", (0, 0))
    assert resolved(life, uri) == first
    model(tmp_path / "churn", weights="2")
    assert resolved(life, uri) != first
    with pytest.raises(Permanent, match="no longer those"):
        life.adapter.resolve(first)
    with pytest.raises(Permanent, match="no MLflow model on this machine"):
        resolved(life, str(tmp_path / "nothing"))
    assert life.bring(life.plan(first)).outcome == "failed"


def test_a_model_that_the_container_cannot_serve_fails_in_words(fake: SageMaker, life: Life, tmp_path: Path) -> None:
    failed = life.bring(life.plan(resolved(life, model(tmp_path / "churn", flavor="spark"))))
    assert failed.outcome == "failed"
    assert "its flavors are spark" in failed.message
    assert life.bring(failed.handle, "back").outcome == "done"
    assert (fake.objects(), life.things()) == ({}, set())


def test_a_bucket_that_may_not_be_written_to_says_so(fake: SageMaker, life: Life, tmp_path: Path) -> None:
    fake.faults({"kind": "denied", "action": "PutObject", "count": None})
    failed = life.bring(life.plan(resolved(life, model(tmp_path / "churn"))))
    assert failed.outcome == "failed"
    assert "PutObject: AccessDenied" in failed.message
    assert ACCESS_KEY not in failed.message


def test_a_packing_that_died_is_begun_again(fake: SageMaker, life: Life, tmp_path: Path) -> None:
    progress, folder = packing(life, resolved(life, model(tmp_path / "churn")))
    os.killpg((read_json(folder / STATE) or {})["pid"], signal.SIGKILL)
    assert life.bring(progress.handle).outcome == "done"
    assert fake.counts()["effects"]["PutObject"] == 1


def test_beginning_twice_is_the_same_as_once(fake: SageMaker, life: Life, tmp_path: Path) -> None:
    spec = resolved(life, model(tmp_path / "churn"))
    handle = life.plan(spec)
    seen = life.look(handle)
    for _ in range(2):
        progress = life.step(handle, seen=seen)
    assert life.bring(progress.handle).outcome == "done"
    assert fake.counts()["effects"]["PutObject"] == 1


def test_while_it_is_packed_nothing_is_asked_of_the_target(fake: SageMaker, life: Life, tmp_path: Path) -> None:
    progress, _ = packing(life, resolved(life, model(tmp_path / "churn")))
    seen = life.look(progress.handle)
    waiting = life.step(progress.handle, seen=seen)
    assert (waiting.outcome, seen.needs_write) == ("again", False)
    assert waiting.message.startswith("packing /")
    assert life.bring(waiting.handle).outcome == "done"


def test_taking_back_ends_the_packing_and_leaves_nothing(fake: SageMaker, life: Life, tmp_path: Path) -> None:
    progress, folder = packing(life, resolved(life, model(tmp_path / "churn")))
    pid = (read_json(folder / STATE) or {})["pid"]
    assert life.bring(progress.handle, "back").outcome == "done"
    eventually(lambda: Path(f"/proc/{pid}").exists(), lambda there: not there)
    assert (fake.objects(), life.things(), folder.exists()) == ({}, set(), False)


def test_what_another_machine_packs_is_waited_for(life: Life, tmp_path: Path) -> None:
    def on(host: str, at: float) -> Handle:
        handle = life.plan(resolved(life, model(tmp_path / "churn")))
        (name,) = handle["desired"]["models"]
        return {**handle, "packing": {name: {"host": host, "at": at}}}

    assert life.look(on("another", 4e9)).message.startswith("packing")
    assert life.look(on("another", 0.0)).needs_write


@pytest.mark.parametrize(("attempts", "outcome"), [(1, "again"), (3, "failed")])
def test_what_fails_for_the_moment_is_tried_again_and_not_for_ever(
    life: Life, tmp_path: Path, attempts: int, outcome: str
) -> None:
    handle = life.plan(resolved(life, model(tmp_path / "churn")))
    (name,) = handle["desired"]["models"]
    folder = tmp_path / "installation" / "sagemaker-packing" / name
    folder.mkdir(parents=True)
    write_json(folder / RESULT, {"kind": "temporary", "words": "S3 is tired", "attempts": attempts})
    progress = life.step(handle)
    assert progress.outcome == outcome
    if outcome == "again":
        assert life.bring(progress.handle).outcome == "done"
    else:
        assert "S3 is tired" in progress.message


def test_no_secret_is_kept_on_disk(life: Life, tmp_path: Path) -> None:
    _, folder = packing(life, resolved(life, model(tmp_path / "churn")))
    for file in folder.iterdir():
        if file.is_file():
            assert SECRET not in file.read_text(errors="replace")
    life.bring(life.plan(resolved(life, model(tmp_path / "churn"))))


def test_credentials_that_are_gone_are_denied(life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolved(life, model(tmp_path / "churn"))
    monkeypatch.delenv("SAGEMAKER_TEST_KEYS")
    with pytest.raises(Denied, match="env:SAGEMAKER_TEST_KEYS"):
        life.look(life.plan(spec))
