"""What an API server says about itself, as far as kubectl and the official clients ask before they do anything."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response

from tests.fakes.kubernetes_conduct import Conduct
from tests.fakes.kubernetes_objects import GROUPS, KINDS, Document

VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
SHORT = {"inferenceservices": ["isvc"], "deployments": ["deploy"], "services": ["svc"], "pods": ["po"]}


def answer(path: str, conduct: Conduct) -> Response:
    """The document at this path; 404 as an API server says it."""
    path = path.rstrip("/")
    hidden = {"httproutes": not conduct.gateway_api, "revisions": not conduct.knative}
    known = {plural: group for plural, group in GROUPS.items() if not hidden.get(plural, False)}
    groups = sorted({version for version in known.values() if "/" in version})
    if path == "/version":
        return JSONResponse({"major": "1", "minor": "32", "gitVersion": "v1.32.4", "platform": "linux/amd64"})
    if path == "/api":
        return JSONResponse({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
    if path == "/apis":
        listed = [_group(version) for version in groups]
        return JSONResponse({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
    if path == "/openapi/v3":
        described = {_prefix(version).lstrip("/"): version for version in ["v1", *groups]}
        return JSONResponse({"paths": {key: {"serverRelativeURL": f"/openapi/v3/{key}"} for key in described}})
    for version in ["v1", *groups]:
        if path == f"/openapi/v3{_prefix(version)}":
            return JSONResponse(_openapi(version, [plural for plural, group in known.items() if group == version]))
    for version in ["v1", *groups]:
        if path == _prefix(version):
            named = [_resource(plural) for plural, group in known.items() if group == version]
            return JSONResponse(
                {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": named}
            )
    return PlainTextResponse("404 page not found\n", 404)


def _prefix(version: str) -> str:
    return "/api/v1" if version == "v1" else f"/apis/{version}"


def _openapi(version: str, plurals: list[str]) -> Document:
    """As much as tells kubectl that fields are validated here and not there."""
    group, _, number = version.rpartition("/")
    paths = {}
    for plural in plurals:
        kind = {"group": group, "version": number, "kind": KINDS[plural]}
        parameters = [{"name": name, "in": "query"} for name in ("dryRun", "fieldManager", "fieldValidation", "force")]
        patch = {"parameters": parameters, "responses": {}, "x-kubernetes-group-version-kind": kind}
        paths[f"{_prefix(version)}/namespaces/{{namespace}}/{plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.32.4"}, "paths": paths}


def _group(version: str) -> Document:
    group, _, number = version.partition("/")
    named = {"groupVersion": version, "version": number}
    return {"name": group, "versions": [named], "preferredVersion": named}


def _resource(plural: str) -> Document:
    return {
        "name": plural,
        "singularName": KINDS[plural].lower(),
        "namespaced": True,
        "kind": KINDS[plural],
        "verbs": VERBS,
        "shortNames": SHORT.get(plural, []),
    }
