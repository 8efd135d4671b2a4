"""What a cluster's controllers do by themselves, by the clock: Deployments, and KServe in both of its modes.

From KServe's source (``pkg/controller/v1beta1``, ``pkg/apis/serving/v1beta1/inference_service_status.go``): children
get the annotations of the InferenceService and of its predictor; a failed update of Standard mode stays ``Ready``;
``status.observedGeneration`` is the child's; Knative's latest target is the latest *ready* revision.
"""

from __future__ import annotations

import copy
import json
import math

from tests.fakes.kubernetes_apps import Change, Deployments, Fate, Where, model_of
from tests.fakes.kubernetes_objects import Document, Objects

OWNER_LABEL = "serving.kserve.io/inferenceservice"
MODE = "serving.kserve.io/deploymentMode"
NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", "autoscaling.knative.dev/min-scale"}
LEGACY = {"RawDeployment": "Standard", "Serverless": "Knative"}


class Controllers(Deployments):
    """They write to ``objects`` whatever time has brought; ``splits``: whether KServe writes weights into routes."""

    def __init__(self, objects: Objects, domain: str) -> None:
        super().__init__(objects)
        self.domain = domain
        self.changes: dict[tuple[str, str, str], Change] = {}
        self.splits = True
        self.numbers: dict[Where, int] = {}

    def begin(self, plural: str, namespace: str, name: str, change: Change) -> None:
        self.changes[plural, namespace, name] = change
        self.pass_time()

    def look(self, plural: str, namespace: str, name: str | None = None) -> None:
        for (kind, space, of), change in self.changes.items():
            if kind == plural and space == namespace and name in (None, of):
                change.shown += 1

    def pass_time(self) -> None:
        for key, change in list(self.changes.items()):
            plural, namespace, name = key
            there = self.objects.find(plural, namespace, name)
            if there is None:
                del self.changes[key]
                continue
            if not change.reconciled and change.reached(0.5):
                change.reconciled = True
                if not change.deletes:
                    self._reconcile(plural, namespace, there)
            if change.reconciled and change.reached(1.0) and change.fate.outcome != "stuck":
                if self.changes.get(key) is change:
                    del self.changes[key]
                self._end(plural, namespace, name, change)

    def _reconcile(self, plural: str, namespace: str, there: Document) -> None:
        if plural == "deployments":
            self._roll(namespace, there)
        if plural == "inferenceservices":
            status = there.setdefault("status", {})
            there["metadata"].setdefault("finalizers", ["inferenceservice.finalizers"])
            status["deploymentMode"] = mode_of(there)
            if mode_of(there) == "Knative":
                self._revise(namespace, there)
            else:
                self._raw(namespace, there)
            self.objects.touch(there)

    def _end(self, plural: str, namespace: str, name: str, change: Change) -> None:
        there = self.objects.find(plural, namespace, name)
        assert there is not None
        if change.deletes:
            self._collect(plural, namespace, name)
        elif change.fate.outcome == "rolls_back" and change.before is not None:
            there["spec"] = copy.deepcopy(change.before["spec"])
            there["metadata"]["annotations"] = copy.deepcopy(change.before["metadata"].get("annotations") or {})
            there["metadata"]["generation"] += 1
            self.objects.touch(there)
            self._reconcile(plural, namespace, there)
            self._end(plural, namespace, name, Change(Fate(), 0, None))
        elif plural == "deployments":
            self._rolled(namespace, there, change.fate)
        elif mode_of(there) == "Knative":
            self._revised(namespace, there, change.fate)
        else:
            self._raw_ended(namespace, there, change.fate)

    # KServe, Standard mode

    def _raw(self, namespace: str, there: Document) -> None:
        name, spec = there["metadata"]["name"], there["spec"]
        wanted = {child_name(name, spec["predictor"].get("name")): self._child(there, spec["predictor"], {})}
        for canary in spec.get("canary") or []:
            replicas = math.ceil(spec["predictor"].get("minReplicas", 1) * canary["trafficPercent"] / 100)
            child = self._child(there, spec["predictor"], canary["predictor"])
            child["spec"]["replicas"] = canary["predictor"].get("minReplicas", replicas)
            wanted[child_name(name, canary["predictor"]["name"])] = child
        for deployment in list(self.objects.every("deployments", namespace, f"{OWNER_LABEL}={name}")):
            if deployment["metadata"]["name"] not in wanted:
                self._gone(namespace, deployment["metadata"]["name"])
        for child, document in wanted.items():
            document["metadata"]["name"] = child
            old = self.objects.find("deployments", namespace, child)
            document["status"] = copy.deepcopy((old or {}).get("status") or {})
            if old is None or old["spec"] != document["spec"]:
                document["status"].pop("conditions", None)
            self._roll(namespace, self.objects.put("deployments", namespace, document))
            self.objects.put("services", namespace, {"metadata": {"name": child, "labels": {OWNER_LABEL: name}}})
        blocked = (there["status"].get("modelStatus") or {}).get("lastFailureInfo")
        there["status"]["modelStatus"] = {"transitionStatus": "InProgress"} | (
            {"lastFailureInfo": blocked} if blocked else {}
        )

    def _raw_ended(self, namespace: str, there: Document, fate: Fate) -> None:
        name, spec, status = there["metadata"]["name"], there["spec"], there["status"]
        base = child_name(name, spec["predictor"].get("name"))
        broken: str | None = None
        for deployment in list(self.objects.every("deployments", namespace, f"{OWNER_LABEL}={name}")):
            child = deployment["metadata"]["name"]
            changed = self.serving.get((namespace, child)) != model_of(deployment["spec"]["template"])
            own = fate if changed and fate.outcome == "fails" else Fate()
            if own.outcome == "fails" and child == base:
                broken = own.message
                continue  # its pods go on failing, and the Deployment has not given them up yet
            self._rolled(namespace, deployment, own)
        canaries = spec.get("canary") or []
        status["canaryStatuses"] = [
            {
                "name": each["predictor"]["name"],
                "ready": (namespace, child_name(name, each["predictor"]["name"])) in self.serving,
                "trafficPercent": each["trafficPercent"],
            }
            for each in canaries
        ]
        if broken is None:
            self._loaded(there)
        else:
            self._blocked(there, broken, ready=(namespace, base) in self.serving)
        if not canaries:
            status.pop("canaryStatuses")
        self._route(namespace, there, base)
        self.objects.touch(there)

    def _route(self, namespace: str, there: Document, base: str) -> None:
        name, weights = there["metadata"]["name"], {}
        for told in there["status"].get("canaryStatuses") or []:
            if told["ready"] and self.splits:
                weights[child_name(name, told["name"])] = told["trafficPercent"]
        refs = [{"name": base, **({"weight": 100 - sum(weights.values())} if weights else {})}]
        refs += [{"name": child, "weight": weight} for child, weight in weights.items()]
        document = {
            "metadata": {"name": name, "labels": {OWNER_LABEL: name}},
            "spec": {"hostnames": [f"{name}-{namespace}.{self.domain}"], "rules": [{"backendRefs": refs}]},
        }
        self.objects.put("httproutes", namespace, document)
        there["status"]["url"] = f"http://{name}-{namespace}.{self.domain}"

    def _child(self, there: Document, predictor: Document, canary: Document) -> Document:
        merged = {**predictor, **canary}
        notes = {**_copied(there), **(predictor.get("annotations") or {}), **(canary.get("annotations") or {})}
        labels = {**(there["metadata"].get("labels") or {}), OWNER_LABEL: there["metadata"]["name"]}
        labels["component"] = "predictor"
        model = merged["model"]
        container = {"name": "kserve-container", **{k: model[k] for k in ("env", "resources", "args") if k in model}}
        container["image"] = f"docker.io/seldonio/mlserver:{model.get('runtimeVersion', '1')}"
        spec = {key: merged[key] for key in ("serviceAccountName", "nodeSelector", "tolerations") if key in merged}
        storage = {"name": "storage-initializer", "args": [model.get("storageUri", ""), "/mnt/models"]}
        template = {
            "metadata": {"labels": dict(labels), "annotations": notes},
            "spec": {**spec, "initContainers": [storage], "containers": [container]},
        }
        return {
            "metadata": {"labels": labels, "annotations": notes},
            "spec": {
                "selector": {"matchLabels": {"app": "predictor"}},
                "replicas": merged.get("minReplicas", 1),
                "template": template,
            },
        }

    # KServe, Knative mode

    def _revise(self, namespace: str, there: Document) -> None:
        name, predictor = there["metadata"]["name"], there["spec"]["predictor"]
        parts = there["status"].setdefault("components", {}).setdefault("predictor", {})
        child = self._child(there, predictor, {})
        template = json.dumps([child["spec"]["template"], predictor.get("maxReplicas")], sort_keys=True)
        if self.templates.get((namespace, name)) != template:
            self.templates[namespace, name] = template
            number = self.numbers[namespace, name] = self.numbers.get((namespace, name), 0) + 1
            latest = f"{name}-predictor-{number:05d}"
            revision = {"metadata": {"name": latest, **child["spec"]["template"]["metadata"]}}
            revision["spec"] = child["spec"]["template"]["spec"]
            revision["status"] = {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Deploying"}]}
            self.objects.put("revisions", namespace, revision)
            parts["latestCreatedRevision"] = latest
            there["status"].setdefault("modelStatus", {})["transitionStatus"] = "InProgress"
            self._traffic(namespace, there)

    def _revised(self, namespace: str, there: Document, fate: Fate) -> None:
        parts = there["status"]["components"]["predictor"]
        latest = parts["latestCreatedRevision"]
        revision = self.objects.find("revisions", namespace, latest)
        assert revision is not None
        if fate.outcome == "fails" and (namespace, latest) not in self.serving:
            told = {"type": "Ready", "status": "False", "reason": "ExitCode1", "message": fate.message}
            revision["status"] = {"conditions": [told]}
            self._blocked(there, fate.message, ready=False)
        else:
            self.serving[namespace, latest] = model_of(revision)
            revision["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
            parts["latestReadyRevision"] = latest
            self._loaded(there)
        self.objects.touch(revision)
        self._traffic(namespace, there)
        self.objects.touch(there)

    def _traffic(self, namespace: str, there: Document) -> None:
        """The route by KServe's rule, and what is remembered as rolled out by it."""
        name, status = there["metadata"]["name"], there["status"]
        parts = status["components"]["predictor"]
        ready, rolled = parts.get("latestReadyRevision"), parts.get("latestRolledoutRevision")
        if ready is None:
            return
        share = there["spec"]["predictor"].get("canaryTrafficPercent")
        split = share is not None and rolled is not None
        tags = (there["metadata"].get("annotations") or {}).get("serving.kserve.io/enable-tag-routing") == "true"
        host = f"{name}-predictor-{namespace}.{self.domain}"
        latest = {"revisionName": ready, "latestRevision": True, "percent": share if split else 100}
        targets = [latest | ({"tag": "latest", "url": f"http://latest-{host}"} if tags else {})]
        if split and share < 100:
            target = {"revisionName": rolled, "latestRevision": False, "percent": 100 - share, "tag": "prev"}
            targets.append({**target, "url": f"http://prev-{host}"})
        parts["traffic"], status["url"] = targets, f"http://{name}-{namespace}.{self.domain}"
        if latest["percent"] == 100 and rolled != ready:
            parts["previousRolledoutRevision"], parts["latestRolledoutRevision"] = rolled or "", ready

    # both

    def _loaded(self, there: Document) -> None:
        told = (there["status"].get("modelStatus") or {}).get("lastFailureInfo")
        there["status"]["modelStatus"] = {
            "transitionStatus": "UpToDate",
            "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
            **({"lastFailureInfo": told} if told else {}),
        }
        there["status"]["conditions"] = [
            {"type": "Ready", "status": "True"},
            {"type": "PredictorReady", "status": "True"},
        ]

    def _blocked(self, there: Document, message: str, *, ready: bool) -> None:
        there["status"]["modelStatus"] = {
            "transitionStatus": "BlockedByFailedLoad",
            "states": {"activeModelState": "Loaded" if ready else "", "targetModelState": "FailedToLoad"},
            "lastFailureInfo": {"reason": "ModelLoadFailed", "message": message, "exitCode": 1},
        }
        there["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]

    def _collect(self, plural: str, namespace: str, name: str) -> None:
        for kind in ("deployments", "services", "revisions", "httproutes"):
            for child in list(self.objects.every(kind, namespace, f"{OWNER_LABEL}={name}")):
                self._gone(namespace, child["metadata"]["name"], kind)
        self.templates.pop((namespace, name), None)
        self._gone(namespace, name, plural)


def mode_of(there: Document) -> str:
    told = (there["metadata"].get("annotations") or {}).get(MODE, "Standard")
    return LEGACY.get(told, told)


def child_name(name: str, slot: str | None) -> str:
    return f"{name}-{slot}-predictor" if slot else f"{name}-predictor"


def _copied(there: Document) -> dict[str, str]:
    notes = there["metadata"].get("annotations") or {}
    return {key: value for key, value in notes.items() if key not in NOT_COPIED}
