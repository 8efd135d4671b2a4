"""Changes to the variants of an endpoint: from a revision to the variants and the traffic of the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from modelport.mlflow_target.config import Given, Unfit
from modelport.types import Revision

JSON = dict[str, Any]


class Next(NamedTuple):
    """What the next revision shall be."""

    variants: list[JSON]
    traffic: dict[str, int]


def documents(revision: Revision) -> list[JSON]:
    """The variants as they are sent."""
    return [
        {"name": each.name, "model_uri": each.model_uri, "flavor": each.flavor, "config": dict(each.config)}
        for each in revision.variants
    ]


def added(revision: Revision, name: str, model_uri: str, flavor: str | None, given: Given) -> Next:
    """One more variant, which gets no traffic unless its share is given; the others shrink in proportion."""
    variant = {"name": name, "model_uri": model_uri, "flavor": flavor, "config": given.target}
    return Next([*documents(revision), variant], _split({**revision.traffic, name: 0}, name, given))


def changed(revision: Revision, name: str, model_uri: str | None, flavor: str | None, given: Given) -> Next:
    """One variant with another model, with config laid over its own (None removes a key), or with another share.

    As MLflow has it: another model without a flavor takes the default flavor. Raises Unfit.
    """
    variants = documents(revision)
    variant = next(each for each in variants if each["name"] == name)
    if model_uri is not None:
        variant |= {"model_uri": model_uri, "flavor": flavor}
    elif flavor is not None:
        raise Unfit("a new flavor needs model_uri too")
    config = {**variant["config"], **given.target}
    variant["config"] = {key: value for key, value in config.items() if value is not None}
    return Next(variants, _split(revision.traffic, name, given))


def removed(revision: Revision, name: str, given: Given) -> Next:
    """Without this variant, which must have no traffic any more unless the traffic of the others is given."""
    share = revision.traffic.get(name, 0)
    if given.traffic is None and share:
        raise Unfit(
            f"{name!r} has {share} % of the traffic; shift it away first with update_endpoint, "
            "or say where it goes with config traffic"
        )
    left = {other: percent for other, percent in revision.traffic.items() if other != name}
    return Next([each for each in documents(revision) if each["name"] != name], given.traffic or left)


def scaled(traffic: Mapping[str, int], name: str, share: int) -> dict[str, int]:
    """``name`` gets ``share`` percent, and the others what is left, in the proportion that they have now."""
    others = {other: percent for other, percent in traffic.items() if other != name}
    if not others and share != 100:
        raise Unfit(f"{name!r} is the only variant and has all of the traffic")
    if not any(others.values()):
        others = dict.fromkeys(others, 1)
    whole, left = sum(others.values()), 100 - share
    exact = {other: percent * left / whole for other, percent in others.items()}
    result = {other: int(percent) for other, percent in exact.items()}
    by_rest = sorted(exact, key=lambda other: exact[other] - result[other], reverse=True)
    for other in by_rest[: left - sum(result.values())]:
        result[other] += 1
    return {each: share if each == name else result[each] for each in traffic}


def _split(traffic: Mapping[str, int], name: str, given: Given) -> dict[str, int]:
    if given.traffic is not None:
        return given.traffic
    return dict(traffic) if given.share is None else scaled(traffic, name, given.share)
