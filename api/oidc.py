"""Tokens of a sign-on service: OpenID Connect, one issuer, its keys fetched and believed for a while.

Signatures are judged by joserfc with asymmetric algorithms alone, so that neither ``none`` nor a public key taken for a
shared secret passes; what a token's header says of where keys are is not read.
"""

from __future__ import annotations

import json
import threading
import time
from base64 import urlsafe_b64decode
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from operations.access import Grant, Principal
from operations.problems import SignOnUnavailable, Unauthorized
from operations.settings import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
KINDS: dict[str, Any] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
ANSWER_BYTES = 1024 * 1024
FETCH_SECONDS = 5.0
AGAIN_SECONDS = 10.0  # between two fetches for keys that are not there: anybody can name one
SUBJECT_LENGTH = 255

log = structlog.get_logger(__name__)


class Issuer:
    """Judges the tokens of the issuer that the settings name. Safe from several threads."""

    def __init__(self, chosen: Settings) -> None:
        self._issuer = chosen.oidc_issuer
        self._jwks_url = chosen.oidc_jwks_url
        self._claim = chosen.oidc_roles_claim
        self._grants = {
            value: tuple(Grant.from_json(grant.model_dump(), "MODELPORT_OIDC_GRANTS") for grant in grants)
            for value, grants in chosen.oidc_grants.items()
        }
        self._lasts = chosen.oidc_jwks_seconds
        self._registry = jwt.JWTClaimsRegistry(
            leeway=round(chosen.oidc_leeway_seconds),
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": chosen.oidc_audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._fetched_at = self._tried_at = float("-inf")

    def principal(self, token: str) -> Principal:
        """Who holds this token, with what its claims grant. Blocks while the issuer's keys are fetched.

        Raises Unauthorized, and SignOnUnavailable while the keys cannot be fetched at all.
        """
        try:
            found = jwt.decode(token, self._key(_key_id(token)), algorithms=ALGORITHMS)
            self._registry.validate(found.claims)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            # the library's words may quote the token
            raise Unauthorized(f"the token is not valid: {type(error).__name__}") from None
        subject = found.claims["sub"]
        if not (0 < len(subject) <= SUBJECT_LENGTH and subject.isprintable()):
            raise Unauthorized("the token's subject cannot be a name")
        return Principal(f"{self._issuer}#{subject}", self._granted(found.claims.get(self._claim)))

    def _granted(self, values: Any) -> tuple[Grant, ...]:
        named = [values] if isinstance(values, str) else values if isinstance(values, list) else []
        return tuple(grant for value in named if isinstance(value, str) for grant in self._grants.get(value, ()))

    def _key(self, key_id: str) -> Any:
        with self._lock:
            now = time.monotonic()
            old = now - self._fetched_at > self._lasts
            if (old or key_id not in self._keys) and now - self._tried_at > AGAIN_SECONDS:
                self._tried_at = now
                try:
                    self._keys = self._fetch()
                    self._fetched_at = now
                except (httpx.HTTPError, ValueError, JoseError) as error:
                    log.warning("sign_on_keys_not_fetched", issuer=self._issuer, error=type(error).__name__)
            if now - self._fetched_at > 2 * self._lasts:
                raise SignOnUnavailable("the sign-on service's keys cannot be fetched", retry_after=AGAIN_SECONDS)
        if key_id not in self._keys:
            raise Unauthorized("the token is signed with a key that the issuer does not show")
        return self._keys[key_id]

    def _fetch(self) -> dict[str, Any]:
        url = self._jwks_url
        if not url:
            found = _document(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self._issuer:
                raise ValueError("the discovery document is of another issuer")
            url = str(found.get("jwks_uri"))
        keys: dict[str, Any] = {}
        for document in _document(url)["keys"]:
            kind = KINDS.get(document.get("kty"))
            if kind is not None and document.get("use", "sig") == "sig" and isinstance(document.get("kid"), str):
                keys[document["kid"]] = KeySet([kind.import_key(document)])
        return keys


def _key_id(token: str) -> str:
    part = token.partition(".")[0]
    # of the header nothing but the key's name is read before the signature is
    header = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    key_id = header.get("kid") if isinstance(header, dict) else None
    if not isinstance(key_id, str):
        raise Unauthorized("the token does not name its key")
    return key_id


def _document(url: str) -> dict[str, Any]:
    """A JSON object from the issuer: no redirects, bounded in size and time, in clear from this machine only."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError("the issuer must be asked over https")
    body = bytearray()
    until = time.monotonic() + FETCH_SECONDS
    with httpx.stream("GET", url, timeout=FETCH_SECONDS, follow_redirects=False) as response:
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"the issuer answered {response.status_code}")
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > ANSWER_BYTES or time.monotonic() > until:
                raise ValueError("the issuer's answer is too long, or too slow")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("the issuer's answer is no object")
    return document
