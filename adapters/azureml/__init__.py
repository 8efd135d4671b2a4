"""Azure Machine Learning: one online endpoint per deployment, one online deployment per variant."""
