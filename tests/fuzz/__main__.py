"""``python -m tests.fuzz``: more than 5,000 requests out of the OpenAPI document, and more than 100,000 inputs."""

from __future__ import annotations

import argparse
import logging
import time

import structlog

from tests.fuzz import inputs, interface


def main() -> None:
    """Run both, and say how many cases there were."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=110, help="requests to each operation of the document")
    parser.add_argument("--inputs", type=int, default=15_000, help="inputs of each kind; 0: none")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    began = time.monotonic()
    tried = inputs.fuzz(chosen.inputs) if chosen.inputs else {}
    print(f"{sum(tried.values())} inputs in {time.monotonic() - began:.0f} s: {tried}", flush=True)
    began = time.monotonic()
    with interface.world() as (url, token, there):
        seen = interface.fuzz(url, token, there, chosen.cases)
    print(f"{seen.total()} requests in {time.monotonic() - began:.0f} s, by status: {dict(sorted(seen.items()))}")


if __name__ == "__main__":
    main()
