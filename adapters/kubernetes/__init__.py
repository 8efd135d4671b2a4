"""Kubernetes without KServe: one Deployment per model version behind one Service; and a cluster's calls, for both."""
