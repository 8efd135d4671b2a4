"""One workspace's address, credentials and connections; shared by the verbs and by predictions.

Calls go over httpx with the headers of databricks-sdk's ``Config`` and not through its ``ApiClient``: that one repeats
a request after a lost connection, 429 and 503 (``_base_client._is_retryable``, ``retries.retried``; no setting turns
it off, ``retry_timeout_seconds`` 0 means 300), bounds single reads and not calls, and takes two seconds to import,
which the API's predictions would pay. A token needs nothing of the SDK; every other kind of authentication is its
``Config``'s, opened once for each state of the credentials, which keeps and refreshes its own tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from adapters import credentials
from adapters.contract import JSON, Denied, Permanent, Place, Temporary
from adapters.databricks.describe import DatabricksSettings

USER_AGENT = "modelport"
MOST_CONFIGS = 64
# attributes of databricks-sdk's Config that are secrets, and what each signs in with
SIGNS_IN_WITH = {
    "token": "pat",
    "client_secret": "oauth-m2m",
    "azure_client_secret": "azure-client-secret",
    "google_credentials": "google-credentials",
    "password": "basic",
}
SENSITIVE = tuple(SIGNS_IN_WITH)
PASSING = re.compile(
    r"unavailable|tim(e|ed) ?out|temporar|connection|max retries|internal|\b(429|5\d\d)\b", re.IGNORECASE
)
T = TypeVar("T")


@dataclass(frozen=True)
class Access:
    """Where the workspace is, and the headers of one call. ``secrets`` are to be blotted out of what it says."""

    base: str
    headers: dict[str, str]
    secrets: tuple[str, ...]
    config: Any = None

    def redact(self, text: str) -> str:
        """The text without the secrets that the workspace may have echoed."""
        for secret in self.secrets:
            text = credentials.redact(text, secret)
        return text


def access(place: Place, seconds: float) -> Access:
    """Resolve the target's credentials anew, within ``seconds``. Raises Denied, Permanent, Temporary."""
    settings = DatabricksSettings.model_validate(place.settings)
    secret = credentials.resolve(place.credentials) if place.credentials else None
    fields = _fields(place, settings, secret)
    if set(fields) == {"host", "token"}:
        return _with_token(place, fields["host"], fields["token"])
    secrets = [str(fields[key]) for key in SENSITIVE if key in fields]
    return _with_config(place, fields, seconds, tuple(secrets))


def for_data_plane(place: Place, way: Access, plane: JSON, seconds: float) -> Access:
    """The same with a token for the data plane of one route-optimised endpoint, which takes no other.

    ``plane`` has its ``url`` and the authorization ``details``. Raises Denied where the credentials are no OAuth.
    """
    if way.config is None:
        raise Denied(
            f"target {place.name}: a route-optimised endpoint takes OAuth tokens only; give the target a client_id and "
            "a client_secret instead of a token"
        )

    def exchange() -> Access:
        token = _exchange(way.config).token(plane["url"], plane["details"]).access_token
        headers = {**way.headers, "Authorization": f"Bearer {token}"}
        return replace(way, headers=headers, secrets=(*way.secrets, token))

    return _signed_in(place, exchange, seconds, way.secrets)


def profile_of(place: Place) -> str | None:
    """The profile that the target's URI or settings name. Raises Permanent where the URI cannot be one."""
    found = re.fullmatch(r"databricks(?:://([^/@?#]*))?/?", place.uri)
    if found is None:
        raise Permanent(f"the URI of target {place.name} is not of the form databricks or databricks://PROFILE")
    return found[1] or DatabricksSettings.model_validate(place.settings).profile


def _fields(place: Place, settings: DatabricksSettings, secret: str | None) -> dict[str, Any]:
    profile = profile_of(place)
    fields: dict[str, Any] = {"profile": profile} if profile else {}
    if settings.host:
        fields["host"] = settings.host.rstrip("/")
    if secret is None:
        return fields
    fields.pop("profile", None)
    if not secret.startswith("{"):
        if "host" not in fields:
            raise Denied(f"target {place.name} has a token, but no host: set settings.host to the workspace's address")
        return {**fields, "token": secret}
    try:
        document = json.loads(secret)
    except ValueError:
        raise Denied(f"credentials {place.credentials}: neither a token nor JSON of databricks-sdk's fields") from None
    fields = {**document, **fields}
    if isinstance(fields.get("host"), str):
        fields["host"] = fields["host"].rstrip("/")
    return fields if set(fields) == {"host", "token"} else {**_kind(fields), **fields}


def _kind(fields: dict[str, Any]) -> dict[str, str]:
    """What the given fields sign in with, so that the worker's own environment adds nothing to them."""
    return next(({"auth_type": kind} for key, kind in SIGNS_IN_WITH.items() if key in fields), {})


def _with_token(place: Place, host: str, token: str) -> Access:
    if urlsplit(host).scheme not in ("http", "https"):
        raise Permanent(f"the host of target {place.name} is not of the form https://HOST")
    credentials.for_header(place.credentials or "", str(token))
    return Access(host, {"Authorization": f"Bearer {token}", "User-Agent": USER_AGENT}, (token,))


def _with_config(place: Place, fields: dict[str, Any], seconds: float, secrets: tuple[str, ...]) -> Access:
    def authenticate() -> Access:
        config = _config(place.name, json.dumps(fields, sort_keys=True), seconds).result(timeout=seconds)
        headers = {**config.authenticate(), "User-Agent": USER_AGENT}
        if config.workspace_id:
            headers["X-Databricks-Workspace-Id"] = str(config.workspace_id)
        token = headers.get("Authorization", "").partition(" ")[2]
        return Access(config.host.rstrip("/"), headers, (*secrets, *([token] if token else [])), config)

    return _signed_in(place, authenticate, seconds, secrets)


def _signed_in(place: Place, sign_in: Callable[[], Access], seconds: float, secrets: tuple[str, ...]) -> Access:
    try:
        return bounded(sign_in, seconds)
    except Late:
        raise Temporary(f"target {place.name}: signing in took longer than {seconds:g} s") from None
    except OSError as error:
        raise Temporary(f"target {place.name}: signing in failed: {type(error).__name__}") from error
    except ValueError as error:
        words = str(error).split(". Config:")[0].split(". Env:")[0]
        for secret in secrets:
            words = credentials.redact(words, secret)
        kind = Temporary if PASSING.search(words) else Denied
        raise kind(f"target {place.name}: signing in failed: {words}") from None


def bounded(call: Callable[[], T], seconds: float) -> T:
    """The call's answer within ``seconds``; the SDK bounds neither token requests nor discovery. Raises TimeoutError.

    A call that is late goes on in its thread and its answer is dropped; the SDK keeps what it got for the next one.
    """
    return _begun(call).result(timeout=seconds)


def _begun(call: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="databricks-sign-in", daemon=True).start()
    return future


_configs: dict[str, Future[Any]] = {}
_opening = threading.Lock()


def _config(name: str, fields: str, seconds: float) -> Future[Any]:
    """The SDK's config for these fields, opened once and waited for by all who need it; again after a failure.

    What was used longest ago is forgotten first.
    """

    def opened() -> Any:
        given = json.loads(fields)
        return _sdk()(**given, http_timeout_seconds=seconds, retry_timeout_seconds=1, product=USER_AGENT)

    key = hashlib.sha256(f"{name}\0{fields}".encode()).hexdigest()
    with _opening:
        known = _configs.pop(key, None)
        if known is None or (known.done() and known.exception() is not None):
            known = _begun(opened)
        while len(_configs) >= MOST_CONFIGS:
            _configs.pop(next(iter(_configs)))
        _configs[key] = known
        return known


@lru_cache(maxsize=MOST_CONFIGS)
def _exchange(config: Any) -> Any:
    from databricks.sdk.data_plane import DataPlaneTokenSource

    return DataPlaneTokenSource(config.host, config.oauth_token)


@cache
def _sdk() -> Any:
    try:
        from databricks.sdk.core import Config
    except ModuleNotFoundError as error:
        raise ValueError(
            "this kind of credentials needs databricks-sdk: pip install 'modelport[databricks]', or give a token"
        ) from error
    return Config
