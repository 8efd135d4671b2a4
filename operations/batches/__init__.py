"""Batches: many changes released together under limits. They only release operations and count what became of them."""
