"""The fake workspace's registries of models, and the tokens that it issues."""

from __future__ import annotations

import asyncio
import base64
import time
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.databricks_conduct import Conducted
from tests.fakes.databricks_endpoints import Refusal


class SignIn:
    """Beside the endpoints: which versions there are, and who is let in."""

    def __init__(self, workspace: Conducted) -> None:
        self._workspace = workspace

    def routes(self) -> list[Route]:
        return [
            Route("/api/2.1/unity-catalog/models/{name}/aliases/{alias}", self._uc_alias, methods=["GET"]),
            Route("/api/2.1/unity-catalog/models/{name}/versions/{version}", self._uc_version, methods=["GET"]),
            Route("/api/2.0/mlflow/registered-models/alias", self._alias, methods=["GET"]),
            Route("/api/2.0/mlflow/model-versions/get", self._version, methods=["GET"]),
            Route("/.well-known/databricks-config", self._host, methods=["GET"]),
            Route("/oidc/.well-known/oauth-authorization-server", self._discovery, methods=["GET"]),
            Route("/oidc/v1/token", self._token, methods=["POST"]),
        ]

    async def _uc_alias(self, request: Request) -> Response:
        def effect() -> Response:
            name, alias = request.path_params["name"], request.path_params["alias"]
            version = self._workspace.conduct.aliases.get(name, {}).get(alias)
            if version is None:
                raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Alias '{alias}' of model '{name}' does not exist.")
            return JSONResponse({"model_name": name.split(".")[-1], "version": int(version), "status": "READY"})

        return await self._workspace.call("MODEL", request, effect)

    async def _uc_version(self, request: Request) -> Response:
        def effect() -> Response:
            name, version = request.path_params["name"], request.path_params["version"]
            self._workspace.check_model(name, version)
            return JSONResponse({"model_name": name.split(".")[-1], "version": int(version), "status": "READY"})

        return await self._workspace.call("MODEL", request, effect)

    async def _alias(self, request: Request) -> Response:
        def effect() -> Response:
            name, alias = request.query_params["name"], request.query_params["alias"]
            version = self._workspace.conduct.aliases.get(name, {}).get(alias)
            if version is None:
                words = f"Registered model alias {alias} not found."
                raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", words)
            return JSONResponse({"model_version": {"name": name, "version": version, "status": "READY"}})

        return await self._workspace.call("MODEL", request, effect)

    async def _version(self, request: Request) -> Response:
        def effect() -> Response:
            name, version = request.query_params["name"], request.query_params["version"]
            self._workspace.check_model(name, version)
            return JSONResponse({"model_version": {"name": name, "version": version, "status": "READY"}})

        return await self._workspace.call("MODEL", request, effect)

    async def _host(self, request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        return JSONResponse({"oidc_endpoint": f"{base}/oidc", "workspace_id": "7", "cloud": "aws"})

    async def _discovery(self, request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        answer = {"authorization_endpoint": f"{base}/oidc/v1/authorize", "token_endpoint": f"{base}/oidc/v1/token"}
        return JSONResponse(answer)

    async def _token(self, request: Request) -> Response:
        """OAuth for machines, and the exchange for a token of one route-optimised endpoint."""
        await asyncio.sleep(self._workspace.conduct.latency)
        form = dict(parse_qsl((await request.body()).decode()))
        self._workspace.recorder.calls["TOKEN"] += 1
        if self._workspace.take("denied", "TOKEN", ""):
            return JSONResponse({"error": "invalid_client", "error_description": "denied"}, 401)
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        pair = base64.b64decode(encoded).decode() if scheme == "Basic" else ":"
        client, _, secret = pair.partition(":")
        assertion = form.get("assertion")
        if (
            self._workspace.conduct.clients.get(client) != secret
            and self._workspace.issued.get(assertion or "", 0) < time.time()
        ):
            return JSONResponse({"error": "invalid_client", "error_description": "unknown client"}, 401)
        self._workspace.recorder.tokens += 1
        token = f"oauth-{self._workspace.recorder.tokens}" + ("-data-plane" if "authorization_details" in form else "")
        self._workspace.issued[token] = time.time() + self._workspace.conduct.token_seconds
        return JSONResponse(
            {"access_token": token, "token_type": "Bearer", "expires_in": self._workspace.conduct.token_seconds}
        )
