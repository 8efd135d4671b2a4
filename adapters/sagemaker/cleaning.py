"""What stays and what goes once an endpoint serves what it shall, or is gone. Pure.

Whatever bears the deployment's mark is its own, so a listing finds all of it, also what an operation that was lost has
made. Only what was listed and is needed by nothing that is kept is removed, configurations before their models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from adapters.contract import JSON, Handle
from adapters.sagemaker.naming import Owner, fleet_of, packed

Removal = tuple[Literal["delete_config", "delete_model", "delete_object"], str, str | None]


@dataclass(frozen=True)
class Keep:
    """Configurations and models that stay, and the earlier ones among them, newest first."""

    configs: frozenset[str]
    models: frozenset[str]
    entries: list[JSON]
    everything: bool


def kept(handle: Handle, live: str | None, keep_revisions: int, *, landed: bool) -> Keep:
    """What stays: what is live, and so many earlier revisions; all that was there before where nothing new landed."""
    desired = handle["desired"]
    if desired is None:
        return Keep(frozenset(), frozenset(), [], everything=False)
    earlier = [entry for entry in (_was(handle), *handle["history"]) if entry is not None and entry["config"] != live]
    everything = landed and bool(desired["archive"])
    if landed and not everything:
        earlier = earlier[:keep_revisions]
    models = {model for entry in earlier for model in entry["models"]} | set(_models_of(handle, live) or ())
    configs = {entry["config"] for entry in earlier} | ({live} if live else set())
    return Keep(frozenset(configs), frozenset(models), earlier, everything)


def expected(handle: Handle, keep: Keep) -> bool:
    """Whether something is known that has to go, before anything was listed."""
    if handle["desired"] is None:
        return True
    known = {
        name for entry in (_was(handle), *handle["history"]) if entry for name in (entry["config"], *entry["models"])
    }
    known |= {*handle["made"], *handle["packing"]}
    return not keep.everything and bool(known - keep.configs - keep.models)


def garbage(handle: Handle, left: JSON, keep: Keep, live: str | None) -> Removal | None:
    """The next thing to remove; None where nothing is. ``left`` is what a listing found, without what went since."""
    if keep.everything:
        return None
    return next(_all_garbage(handle, left, keep, live), None)


def knows_live(handle: Handle, live: str | None) -> bool:
    """Whether the models of what is live are known, so that nobody needs to be asked for them."""
    return live is None or _models_of(handle, live) is not None


def _all_garbage(handle: Handle, left: JSON, keep: Keep, live: str | None) -> Iterator[Removal]:
    owner = Owner(handle["installation"], handle["uid"], handle["name"])
    skipped = {each["name"] for each in handle["leftovers"]}
    models = keep.models | set(left["in_use"])
    for name in left["configs"]:
        if owner.owns(name) and name not in keep.configs and name != live and name not in skipped:
            yield "delete_config", name, None
    gone = [name for name in left["models"] if owner.owns(name) and name not in models and name not in skipped]
    unmade = [name for name in handle["packing"] if name not in left["models"] and name not in models]
    for name in (*gone, *unmade):
        if packed(name) and name not in handle["emptied"] and f"{name}/model.tar.gz" not in skipped:
            yield "delete_object", name, _url(handle, name)
    for name in gone:
        yield "delete_model", name, None


def _was(handle: Handle) -> JSON | None:
    """What served before this change, where its models are known."""
    entry: JSON | None = handle["was"]
    before = handle["before"]
    if entry is None or before is None or before["config"] == entry["config"]:
        return entry
    same = fleet_of(before["config"]) is not None and fleet_of(before["config"]) == fleet_of(entry["config"])
    return {**entry, "config": before["config"]} if same else None


def _models_of(handle: Handle, config: str | None) -> list[str] | None:
    if config is None:
        return []
    for goal in (handle["desired"], handle["previous"]):
        if goal is not None and (goal["config"] == config or fleet_of(config) == goal["fleet"]):
            return list(goal["models"])
    for entry in (handle["was"], *handle["history"]):
        if entry is not None and entry["config"] == config:
            return list(entry["models"])
    return None


def _url(handle: Handle, model: str) -> str | None:
    """Where the model's artefact was packed to, as far as the handle knows."""
    for goal in (handle["desired"], handle["previous"]):
        if goal is not None and goal["models"].get(model, {}).get("pack"):
            return str(goal["models"][model]["pack"]["url"])
    return None
