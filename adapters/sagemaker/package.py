"""Pack one MLflow model and put it to S3: ``python -m adapters.sagemaker.package FOLDER``.

``FOLDER/job.json`` says what and where to. The command returns 0 as soon as the process that does it is recorded; that
one goes on in a session of its own and holds ``FOLDER/lock`` for its whole life, so of two at once one packs. In the
end the object is there and the folder is gone, or ``result.json`` says why not. The archive is what MLflow's own client
makes: the model's files at its top, as ``model.tar.gz``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from adapters.contract import JSON, AdapterError, Denied, Permanent, Place
from adapters.sagemaker.files import LOCK, RESULT, STATE, fingerprint, read_json, write_json

JOB = "job.json"
FLAVOR = "python_function"
TAGGING = "SageMaker=true"  # as MLflow has it: the vendor's managed policy lets execution roles read what is tagged so


def main(folder: Path) -> int:
    """Fork what packs and wait until it is recorded, or another is found to do so."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        os.setsid()
        _hold(folder, writing)
        return 0
    os.close(writing)
    with os.fdopen(reading) as report:
        return 0 if report.read() else 1


def _hold(folder: Path, report: int) -> None:
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.write(report, b"running")
            os.close(report)
            return
        write_json(folder / STATE, {"pid": os.getpid()})
        os.write(report, b"started")
        os.close(report)
        job = read_json(folder / JOB) or {}
        try:
            _pack(folder, job)
            shutil.rmtree(folder)
        except Exception as error:
            kind, words = _told(error)
            write_json(folder / RESULT, {"kind": kind, "words": words, "attempts": job.get("attempt", 1)})


def _pack(folder: Path, job: JSON) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        model = _fetched(job["model_uri"], Path(scratch))
        _refuse_flavorless(model)
        archive = Path(scratch) / "model.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for path in sorted(model.iterdir()):
                tar.add(path, arcname=path.name)
        _put(archive, job)


def _fetched(uri: str, scratch: Path) -> Path:
    """The model's folder: where it is, or downloaded. Raises Permanent where a path's files are no longer the same."""
    path, mark, expected = uri.partition("#content=")
    if mark:
        if fingerprint(Path(path)) != expected:
            raise Permanent(f"the files of {path} are no longer those that the revision was made of")
        return Path(path)
    import mlflow

    tempfile.tempdir = str(scratch)
    return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(scratch)))


def _refuse_flavorless(model: Path) -> None:
    from mlflow.models import Model

    found = Model.load(str(model)).flavors
    if FLAVOR not in found:
        raise Permanent(f"its flavors are {', '.join(found)}; MLflow's container serves {FLAVOR} only")


def _put(archive: Path, job: JSON) -> None:
    import boto3
    from botocore.config import Config

    from adapters.sagemaker.account import Account
    from adapters.sagemaker.refusals import translated

    def patient(session: Any, service: str) -> Any:
        """A client that repeats: putting the same object twice is the same as once, and nobody waits here."""
        url = account.address.endpoint_url
        style = {"addressing_style": "path"} if url else {}
        config = Config(retries={"mode": "standard", "total_max_attempts": 5}, s3=style)
        boto = boto3.Session(botocore_session=session, region_name=account.address.region)
        return boto.client(service, endpoint_url=url, config=config)

    bucket, _, key = job["url"].removeprefix("s3://").partition("/")
    account = Account(Place(**job["place"]))
    client: Any = account.client("s3", patient)
    try:
        with archive.open("rb") as file:
            client.upload_fileobj(file, bucket, key, ExtraArgs={"Tagging": TAGGING})
    except Exception as error:
        cause = getattr(error, "last_exception", None) or error.__cause__ or error
        refusal = translated(cause if isinstance(cause, Exception) else error, "PutObject")
        refusal.message = account.redact(refusal.message)
        raise refusal from None


def _told(error: Exception) -> tuple[str, str]:
    """Whether trying again may help, and why it failed."""
    if isinstance(error, AdapterError):
        return ("permanent" if isinstance(error, (Permanent, Denied)) else "temporary"), error.message
    if isinstance(error, (FileNotFoundError, ImportError)):
        return "permanent", str(error)
    return "temporary", f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
