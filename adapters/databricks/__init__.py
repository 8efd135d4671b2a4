"""Databricks Model Serving: one serving endpoint per deployment, one served entity per variant."""
