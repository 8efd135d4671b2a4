"""How long a command line takes to say what it can do, as a multiple of an interpreter that does nothing.

The programs take turns, so that a busy machine slows all of them alike; the ratio is of their medians.

    python -m bench.cli_start [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "modelport --help": ["-m", "modelport", "--help"],
    "modelport apply --help": ["-m", "modelport", "apply", "--help"],
    "mlflow deployments --help": ["-m", "mlflow", "deployments", "--help"],
}
FLOOR = "python -c pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    for arguments in PROGRAMS.values():
        seconds(arguments)  # once for the caches of the file system and the compiled modules
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, arguments in PROGRAMS.items():
            taken[name].append(seconds(arguments))
    floor = statistics.median(taken[FLOOR])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:28} {median:6.3f} s   {median / floor:5.1f} x   ({min(times):.3f} to {max(times):.3f})")


def seconds(arguments: list[str]) -> float:
    """How long one run takes; raises if it fails."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
