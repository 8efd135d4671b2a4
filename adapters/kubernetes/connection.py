"""One cluster's address, credentials and connections.

Who signs in how is the official client's affair (``kubernetes.config``: kubeconfig with its certificates and exec
plugins, the token of a pod's service account); a token of the target's own needs nothing of it. Calls go over httpx
and not through its ``ApiClient``: urllib3 repeats GET, PUT and DELETE after a lost connection, bounds single reads
and not calls, and the client's models take half a second to import.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import yaml

from adapters import credentials
from adapters.contract import Denied, Permanent, Place, Temporary
from adapters.http.connection import CONNECTIONS, IDLE_SECONDS
from adapters.kubernetes.settings import ClusterSettings

USER_AGENT = "modelport"
MOST_CLUSTERS = 64
SHORT = 5  # what is no longer is no secret, and common in words
IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
T = TypeVar("T")


@dataclass(frozen=True)
class Access:
    """Where the API server is, how it is trusted, and the headers of one call. ``secrets`` are to be blotted out."""

    base: str
    headers: dict[str, str]
    client: httpx.Client
    secrets: tuple[str, ...]

    def redact(self, text: str) -> str:
        """The text without the secrets that the server may have echoed."""
        for secret in self.secrets:
            text = credentials.redact(text, secret)
        return text


def access(place: Place, settings: ClusterSettings) -> Access:
    """Resolve the target's credentials anew, within the time of a call. Raises Denied, Permanent, Temporary."""
    secret = credentials.resolve(place.credentials) if place.credentials else None
    if secret is not None and not _is_kubeconfig(secret):
        return _with_token(place, settings, secret)
    if secret is None and settings.api_url:
        return _plain(place, settings, {}, ())
    hidden = _hidden(place, secret) if secret is not None else []
    given = f"{settings.context or ''}\0{secret if secret is not None else _own_config()}"
    try:
        opened = _opened(given).result(timeout=place.call_timeout_seconds)
        headers, secrets = _begun(opened.sign).result(timeout=place.call_timeout_seconds)
    except Late:
        raise Temporary(f"target {place.name}: signing in took longer than {place.call_timeout_seconds:g} s") from None
    except Exception as error:
        words = str(error)
        for each in hidden:
            words = credentials.redact(words, each)
        raise Denied(f"target {place.name}: signing in failed: {type(error).__name__}: {words[:300]}") from None
    return Access(opened.base, headers, opened.client, secrets)


@dataclass(frozen=True)
class _Opened:
    base: str
    client: httpx.Client
    configuration: Any

    def sign(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """The headers of a call; renews a token that has expired, which may take as long as an exec plugin does."""
        token = self.configuration.get_api_key_with_prefix("authorization", "BearerToken")
        if not token and self.configuration.username:
            token = self.configuration.get_basic_auth_token()
        if not token:
            return {"User-Agent": USER_AGENT}, ()
        headers = {"Authorization": token, "User-Agent": USER_AGENT}
        return headers, tuple(filter(None, (token.partition(" ")[2], self.configuration.password)))


def _with_token(place: Place, settings: ClusterSettings, token: str) -> Access:
    if not settings.api_url:
        raise Denied(f"target {place.name} has a token, but no address: set settings.api_url to the API server's")
    credentials.for_header(place.credentials or "", token)
    return _plain(place, settings, {"Authorization": f"Bearer {token}"}, (token,))


def _plain(place: Place, settings: ClusterSettings, headers: dict[str, str], secrets: tuple[str, ...]) -> Access:
    base = (settings.api_url or "").rstrip("/")
    if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).hostname:
        raise Permanent(f"settings.api_url of target {place.name} is not of the form https://HOST:PORT")
    try:
        client = client_for(settings.ca_file, settings.ca_data)
    except (OSError, ssl.SSLError) as error:
        raise Denied(f"target {place.name}: the CA cannot be read: {error}") from None
    return Access(base, {"User-Agent": USER_AGENT, **headers}, client, secrets)


def forget() -> None:
    """Close every connection and forget every configuration that was read; what is needed is opened anew."""
    with _opening:
        opened = [each.result() for each in _clusters.values() if each.done() and each.exception() is None]
        _clusters.clear()
        plain = list(_plain_clients.values())
        _plain_clients.clear()
    for client in (*plain, *(each.client for each in opened)):
        client.close()


def client_for(ca_file: str | None = None, ca_data: str | None = None) -> httpx.Client:
    """A client for many threads that trusts this CA, else the system's. It follows no redirect."""
    with _opening:
        known = _plain_clients.get((ca_file, ca_data))
        if known is None:
            trust = ssl.create_default_context(cafile=ca_file, cadata=ca_data)
            known = _client(trust if ca_file or ca_data else httpx.create_ssl_context())
            _plain_clients[ca_file, ca_data] = known
        return known


def _client(trust: ssl.SSLContext | bool, proxy: str | None = None) -> httpx.Client:
    limits = httpx.Limits(
        max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_SECONDS
    )
    return httpx.Client(limits=limits, follow_redirects=False, verify=trust, proxy=proxy)


def _is_kubeconfig(secret: str) -> bool:
    """Whether this is a kubeconfig and not a token, which has no white space and no braces."""
    return "\n" in secret or secret.startswith("{")


def _hidden(place: Place, kubeconfig: str) -> list[str]:
    """What a kubeconfig says of its users, which no error may repeat. Raises Denied where it is none."""
    try:
        document = yaml.safe_load(kubeconfig)  # of which JSON is a part
        users = [each["user"] for each in document["users"]]
    except (yaml.YAMLError, KeyError, TypeError):
        # its own words would quote the line at fault
        raise Denied(f"credentials {place.credentials}: neither a token nor a kubeconfig") from None
    return [each for each in _strings(users) if len(each) > SHORT]


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        return [each for inner in (value.values() if isinstance(value, dict) else value) for each in _strings(inner)]
    return [value] if isinstance(value, str) else []


def _own_config() -> str:
    """What tells whether this process's own configuration is still the same: its files' times, or the pod's."""
    times = [Path(file).stat().st_mtime_ns for file in _files().split(os.pathsep) if Path(file).is_file()]
    return f"{_files()}{times}{os.environ.get(IN_CLUSTER)}"


def _files() -> str:
    return os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")


_clusters: dict[str, Future[_Opened]] = {}
_plain_clients: dict[tuple[str | None, str | None], httpx.Client] = {}
_opening = threading.Lock()


def _opened(given: str) -> Future[_Opened]:
    """The configuration, read once for each state of it and waited for by all who need it; again after a failure."""
    key = hashlib.sha256(given.encode()).hexdigest()
    context, _, secret = given.partition("\0")
    with _opening:
        known = _clusters.pop(key, None)
        if known is None or (known.done() and known.exception() is not None):
            known = _begun(lambda: _open(context or None, secret if _is_kubeconfig(secret) else None))
        while len(_clusters) >= MOST_CLUSTERS:
            _clusters.pop(next(iter(_clusters)))
        _clusters[key] = known
        return known


def _open(context: str | None, kubeconfig: str | None) -> _Opened:
    from kubernetes import client
    from kubernetes import config as untyped

    config: Any = untyped

    configuration = client.Configuration()
    if kubeconfig is not None:
        config.load_kube_config_from_dict(yaml.safe_load(kubeconfig), context, configuration, persist_config=False)
    elif os.environ.get(IN_CLUSTER) and "KUBECONFIG" not in os.environ:
        config.load_incluster_config(configuration)
    else:
        # named, because the client looks at KUBECONFIG when it is imported and never again
        config.load_kube_config(_files(), context, configuration, persist_config=False)
    trust: ssl.SSLContext | bool = False
    if configuration.verify_ssl or configuration.cert_file:
        trust = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if not configuration.verify_ssl:  # asked for by insecure-skip-tls-verify in the kubeconfig
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        if configuration.cert_file:
            trust.load_cert_chain(configuration.cert_file, configuration.key_file)
    return _Opened(configuration.host.rstrip("/"), _client(trust, configuration.proxy), configuration)


def _begun(call: Callable[[], T]) -> Future[T]:
    """The call in a thread of its own: an exec plugin bounds its time as it likes. What is late is dropped."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="kubernetes-sign-in", daemon=True).start()
    return future
