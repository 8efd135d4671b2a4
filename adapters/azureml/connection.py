"""Signing in to Azure, shared by the verbs and by predictions.

Tokens come from azure-identity, whose credentials keep and refresh them; a credential is opened once for each state of
what it is made of. azure-identity is imported where one is needed and not before: a token of one's own needs none.
Credentials are a reference; what it refers to is a token, or JSON with the fields of one of azure-identity's
credentials: ``tenant_id`` and ``client_id`` with ``client_secret``, ``certificate_path`` or ``federated_token_file``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from adapters import credentials
from adapters.azureml.describe import AzureMlSettings
from adapters.contract import JSON, Denied, Permanent, Place, Temporary

USER_AGENT = "modelport"
MOST_CREDENTIALS = 64
# by the field that makes the difference: azure-identity's class, and what its constructor calls the field
KINDS = {
    "client_secret": ("ClientSecretCredential", "client_secret"),
    "certificate_path": ("CertificateCredential", "certificate_path"),
    "federated_token_file": ("WorkloadIdentityCredential", "token_file_path"),
}
FIELDS = {"tenant_id", "client_id", "token", "certificate_password", *KINDS}
SECRETS = ("token", "client_secret", "certificate_password")
# how azure-identity words what a directory said that is down or too busy
PASSING = re.compile(r"HTTP Error: (408|429|5\d\d)|temporarily|unavailable|tim(e|ed) ?out", re.IGNORECASE)
T = TypeVar("T")


@dataclass(frozen=True)
class Access:
    """The header of one call. ``secrets`` are to be blotted out of what Azure says."""

    token: str
    secrets: tuple[str, ...]

    @property
    def headers(self) -> dict[str, str]:
        """The headers of one call."""
        return {"Authorization": f"Bearer {self.token}", "User-Agent": USER_AGENT}

    def redact(self, text: str) -> str:
        """The text without the secrets that Azure may have echoed."""
        for secret in self.secrets:
            text = credentials.redact(text, secret)
        return text


def settings_of(place: Place) -> AzureMlSettings:
    """The target's settings."""
    return AzureMlSettings.model_validate(place.settings)


def manager_of(settings: AzureMlSettings) -> str:
    """The address of Azure Resource Manager without a slash at its end."""
    return settings.resource_manager.rstrip("/")


def manager_scope(settings: AzureMlSettings) -> str:
    """The scope of tokens for Azure Resource Manager."""
    return f"{manager_of(settings)}/.default"


def access(place: Place, scope: str, seconds: float) -> Access:
    """A token for this scope, within ``seconds``; credentials are read anew. Raises Denied, Permanent, Temporary."""
    settings = settings_of(place)
    secret = credentials.resolve(place.credentials) if place.credentials else None
    fields = _fields(place, secret)
    secrets = tuple(str(fields[key]) for key in SECRETS if fields.get(key))
    if "token" in fields:
        credentials.for_header(place.credentials or "", fields["token"])
        return Access(fields["token"], secrets)

    def token() -> str:
        return str(_credential(place, settings, fields, seconds).get_token(scope).token)

    found = _signed_in(place, token, seconds, secrets)
    return Access(found, (*secrets, found))


def _fields(place: Place, secret: str | None) -> JSON:
    """What the reference refers to, by azure-identity's names. Raises Denied without telling what it is."""
    if secret is None:
        return {}
    if not secret.startswith("{"):
        return {"token": secret}
    told = f"credentials {place.credentials}"
    try:
        document = json.loads(secret)
    except ValueError:
        raise Denied(f"{told}: neither a token nor JSON of a credential's fields") from None
    unknown = [key for key in document if key not in FIELDS]
    if unknown or not all(isinstance(value, str) and value for value in document.values()):
        raise Denied(f"{told}: the fields are {', '.join(sorted(FIELDS))}, each a text that is not empty")
    if "token" in document:
        return dict(document)
    kinds = [key for key in KINDS if key in document]
    if len(kinds) != 1 or not {"tenant_id", "client_id"} <= set(document):
        raise Denied(f"{told}: it needs tenant_id, client_id and one of {', '.join(KINDS)}")
    return dict(document)


def _signed_in(place: Place, sign_in: Callable[[], T], seconds: float, secrets: tuple[str, ...]) -> T:
    try:
        return bounded(sign_in, seconds)
    except Late:
        raise Temporary(f"target {place.name}: signing in took longer than {seconds:g} s") from None
    except (Denied, Permanent, Temporary):
        raise
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        for secret in secrets:
            words = credentials.redact(words, secret)
        raise _kind(error)(f"target {place.name}: signing in failed: {words[:500]}") from None


def _kind(error: Exception) -> type[Temporary] | type[Denied]:
    """Whether trying again may help: not where the directory refused, nor where no way to sign in is set up."""
    status = getattr(getattr(error, "response", None), "status_code", None) or 0
    causes = [error, *filter(None, (error.__cause__, error.__context__))]
    names = {each.__name__ for cause in causes for each in type(cause).__mro__}
    gone = names & {"ServiceRequestError", "ServiceResponseError", "OSError"}
    if status in (408, 429) or status >= 500 or gone or PASSING.search(str(error)):
        return Temporary
    return Denied


def bounded(call: Callable[[], T], seconds: float) -> T:
    """The call's answer within ``seconds``; azure-identity bounds none of its own. Raises TimeoutError.

    A call that is late goes on in its thread and its answer is dropped; what it got is kept for the next one.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="azure-sign-in", daemon=True).start()
    return future.result(timeout=seconds)


_credentials: dict[str, Any] = {}
_opening = threading.Lock()


def _credential(place: Place, settings: AzureMlSettings, fields: JSON, seconds: float) -> Any:
    """The credential of these fields; opened once, and what was used longest ago is forgotten first."""
    told = json.dumps([place.name, settings.model_dump(mode="json"), fields], sort_keys=True)
    key = hashlib.sha256(told.encode()).hexdigest()
    with _opening:
        known = _credentials.pop(key, None)
        if known is None:
            known = _opened(settings, fields, seconds)
        while len(_credentials) >= MOST_CREDENTIALS:
            _credentials.pop(next(iter(_credentials)))
        _credentials[key] = known
        return known


def _opened(settings: AzureMlSettings, fields: JSON, seconds: float) -> Any:
    try:
        import azure.identity as sdk
    except ModuleNotFoundError as error:
        raise Denied(
            "this kind of credentials needs azure-identity: pip install 'modelport[azureml]', or give a token"
        ) from error
    # it would log what the directory said as it is; we tell that, without the secrets that may be in it
    logging.getLogger("azure.identity").setLevel(logging.CRITICAL)
    # the pipeline's own retries are off: who asks tries again
    options: JSON = {"retry_total": 0, "connection_timeout": seconds, "read_timeout": seconds}
    if settings.authority is not None:
        options["authority"] = settings.authority.rstrip("/")
    kind = next((key for key in KINDS if key in fields), None)
    if kind is not None:
        name, argument = KINDS[kind]
        if not settings.instance_discovery:
            options["disable_instance_discovery"] = True
        if kind == "certificate_path" and "certificate_password" in fields:
            options["password"] = fields["certificate_password"]
        made = {"tenant_id": fields["tenant_id"], "client_id": fields["client_id"], argument: fields[kind]}
        return getattr(sdk, name)(**made, **options)
    client: JSON = {"client_id": settings.managed_identity_client_id} if settings.managed_identity_client_id else {}
    if settings.credential == "managed_identity":
        return sdk.ManagedIdentityCredential(**client, retry_total=0)
    chosen = {"managed_identity_client_id": settings.managed_identity_client_id} if client else {}
    return sdk.DefaultAzureCredential(**chosen, **{k: v for k, v in options.items() if k == "authority"})


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses are of the same server: a token goes to no other."""
    first, second = urlsplit(one), urlsplit(other)
    return (first.scheme, first.netloc.lower()) == (second.scheme, second.netloc.lower())
