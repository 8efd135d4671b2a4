"""End what the bridge left running: ``python -m adapters.bridge.stop FOLDER``, with the installation's folder.

For the end of a demonstration or a test. A call that is ended so has an unknown outcome. Processes that merely hold a
plugin end by themselves when nobody asks them; ``--holders`` ends all of this user's at once.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil

from adapters.bridge.asking import private_folder
from adapters.local.launch import STATE, read_json, running


def stop_all(folder: Path, holders: Iterable[Path] = ()) -> int:
    """End the calls under way in this folder, and these holders of plugins. Blocks until they are gone; how many ran.

    Raises TimeoutError when one did not end although it was killed.
    """
    held = list(holders)
    states = [*held, *(path.parent for path in (folder / "bridge").glob(f"*/*/calls/*/{STATE}"))]
    found = [process for each in states if (process := running(read_json(each / STATE))) is not None]
    everyone = {each for process in found for each in [process, *_children(process)]}
    for process in everyone:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _, left = psutil.wait_procs(everyone, timeout=10)
    if left:
        raise TimeoutError(f"did not end: {', '.join(str(each.pid) for each in left)}")
    for each in held:
        shutil.rmtree(each, ignore_errors=True)
    return len(found)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--holders", action="store_true")
    given = parser.parse_args()
    holders = list(private_folder().iterdir()) if given.holders else []
    print(f"ended {stop_all(given.folder, holders)} processes")  # noqa: T201  # a command's answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
