"""What a Service and the Deployments of one name tell; JSON only, so that it can be stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from adapters.contract import JSON
from adapters.kubernetes import goals
from adapters.kubernetes.rollout import thing_of


def facts(service: JSON | None, deployments: Iterable[JSON]) -> JSON:
    """The facts that a step is decided from."""
    return {
        "service": _service(service) if service else None,
        "deployments": sorted((_deployment(each) for each in deployments), key=lambda each: str(each["name"])),
    }


def of(found: JSON, digest: str | None) -> JSON | None:
    """The Deployment of this digest."""
    return next((each for each in found["deployments"] if each["digest"] == digest), None)


def status_word(found: JSON, serving: JSON | None) -> str:
    """In a word for people: ``serving``, ``updating``, ``failed``, ``deleting``."""
    if found["service"]["deleting"]:
        return "deleting"
    if serving is None:
        return "failed"
    if len(found["deployments"]) > 1 or not serving["complete"]:
        return "updating"
    return "serving"


def complete(deployment: JSON) -> bool:
    """Whether a Deployment runs what it asks for and nothing of before."""
    wanted, status = deployment["spec"].get("replicas", 1), deployment.get("status") or {}
    if (status.get("observedGeneration") or 0) < (deployment["metadata"].get("generation") or 0):
        return False
    return all((status.get(key) or 0) == wanted for key in ("updatedReplicas", "replicas", "availableReplicas"))


def gave_up(deployment: JSON | None) -> str | None:
    """Why a Deployment does not get on, in its own words; None while it may, and where that is told of before."""
    status = (deployment or {}).get("status") or {}
    generation = ((deployment or {}).get("metadata") or {}).get("generation") or 0
    if (status.get("observedGeneration") or 0) < generation:
        return None
    for condition in status.get("conditions") or []:
        failed = condition.get("type") == "Progressing" and condition.get("status") == "False"
        if failed or (condition.get("type") == "ReplicaFailure" and condition.get("status") == "True"):
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return None


def words(deployment: JSON | None) -> str:
    """How far a Deployment is."""
    if deployment is None:
        return "waits for its Deployment"
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    updated, available = status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0
    return f"{updated} of {wanted} replicas are new, {available} available"


def _service(document: JSON) -> JSON:
    selector = (document.get("spec") or {}).get("selector") or {}
    shown = goals.sum_shown(document)
    return thing_of(document, owner=_owner(document), selects=selector.get(goals.DIGEST_LABEL), sum=shown)


def _deployment(document: JSON) -> JSON:
    matched = ((document["spec"].get("selector") or {}).get("matchLabels")) or {}
    spec = goals.spec_shown(document)
    return thing_of(
        document,
        owner=_owner(document),
        digest=matched.get(goals.DIGEST_LABEL),
        sum=goals.sum_shown(document),
        complete=complete(document),
        failure=gave_up(document),
        words=words(document),
        variant=spec.variants[0].name if spec else "main",
        spec=spec.to_json() if spec else None,
    )


def _owner(document: JSON) -> list[str] | None:
    notes: Mapping[str, str] = document["metadata"].get("annotations") or {}
    if goals.INSTALLATION not in notes and goals.UID not in notes:
        return None
    return [notes.get(goals.INSTALLATION, ""), notes.get(goals.UID, "")]
