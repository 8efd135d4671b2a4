"""Purpose-made plugins of MLflow, well and badly behaved, and a way to install them for one test only.

The modules beside this one are the plugins. They are copied into a folder with a ``dist-info`` of its own, which is
what ``importlib.metadata`` reads, so that they are found as any installed plugin is, in this process and in others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.bridge import installed
from adapters.bridge.describe import describe

HERE = Path(__file__).parent
ENTRY_POINTS = {
    "shelf": "shelf_plugin",
    "narrow": "narrow_plugin",
    "nameless": "nameless_plugin",
    "gate": "gate_plugin",
    "versioned": "versioned_plugin",
    "broken": "no_such_module",
}


@contextmanager
def installed_in(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Within it all of them are installed for this process and the processes that it starts."""
    site = folder / "site"
    information = site / "purpose_made-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: purpose-made\nVersion: 1.0\n")
    lines = [f"{name} = {module}" for name, module in ENTRY_POINTS.items()]
    (information / "entry_points.txt").write_text("[mlflow.deployments]\n" + "\n".join(lines) + "\n")
    for module in HERE.glob("*_plugin.py"):
        shutil.copy(module, site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        forget()
        yield patch
    forget()


def forget() -> None:
    """Read anew which plugins there are."""
    installed.plugins.cache_clear()
    describe.cache_clear()
