"""This machine as a target: real MLflow models in MLflow's own scoring server, one process per variant."""
