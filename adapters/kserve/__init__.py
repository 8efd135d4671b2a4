"""KServe: one InferenceService per deployment; a second variant is its canary."""
