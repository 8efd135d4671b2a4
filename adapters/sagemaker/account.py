"""One AWS account and region: what the target's URI and settings name, and who signs there.

Imports nothing of AWS before somebody signs. Credentials come from the target's reference, where it has one, else from
where every AWS client looks for them: environment, files, profile, the machine's role. A role that is to be taken is
taken anew before it expires. Nothing of this is ever kept, logged or told.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from adapters import credentials
from adapters.contract import Denied, Permanent, Place
from adapters.sagemaker.describe import SageMakerSettings

DEFAULT_REGION = "us-west-2"  # MLflow's
SESSION_NAME = "modelport"


@dataclass(frozen=True)
class Address:
    """Where a target is: region, role to be taken, and another address than the vendor's."""

    region: str
    role: str | None
    endpoint_url: str | None

    @classmethod
    def of(cls, place: Place, settings: SageMakerSettings) -> Address:
        """From ``sagemaker``, ``sagemaker:/REGION`` or ``sagemaker:/REGION/ROLE_ARN``. Raises Permanent."""
        path = place.uri.removeprefix("sagemaker").removeprefix(":").strip("/")
        region, _, role = path.partition("/")
        if region.startswith("arn:"):
            raise Permanent(f"the URI of target {place.name} has a role without a region: sagemaker:/REGION/ROLE_ARN")
        return cls(
            settings.region or region or DEFAULT_REGION,
            settings.assume_role_arn or role.strip("/") or None,
            settings.endpoint_url,
        )

    def host(self, service: str) -> str:
        """The address of one of the vendor's services, as it names them itself."""
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return self.endpoint_url or f"https://{service}.{self.region}.{suffix}"


@dataclass(frozen=True)
class Keys:
    """Credentials that a reference holds."""

    access_key: str
    secret_key: str
    token: str | None

    @classmethod
    def read(cls, place: Place) -> Keys | None:
        """Those that the target's reference names now; None where it has none. Raises Denied, never quoting them."""
        if place.credentials is None:
            return None
        keys = cls._parsed(place.credentials, credentials.resolve(place.credentials))
        for part in (keys.access_key, keys.token):  # the secret key signs, and stands in no header
            credentials.for_header(place.credentials, str(part or ""))
        return keys

    @classmethod
    def _parsed(cls, reference: str, text: str) -> Keys:
        try:
            found = json.loads(text)
            return cls(
                found["aws_access_key_id"], found["aws_secret_access_key"], found.get("aws_session_token") or None
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            parts = text.split(":")
        if len(parts) not in (2, 3) or not all(parts) or "{" in text:
            raise Denied(
                f"credentials {reference}: give ACCESS_KEY_ID:SECRET_ACCESS_KEY[:SESSION_TOKEN], or JSON with "
                "aws_access_key_id and aws_secret_access_key"
            )
        return cls(parts[0], parts[1], parts[2] if len(parts) == 3 else None)


@cache
def _loader() -> Any:
    """One for the process: a service's model takes megabytes, and many times as long to read as a client to make."""
    from botocore.loaders import create_loader

    return create_loader(os.environ.get("AWS_DATA_PATH"))


class Account:
    """Sessions of one target, safe from several threads; opened anew when the credentials behind a reference change."""

    def __init__(self, place: Place) -> None:
        self.settings = SageMakerSettings.model_validate(place.settings)
        self.address = Address.of(place, self.settings)
        self._place = place
        self._lock = threading.Lock()
        self._keys: Keys | None = None
        self._session: Any = None
        self._clients: dict[str, Any] = {}

    def client(self, service: str, make: Callable[[Any, str], Any]) -> Any:
        """The client of this service that ``make`` made of the session; made once for each session."""
        keys = Keys.read(self._place)
        with self._lock:
            self._renew(keys)
            if service not in self._clients:
                self._clients[service] = make(self._session, service)
            return self._clients[service]

    def signer(self) -> Any:
        """Credentials as they are now, for who signs itself: frozen ones of botocore's. May take a role.

        Raises Denied, and Temporary when the role could not be asked for.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        from adapters.sagemaker.refusals import translated

        keys = Keys.read(self._place)
        with self._lock:
            self._renew(keys)
            found = self._session.get_credentials()
        if found is None:
            raise Denied(f"target {self._place.name}: no AWS credentials were found in this process")
        try:
            return found.get_frozen_credentials()
        except (ClientError, BotoCoreError) as error:
            raise translated(error, "AssumeRole") from None

    def forget(self) -> None:
        """Have the next call look for credentials anew."""
        with self._lock:
            self._drop()

    def redact(self, text: str) -> str:
        """The text without what the target's reference holds."""
        try:
            keys = Keys.read(self._place)
        except Denied:
            return text
        secrets = (keys.secret_key, keys.token, keys.access_key) if keys else ()
        for secret in secrets:
            text = credentials.redact(text, secret)
        return text

    def _renew(self, keys: Keys | None) -> None:
        if self._session is None or keys != self._keys:
            self._drop()
            self._session, self._keys = self._open(keys), keys

    def _drop(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients, self._session = {}, None

    def _open(self, keys: Keys | None) -> Any:
        from botocore.session import Session

        session = Session(profile=self.settings.profile if keys is None else None)
        session.register_component("data_loader", _loader())
        session.set_config_variable("region", self.address.region)
        if keys is not None:
            session.set_credentials(keys.access_key, keys.secret_key, keys.token)
        if self.address.role is not None:
            self._take_role(session, self.address.role)
        return session

    def _take_role(self, session: Any, role: str) -> None:
        from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

        source = session.get_credentials()
        if source is None:
            raise Denied(f"target {self._place.name}: no AWS credentials were found to take the role {role} with")

        def create_client(service: str, **given: Any) -> Any:
            settings = {"endpoint_url": self.address.endpoint_url, "config": self._impatient()}
            return session.create_client(service, region_name=self.address.region, **settings, **given)

        extra = {"RoleSessionName": SESSION_NAME}
        if self.settings.external_id:
            extra["ExternalId"] = self.settings.external_id
        fetcher = AssumeRoleCredentialFetcher(create_client, source, role, extra_args=extra)
        # botocore's sessions have no way to be given credentials that refresh, but this
        session._credentials = DeferredRefreshableCredentials(
            method="assume-role", refresh_using=fetcher.fetch_credentials
        )

    def _impatient(self) -> Any:
        from botocore.config import Config

        seconds = self._place.call_timeout_seconds / 2
        return Config(connect_timeout=seconds, read_timeout=seconds, retries={"total_max_attempts": 1})
