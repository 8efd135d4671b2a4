"""What is asked of the API server for a look: few one by one, many with one list of each kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from adapters.contract import JSON, AdapterError, Temporary
from adapters.kserve.describe import DESCRIPTION
from adapters.kserve.things import OWNER_LABEL, REVISIONS, ROUTES, SERVICES, Children, is_split, mode
from adapters.kubernetes.cluster import DEPLOYMENTS, Cluster

SINGLE_LOOKS = 3
PREDICTORS = f"{OWNER_LABEL},component=predictor"
Found = tuple[JSON, Children]


class Reader:
    """Reads InferenceServices with their children. Each answer is of one moment for each kind, not for all of them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def one(self, name: str) -> Found | None:
        """One with its children; None where there is none."""
        shown = self._cluster.get(SERVICES, name)
        if shown is None:
            return None
        selector = f"{OWNER_LABEL}={name}"
        if mode(shown) == "Knative":
            return shown, Children(revisions=tuple(self._cluster.list(REVISIONS, selector)))
        deployments = tuple(self._cluster.list(DEPLOYMENTS, f"{selector},component=predictor"))
        return shown, Children(deployments, route=self._cluster.get(ROUTES, name) if is_split(shown) else None)

    def several(self, names: Iterable[str]) -> Mapping[str, Found | AdapterError | None]:
        """By name what is there. A failure that concerns one alone is its value; one of all of them is raised."""
        wanted = sorted(set(names))
        if len(wanted) > SINGLE_LOOKS:
            there = {found[0]["metadata"]["name"]: found for found in self.all(set(wanted))}
            return {name: there.get(name) for name in wanted}
        return self._each(wanted)

    def all(self, wanted: set[str] | None = None) -> Iterator[Found]:
        """Every one with its children; with ``wanted`` children are asked for only where these need them."""
        shown = list(self._cluster.list(SERVICES))
        of_interest = [each for each in shown if wanted is None or each["metadata"]["name"] in wanted]
        modes = {mode(each) for each in of_interest}
        deployments = self._by_owner(self._cluster.list(DEPLOYMENTS, PREDICTORS)) if "Standard" in modes else {}
        revisions = self._by_owner(self._cluster.list(REVISIONS, OWNER_LABEL)) if "Knative" in modes else {}
        split = any(mode(each) == "Standard" and is_split(each) for each in of_interest)
        routes = {each["metadata"]["name"]: each for each in self._cluster.list(ROUTES)} if split else {}
        for each in of_interest:
            name = each["metadata"]["name"]
            route = routes.get(name) if is_split(each) else None
            if mode(each) == "Knative":
                yield each, Children(revisions=tuple(revisions.get(name, ())))
            else:
                yield each, Children(tuple(deployments.get(name, ())), route=route)

    def _each(self, names: list[str]) -> Mapping[str, Found | AdapterError | None]:
        def ask(name: str) -> Found | AdapterError | None:
            try:
                return self.one(name)
            except Temporary as error:
                return error

        if len(names) == 1:
            found = {names[0]: self.one(names[0])}
            return {**found}
        with ThreadPoolExecutor(DESCRIPTION.limits.parallel, thread_name_prefix="look") as pool:
            several = dict(zip(names, pool.map(ask, names), strict=True))
        failures = [each for each in several.values() if isinstance(each, AdapterError)]
        if failures and len(failures) == len(several):
            raise failures[0]
        return several

    @staticmethod
    def _by_owner(children: Iterable[JSON]) -> dict[str, list[JSON]]:
        found: dict[str, list[JSON]] = defaultdict(list)
        for child in children:
            found[(child["metadata"].get("labels") or {}).get(OWNER_LABEL, "")].append(child)
        return found
