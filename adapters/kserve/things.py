"""What an InferenceService and its children tell: what was asked for, what of it is in force, and whose it is.

``status.observedGeneration`` is the child's and tells nothing; ``Ready`` alone may be the version before. So what
counts is the children: in Standard mode the Deployments, in Knative mode the Revisions, each of which carries the
notes that its predictor had (``goals``), and the share of the traffic that the routes really give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.contract import JSON
from adapters.kserve import goals
from adapters.kubernetes.cluster import Kind
from adapters.kubernetes.fields import digest
from adapters.kubernetes.settings import OURS
from adapters.kubernetes.things import complete, gave_up, words

SERVICES = Kind("/apis/serving.kserve.io/v1beta1", "serving.kserve.io/v1beta1", "inferenceservices", "InferenceService")
REVISIONS = Kind("/apis/serving.knative.dev/v1", "serving.knative.dev/v1", "revisions", "Revision")
ROUTES = Kind("/apis/gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1", "httproutes", "HTTPRoute")
OWNER_LABEL = "serving.kserve.io/inferenceservice"
BLOCKED, INVALID = "BlockedByFailedLoad", "InvalidSpec"


@dataclass(frozen=True)
class Children:
    """What belongs to one InferenceService: Deployments, Revisions, and the HTTPRoute that splits its traffic."""

    deployments: tuple[JSON, ...] = ()
    revisions: tuple[JSON, ...] = ()
    route: JSON | None = None


def thing(shown: JSON, children: Children) -> JSON:
    """The facts that a step is decided from; JSON only."""
    metadata, spec = shown["metadata"], shown.get("spec") or {}
    predictor, status = spec.get("predictor") or {}, shown.get("status") or {}
    notes = metadata.get("annotations") or {}
    facts = {
        "uid": metadata.get("uid"),
        "generation": metadata.get("generation") or 0,
        "version": metadata.get("resourceVersion"),
        "deleting": metadata.get("deletionTimestamp") is not None,
        "owner": _owner(notes),
        "adopted": _adopted(notes, spec),
        "mode": mode(shown),
        "mode_note": notes.get(goals.MODE),
        "frame": _frame(metadata),
        "base": goals.marked(predictor),
        "base_slot": predictor.get("name"),
        "side": None,
        "side_slot": None,
        "share": None,
        "actual": 0,
        "ready": _condition(status, "Ready").get("status") == "True",
        "mark": _failure_mark(status),
        "invalid": (status.get("modelStatus") or {}).get("transitionStatus") == INVALID,
        "url": status.get("url"),
        "pins": {},
    }
    if facts["mode"] == "Knative":
        return facts | _in_knative(metadata, predictor, status, children)
    return facts | _in_standard(metadata, spec, status, children)


def mode(shown: JSON) -> str:
    """Standard or Knative, whatever the release calls it; the default of releases that say nothing is Knative's."""
    status, notes = shown.get("status") or {}, shown["metadata"].get("annotations") or {}
    told = status.get("deploymentMode") or notes.get(goals.MODE)
    if told is None:
        parts = (status.get("components") or {}).get("predictor") or {}
        return "Knative" if parts.get("latestCreatedRevision") else "Standard"
    return str(goals.MODES.get(told, told))


def is_split(shown: JSON) -> bool:
    """Whether it asks for a canary of Standard mode, whose share only the HTTPRoute tells."""
    return bool((shown.get("spec") or {}).get("canary"))


def carried(facts: JSON) -> list[list[Any]]:
    """Of each variant that is asked for its name, digest and share."""
    if facts["side"] is None and facts["share"] is None:
        return [[*(facts["base"] or ["", ""]), 100]]
    share = facts["share"] or 0
    return [[*(facts["base"] or ["", ""]), 100 - share], [*(facts["side"] or ["", ""]), share]]


def content(facts: JSON) -> str | None:
    """The string that the plan of what serves now has as its content; None where nobody's marks are on it."""
    if facts["owner"] is None:
        return None
    return facts["adopted"] or goals.content(carried(facts), facts["frame"])


def status_word(facts: JSON) -> str:
    """In a word for people: ``serving``, ``updating``, ``creating``, ``failed``, ``deleting``."""
    if facts["deleting"]:
        return "deleting"
    if facts["settled"] and facts["ready"]:
        return "serving"
    if facts["failure"]:
        return "failed"
    return "updating" if facts["ready"] else "creating"


def _in_knative(metadata: JSON, predictor: JSON, status: JSON, children: Children) -> JSON:
    parts = (status.get("components") or {}).get("predictor") or {}
    latest, rolled = parts.get("latestCreatedRevision") or "", parts.get("latestRolledoutRevision") or ""
    revisions = {revision["metadata"]["name"]: revision for revision in children.revisions}
    percents: dict[str, int] = {}
    for target in parts.get("traffic") or []:
        name = target.get("revisionName") or ""
        percents[name] = percents.get(name, 0) + int(target.get("percent") or 0)
    share = predictor.get("canaryTrafficPercent")
    share = None if share == 100 or not rolled or (rolled == latest and share is not None) else share
    newest = revisions.get(latest)
    current = newest is not None and _carries(newest["metadata"], metadata, predictor)
    condition = _condition((newest or {}).get("status") or {}, "Ready")
    is_ready = current and parts.get("latestReadyRevision") == latest and condition.get("status") != "False"
    found: JSON = {"share": share, "failure": None, "words": _knative_words(condition, status)}
    if share is None:
        found |= {"base_ready": is_ready, "side_ready": True, "settled": is_ready and percents.get(latest, 0) == 100}
    else:
        before = goals.marked_by(_annotations(revisions[rolled])) if rolled in revisions else None
        found |= {
            "base": before,
            "side": goals.marked(predictor),
            "base_ready": True,
            "side_ready": is_ready,
            "actual": percents.get(latest, 0),
            "settled": is_ready and percents.get(latest, 0) == share and percents.get(rolled, 0) == 100 - share,
        }
    if current and condition.get("status") == "False":
        found["failure"] = _failure_words(status) or f"{condition.get('reason', '')}: {condition.get('message', '')}"
    named = {latest: goals.marked(predictor), rolled: found.get("base")} if share is not None else {}
    found["pins"] = {
        mark[0]: target["url"]
        for target in parts.get("traffic") or []
        if target.get("url") and (mark := named.get(target.get("revisionName"))) is not None
    }
    return found


def _in_standard(metadata: JSON, spec: JSON, status: JSON, children: Children) -> JSON:
    predictor, canaries = spec.get("predictor") or {}, spec.get("canary") or []
    deployments = {each["metadata"]["name"]: each for each in children.deployments}
    name = metadata["name"]
    base = deployments.get(service_name(name, predictor.get("name")))
    base_current = base is not None and _carries(_template(base), metadata, predictor)
    found: JSON = {
        "base_ready": base_current and base is not None and complete(base),
        "side_ready": True,
        "failure": None,
        "words": words(base),
    }
    wanted = {service_name(name, predictor.get("name"))}
    if canaries:
        side, slot = canaries[0].get("predictor") or {}, (canaries[0].get("predictor") or {}).get("name")
        child = deployments.get(service_name(name, slot))
        both = {**predictor, "annotations": {**_notes(predictor), **_notes(side)}}
        current = child is not None and _carries(_template(child), metadata, both)
        wanted.add(service_name(name, slot))
        found |= {
            "side": goals.marked(side),
            "side_slot": slot,
            "share": int(canaries[0].get("trafficPercent") or 0),
            "actual": _weight(children.route, service_name(name, slot)),
            "side_ready": current and child is not None and complete(child),
            "words": found["words"] if not found["base_ready"] else words(child),
        }
        if current and not found["side_ready"]:
            found["failure"] = gave_up(child)
    if not found["base_ready"] and base_current:
        blocked = (status.get("modelStatus") or {}).get("transitionStatus") == BLOCKED
        found["failure"] = (blocked and _failure_words(status)) or gave_up(base) or found["failure"]
    if (status.get("modelStatus") or {}).get("transitionStatus") == INVALID:
        found["failure"] = _failure_words(status) or INVALID
    alone = set(deployments) <= wanted
    found["settled"] = found["base_ready"] and found["side_ready"] and alone and len(canaries) <= 1
    found["settled"] = found["settled"] and (not canaries or found["actual"] == found["share"])
    pins = {(goals.marked(predictor) or [""])[0]: predictor.get("name")} if canaries else {}
    pins |= {found["side"][0]: found["side_slot"]} if found.get("side") else {}
    found["pins"] = {variant: f"service:{service_name(name, slot)}" for variant, slot in pins.items()}
    return found


def service_name(name: str, slot: str | None) -> str:
    """The child Deployment's and Service's name in Standard mode (``constants.PredictorServiceName``)."""
    return f"{name}-{slot}-predictor" if slot else f"{name}-predictor"


def _carries(child: JSON, metadata: JSON, predictor: JSON) -> bool:
    """Whether the child was made from what is asked for now: it has just the marks that were asked for."""
    asked = {**(metadata.get("annotations") or {}), **_notes(predictor)}
    return _marks(child.get("annotations") or {}) == _marks(asked)


def _marks(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key.startswith(OURS)}


def _notes(predictor: JSON) -> dict[str, str]:
    return predictor.get("annotations") or {}


def _annotations(child: JSON) -> dict[str, str]:
    return child["metadata"].get("annotations") or {}


def _template(deployment: JSON) -> JSON:
    return ((deployment["spec"].get("template") or {}).get("metadata")) or {}


def _weight(route: JSON | None, service: str) -> int:
    """The share that the HTTPRoute gives to this Service; none where no route splits."""
    for rule in ((route or {}).get("spec") or {}).get("rules") or []:
        weights: dict[str, int] = {
            str(each.get("name")): int(each.get("weight", 1)) for each in rule.get("backendRefs") or []
        }
        total = sum(weights.values(), 0)
        if service in weights and total:
            return round(100 * weights[service] / total)
    return 0


def _owner(notes: Mapping[str, str]) -> list[str] | None:
    if goals.INSTALLATION not in notes and goals.UID not in notes:
        return None
    return [notes.get(goals.INSTALLATION, ""), notes.get(goals.UID, "")]


def _adopted(notes: Mapping[str, str], spec: JSON) -> str | None:
    """The content with which it was adopted, until what it serves changes."""
    there, _, planned = notes.get(goals.ADOPTED, "").partition("/")
    return planned if planned and there == digest(spec) else None


def _frame(metadata: JSON) -> str:
    keys = frame_keys(metadata.get("annotations") or {})
    return goals.frame_digest(keys, metadata)


def frame_keys(notes: Mapping[str, str]) -> dict[str, Any]:
    """The labels and annotations that were asked for, by kind."""
    try:
        keys = json.loads(notes.get(goals.FRAME, "{}"))
    except ValueError:
        return {}
    return keys if isinstance(keys, dict) else {}


def _condition(status: JSON, kind: str) -> JSON:
    return next((each for each in status.get("conditions") or [] if each.get("type") == kind), {})


def _failure_mark(status: JSON) -> str:
    told = status.get("modelStatus") or {}
    return digest([told.get("transitionStatus") in (BLOCKED, INVALID), told.get("lastFailureInfo")])


def _failure_words(status: JSON) -> str | None:
    told = (status.get("modelStatus") or {}).get("lastFailureInfo")
    if not told:
        return None
    where = f" ({told['location']})" if told.get("location") else ""
    return f"{told.get('reason', 'failed')}: {told.get('message', '')}{where}"


def _knative_words(condition: JSON, status: JSON) -> str:
    told = condition.get("message") or _condition(status, "Ready").get("message") or ""
    return str(told)
