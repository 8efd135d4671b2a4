"""Two versions of a real model on real data, logged and registered with MLflow: ``python -m stack.training FOLDER``.

A process of its own: MLflow and scikit-learn take seconds to import. The last line that it prints is a JSON object:
``versions`` (model URI and accuracy of each) and ``rows`` (a sample in MLflow's ``dataframe_split`` form).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow
import mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MODEL_NAME = "wine"
SAMPLE_ROWS = 5


def tracking_uri(folder: Path) -> str:
    """Where runs and registered models are recorded."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def main(folder: Path) -> None:
    """Train, log and register both versions: one that is held back by its regularisation, then one that is not."""
    mlflow.set_tracking_uri(tracking_uri(folder))
    experiment = mlflow.create_experiment("wine", artifact_location=(folder / "artifacts").as_uri())
    x, y = load_wine(return_X_y=True, as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    versions = []
    for regularisation in (0.001, 1.0):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=regularisation)).fit(x_train, y_train)
        accuracy = float(model.score(x_test, y_test))
        with mlflow.start_run(experiment_id=experiment):
            mlflow.log_param("C", regularisation)
            mlflow.log_metric("accuracy", accuracy)
            logged = mlflow.sklearn.log_model(
                model,
                name="model",
                serialization_format="skops",
                signature=infer_signature(x_train, model.predict(x_train)),
                pip_requirements=["scikit-learn", "skops"],
                registered_model_name=MODEL_NAME,
            )
        uri = f"models:/{MODEL_NAME}/{logged.registered_model_version}"
        versions.append({"uri": uri, "accuracy": accuracy})
    sample = x_test.head(SAMPLE_ROWS)
    print(json.dumps({"versions": versions, "rows": json.loads(sample.to_json(orient="split", index=False))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
