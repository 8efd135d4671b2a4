"""Talks to targets: one folder for each kind, and the contract that all of them keep."""
