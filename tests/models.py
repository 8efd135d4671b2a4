"""Real models, trained and logged once: ``train(folder)`` in a child process, so that no test imports MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]

# Two flowers: version 1 answers 0 and 1, version 2 answers 100 and 101
FLOWERS = {"dataframe_split": {"columns": ["petal length (cm)"], "data": [[1.0], [4.0]]}}

BROKEN = """
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Broken(PythonModel):
    def load_context(self, context):
        raise RuntimeError("the weights of this model are missing")

    def predict(self, context, model_input):
        return model_input


set_model(Broken())
"""


@dataclass(frozen=True)
class ModelURIs:
    """Where the models are. ``v1`` and ``v2`` are versions 1 and 2 of ``iris``, whose alias ``champion`` is 1."""

    tracking_uri: str
    v1: str
    v2: str
    alias: str
    latest: str
    run: str
    model_id: str
    path: str
    broken: str


def train(folder: Path) -> ModelURIs:
    """Train, log and register everything under this folder. About ten seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.models", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ModelURIs(**json.loads(ran.stdout.splitlines()[-1]))


def _log(folder: Path) -> ModelURIs:
    import mlflow
    from mlflow.models import infer_signature
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    tracking_uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.create_experiment("iris", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("iris")
    flowers, kinds = load_iris(return_X_y=True, as_frame=True)
    petals = flowers[["petal length (cm)"]]
    logged = []
    for offset in (0, 100):  # the second version names its kinds 100, 101, 102, so that answers tell who gave them
        model = LogisticRegression(max_iter=500).fit(petals, kinds + offset)
        with mlflow.start_run() as run:
            info = mlflow.sklearn.log_model(
                model,
                name="model",
                registered_model_name="iris",
                signature=infer_signature(petals, model.predict(petals)),
                pip_requirements=["scikit-learn"],
            )
        logged.append((run.info.run_id, info))
    mlflow.MlflowClient().set_registered_model_alias("iris", "champion", "1")
    path = folder / "saved"
    mlflow.sklearn.save_model(LogisticRegression(max_iter=500).fit(petals, kinds), path, pip_requirements=[])
    code = folder / "broken_model.py"
    code.write_text(BROKEN)
    mlflow.pyfunc.save_model(folder / "broken", python_model=str(code), pip_requirements=[])
    return ModelURIs(
        tracking_uri=tracking_uri,
        v1="models:/iris/1",
        v2="models:/iris/2",
        alias="models:/iris@champion",
        latest="models:/iris/latest",
        run=f"runs:/{logged[0][0]}/model",
        model_id=logged[0][1].model_id,
        path=str(path),
        broken=str(folder / "broken"),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(_log(Path(sys.argv[1]).absolute()))))
