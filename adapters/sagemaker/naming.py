"""Names and marks of everything that is made for a deployment: by whose it is and what it holds, never by a clock.

A name reads ``{deployment}-{owner}-{content}``, cut to the vendor's 63 characters, so whatever bears a deployment's
owner part is its own, can be listed by it, and is told from all else even when every record is lost.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

LONGEST = 63
OWNER_DIGITS, CONTENT_DIGITS, TRAFFIC_DIGITS = 10, 12, 6
INSTALLATION_TAG, UID_TAG = "modelport:installation", "modelport:uid"
CONTENT_TAG, MODEL_TAG = "modelport:content", "modelport:model_uri"
LONGEST_TAG = 256

_FLEET = re.compile(rf"-([0-9a-f]{{{OWNER_DIGITS}}})-([0-9a-f]{{{CONTENT_DIGITS}}})-[0-9a-f]{{{TRAFFIC_DIGITS}}}$")
_ENDING = re.compile(rf"[ap][0-9a-f]{{{CONTENT_DIGITS}}}|[0-9a-f]{{{CONTENT_DIGITS}}}-[0-9a-f]{{{TRAFFIC_DIGITS}}}")
_NOT_IN_TAGS = re.compile(r"[^\w\s.:/+@-]")
_QUOTED = re.compile(r"=([0-9A-F]{2,6})=")


@dataclass(frozen=True)
class Owner:
    """One deployment of one installation."""

    installation: str
    uid: str
    name: str

    @property
    def mark(self) -> str:
        """What the names of all its things have in common."""
        return f"-{digest([self.installation, self.uid], OWNER_DIGITS)}-"

    @property
    def tags(self) -> dict[str, str]:
        """The tags that mark a thing as this deployment's."""
        return {INSTALLATION_TAG: tag_value(self.installation), UID_TAG: tag_value(self.uid)}

    def model(self, content: str, *, packed: bool) -> str:
        """The name of a model with this content; its form tells whether its artefact was packed for it."""
        return self._name(f"{'p' if packed else 'a'}{content[:CONTENT_DIGITS]}")

    def config(self, fleet: str, traffic: Mapping[str, int]) -> str:
        """The name of an endpoint configuration that begins with this traffic."""
        return self._name(f"{fleet[:CONTENT_DIGITS]}-{digest(dict(traffic), TRAFFIC_DIGITS)}")

    def owns(self, name: str) -> bool:
        """Whether a model or a configuration of this name was made for this deployment."""
        _, mark, ending = name.rpartition(self.mark)
        return bool(mark) and _ENDING.fullmatch(ending) is not None

    def _name(self, ending: str) -> str:
        room = LONGEST - len(self.mark) - len(ending)
        return f"{self.name[:room].rstrip('-')}{self.mark}{ending}"


def packed(model: str) -> bool:
    """Whether the model of this name has an artefact that was packed for it alone."""
    return model.rpartition("-")[2].startswith("p")


def fleet_of(config: str) -> str | None:
    """The content of everything but traffic that a configuration of this name has; None where it is not ours."""
    found = _FLEET.search(config)
    return found[2] if found else None


def content_of(fleet: str, traffic: Mapping[str, int]) -> str:
    """What is served: the fleet and its traffic, the same string for the same."""
    return f"{fleet}:{','.join(f'{name}={share}' for name, share in sorted(traffic.items()))}"


def shares(weights: Mapping[str, float]) -> dict[str, int]:
    """Relative weights as whole percent that sum to 100; nothing where they sum to nothing."""
    total = sum(weights.values())
    if total <= 0:
        return {}
    exact = {name: 100 * weight / total for name, weight in weights.items()}
    whole = {name: int(share + 1e-6) for name, share in exact.items()}
    by_rest = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in by_rest[: 100 - sum(whole.values())]:
        whole[name] += 1
    return whole


def digest(value: object, digits: int = 64) -> str:
    """So many hexadecimal digits that differ with the value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def tag_value(text: str) -> str:
    """The text as the vendor takes it in a tag: what may not be there is quoted. Longer than a tag it is cut."""
    return _NOT_IN_TAGS.sub(lambda found: f"={ord(found[0]):02X}=", text)[:LONGEST_TAG]


def from_tag(value: str) -> str | None:
    """The text that ``tag_value`` was given; None where it was cut."""
    return None if len(value) >= LONGEST_TAG else _QUOTED.sub(lambda found: chr(int(found[1], 16)), value)
