"""What the MLflow plugin decides without MLflow: addresses, config, variants and the documents that it returns."""
