"""``python -m tests.chaos``: the long run, over SQLite and PostgreSQL; a table, and an exit code that means it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Damage, run
from tests.servers import postgresql


def main() -> int:
    """Run what was asked for; 0 only if nothing was lost, doubled, stuck, left behind or wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=main.__doc__)
    parser.add_argument("--operations", type=int, default=500)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--without-fences", action="store_true", help="on a target that does not compare fences")
    asked = parser.parse_args()
    fences = not asked.without_fences
    kinds = ["sqlite", "postgresql"] if asked.database == "both" else [asked.database]
    good = True
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="mp-chaos-") as folder:
            common = {"operations": asked.operations, "faults": asked.faults, "fences": fences, "seed": asked.seed}
            if kind == "sqlite":
                damage = run(Path(folder), **common)
            else:
                with postgresql() as server:
                    url = server.new_database()
                    plain = url.replace("postgresql+psycopg://", "postgresql://")
                    damage = run(Path(folder), database_url=url, postgresql=plain, **common)
        report(kind, damage)
        good &= damage.acceptable(fences)
    return 0 if good else 1


def report(kind: str, damage: Damage) -> None:
    """Print the counts of one run."""
    faults = ", ".join(f"{name} {count}" for name, count in sorted(damage.faults.items()))
    print(
        f"{kind}: {damage.operations} operations, {damage.faults.total()} faults in {damage.seconds:.0f} s ({faults})"
    )
    for what in ("lost", "duplicated", "stuck", "left_behind", "wrong_end", "shown", "failed"):
        found = getattr(damage, what)
        print(f"  {what:12} {len(found)}  {'; '.join(map(str, found[:5]))}")


if __name__ == "__main__":
    sys.exit(main())
