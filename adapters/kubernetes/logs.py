"""The last lines of the pods behind a deployment."""

from __future__ import annotations

from adapters.contract import JSON
from adapters.kubernetes.cluster import PODS, Cluster


def tails(
    cluster: Cluster, selector: str, container: str, note: str, variants: list[str], variant: str | None, lines: int
) -> str:
    """Of each variant's newest pod what ``container`` said last, or what it said before it died.

    Which variant a pod is of is told by its annotation ``note``. One variant's lines come alone, those of several each
    under its name.
    """
    pods = sorted(cluster.list(PODS, selector), key=_age)
    newest = {((pod["metadata"].get("annotations") or {}).get(note) or ""): pod["metadata"]["name"] for pod in pods}
    if not variants:
        variants = sorted(newest)
    chosen = {name: newest[name] for name in variants if name in newest and variant in (None, name)}
    said = {name: _said(cluster, pod, container, lines) for name, pod in chosen.items()}
    if len(said) == 1:
        return next(iter(said.values()))
    return "\n".join(f"==> {name} <==\n{text}" for name, text in said.items())


def _said(cluster: Cluster, pod: str, container: str, lines: int) -> str:
    return (cluster.log(pod, container, lines) or cluster.log(pod, container, lines, previous=True)).rstrip("\n")


def _age(pod: JSON) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]
