"""What differs between two specifications, path by path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from modelport.types import Variant

JSON = dict[str, Any]


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT: Any = _Absent()


class Difference(NamedTuple):
    """One value: where it is, what it was and what it becomes; either may be ``ABSENT``."""

    path: str
    before: Any
    after: Any

    @property
    def document(self) -> JSON:
        """As JSON; what is absent is left out."""
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path, **{name: value for name, value in sides.items() if value is not ABSENT}}


def specification(
    variants: Iterable[Variant | Mapping[str, Any]], traffic: Mapping[str, int] | None, labels: Mapping[str, str] | None
) -> JSON:
    """A specification as one document to compare; what is None is not compared."""
    by_name: JSON = {}
    for each in variants:
        variant = dict(each) if isinstance(each, Mapping) else each.model_dump()
        flavor = {"flavor": variant["flavor"]} if variant.get("flavor") else {}
        by_name[variant["name"]] = {"model_uri": variant["model_uri"], **flavor, "config": variant.get("config") or {}}
    document: JSON = {"variants": by_name}
    if traffic is None and len(by_name) == 1:
        traffic = dict.fromkeys(by_name, 100)
    if traffic is not None:
        document["traffic"] = {name: traffic.get(name, 0) for name in by_name}
    if labels is not None:
        document["labels"] = dict(labels)
    return document


def between(before: JSON, after: JSON) -> list[Difference]:
    """What becomes different, the paths in the order of ``after``; parts that only ``before`` has come last."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    paths = dict.fromkeys([*new, *old])
    found = [Difference(path, old.get(path, ABSENT), new.get(path, ABSENT)) for path in paths]
    return [each for each in found if not _same(each.before, each.after)]


def _leaves(document: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if not isinstance(document, Mapping):
        yield path, document
        return
    for key, value in document.items():
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) is not isinstance(other, bool):
        return False  # to Python, True is 1
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
