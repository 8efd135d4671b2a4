"""Any MLflow deployment plugin as a target: its blocking calls become operations that survive a worker's crash."""
