"""Which fields of a document were asked for, and a sum over their values that defaults beside them do not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

UNITS: dict[str, Decimal | int] = {
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": 10**3, "M": 10**6, "G": 10**9,
    "T": 10**12, "P": 10**15, "E": 10**18,
}  # fmt: skip

Field = list[str | int]


def digest(value: object) -> str:
    """Sixteen characters that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def fields_of(document: Mapping[str, Any]) -> list[Field]:
    """The paths of everything that the document sets, in a stable order; items of a list by their place."""
    return sorted(_leaves(document, ()), key=json.dumps)


def sum_over(document: Mapping[str, Any], fields: list[Field]) -> str:
    """The digest of the values that the document has at these paths; a quantity counts as the number that it is."""
    return digest([[field, _normal(_at(document, field), field)] for field in fields])


def _leaves(value: Any, path: tuple[str | int, ...]) -> list[Field]:
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return [leaf for place, inner in enumerate(value) for leaf in _leaves(inner, (*path, place))]
    return [list(path)]


def _at(value: Any, field: Field) -> Any:
    for key in field:
        if isinstance(value, dict):
            value = value.get(key)
        else:
            value = value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None
    return value


def _normal(value: Any, field: Field) -> Any:
    """Quantities as numbers: an API server shows 1000m as 1."""
    if "resources" not in field or not isinstance(value, str | int | float):
        return value
    text = str(value)
    unit = next((unit for unit in UNITS if text.endswith(unit)), "")
    try:
        number = Decimal(text.removesuffix(unit)) * UNITS.get(unit, 1)
    except ArithmeticError:
        return text
    return format(number.normalize(), "f")
