"""The namespace in a target's URI."""

from __future__ import annotations

import re

from adapters.contract import Permanent, Place


def namespace_of(place: Place, scheme: str) -> str:
    """The namespace in ``SCHEME:/NAMESPACE``; ``default`` without one. Raises Permanent where the URI is otherwise."""
    found = re.fullmatch(rf"{scheme}(?::/?([a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?)?/?)?", place.uri)
    if found is None:
        raise Permanent(f"the URI of target {place.name} is not of the form {scheme}:/NAMESPACE")
    return found[1] or "default"
