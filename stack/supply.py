"""``python -m stack.supply``: known vulnerabilities of the pinned packages, and everybody's licence."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PINS = CHECKOUT / "constraints.txt"
UNREACHABLE = 3
SECONDS = 600
# what pip-audit's own errors say when nobody answered it
NOBODY = ("ConnectionError", "Max retries", "NameResolution", "timed out", "ServiceError", "ProxyError", "SSLError")


def main() -> int:
    """Print both. 0: nothing known is wrong; 1: something is; 3: the database of vulnerabilities cannot be reached."""
    print("licences of what is installed:\n")
    for name, version, licence in licences():
        print(f"  {name:36} {version:16} {licence}")
    print(
        f"\nknown vulnerabilities of the packages in {PINS.name}, by the database of OSV (https://osv.dev):\n",
        flush=True,
    )
    return vulnerabilities()


def licences() -> list[tuple[str, str, str]]:
    """Every installed package, its version, and its licence in its own words."""
    found = {(each.metadata["Name"] or "").lower(): each for each in distributions()}
    return [(name, each.version, _licence(each)) for name, each in sorted(found.items()) if name]


def vulnerabilities() -> int:
    """Ask pip-audit. Prints what it found, or plainly that it could not ask."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--vulnerability-service", "osv"]
    command += ["--progress-spinner", "off", "--requirement", str(PINS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return _not_asked(f"no answer within {SECONDS} s")
    if done.returncode != 0 and any(sign in done.stderr for sign in NOBODY):
        return _not_asked(done.stderr.strip().splitlines()[-1][:300])
    print(done.stdout, done.stderr, sep="")
    return done.returncode


def _not_asked(reason: str) -> int:
    print(f"NOT CHECKED: the database of vulnerabilities cannot be reached from here ({reason}).")
    print("Nothing is known about vulnerabilities; run make audit where https://api.osv.dev can be reached.")
    return UNREACHABLE


def _licence(each: Distribution) -> str:
    for name in ("License-Expression", "License"):
        told = (each.metadata[name] or "").strip() if name in each.metadata else ""
        if told and (name == "License-Expression" or "\n" not in told):
            return told[:60]
    classified = [
        line.rpartition(" :: ")[2]
        for line in each.metadata.get_all("Classifier") or ()
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    return "; ".join(classified) or "it does not say"


if __name__ == "__main__":
    sys.exit(main())
