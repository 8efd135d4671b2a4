"""A short run of what ``python -m tests.fuzz`` does at length."""

from __future__ import annotations

from tests.fuzz import inputs, interface


def test_inputs_at_random() -> None:
    tried = inputs.fuzz(60)
    assert min(tried.values()) >= 10


def test_requests_at_random_out_of_the_document() -> None:
    with interface.world() as (url, token, there):
        seen = interface.fuzz(url, token, there, 2)
    assert seen.total() >= 80
    assert "500" not in seen
