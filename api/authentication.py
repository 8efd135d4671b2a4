"""Who sends a request: an API key or a token of the sign-on service, before anything else of the request is read.

Keys are looked up once in some seconds and process; what a request brings is compared with the hash every time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.oidc import Issuer
from operations import keys
from operations.access import Grant, Principal, Role
from operations.database import database
from operations.keys import Found
from operations.problems import Refused, Unauthorized
from operations.settings import Settings, settings

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
OPEN_PREFIX = "/problems/"
TOKEN_LENGTH = 8192
KNOWN_AT_ONCE = 10_000
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="modelport"'}

log = structlog.get_logger(__name__)


class Authentication:
    """Refuses with 401 what comes without a live key or token; the others have ``state.principal``."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] == "http" and not _is_open(scope["path"]):
            try:
                scope["state"]["principal"] = await self._door.principal(scope)
            except Unauthorized as refused:
                await problems.respond(scope, refused, headers=CHALLENGE)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Door:
    """Tells who a request is of. One for each process."""

    def __init__(self, chosen: Settings) -> None:
        self.keyring = Keyring(chosen.key_cache_seconds)
        self._issuer = Issuer(chosen) if chosen.oidc_issuer else None
        role = chosen.anonymous_role
        self._anonymous = Principal("anonymous", (Grant(Role(role)),)) if role else None

    async def principal(self, scope: Scope) -> Principal:
        """Who sends it. Raises Unauthorized."""
        token = _token(scope)
        if token is None:
            if self._anonymous is None:
                raise Unauthorized("the request has no Authorization header")
            return self._anonymous
        prefix = keys.prefix_of(token)
        if prefix is not None:
            known = self.keyring.known(prefix)
            found = known.found if known else await run_in_threadpool(self.keyring.read, prefix)
            if found is None or not found.matches(token):
                raise Unauthorized("the API key is not known, has expired, or was revoked")
            self.keyring.used(found)
            return found.principal
        if self._issuer is None or token.count(".") != 2:
            raise Unauthorized("what stands in Authorization is no API key of this service")
        return await run_in_threadpool(self._issuer.principal, token)


@dataclass(frozen=True)
class _Known:
    found: Found | None
    until: float


class Keyring:
    """The keys that this process saw lately. Safe from several threads."""

    def __init__(self, cache_seconds: float) -> None:
        self._cache_seconds = cache_seconds
        self._known: dict[str, _Known] = {}
        self._uses: dict[str, float] = {}
        self._lock = threading.Lock()

    def known(self, prefix: str) -> _Known | None:
        """What is believed of this prefix now; None where the database must be asked."""
        known = self._known.get(prefix)
        return known if known is not None and known.until > time.monotonic() else None

    def read(self, prefix: str) -> Found | None:
        """The live key of this prefix. Blocks for one query."""
        with database().read() as session:
            found = keys.find(session, prefix)
        lasts = self._cache_seconds
        if found is not None and found.seconds_left is not None:
            lasts = min(lasts, found.seconds_left)
        with self._lock:
            if len(self._known) >= KNOWN_AT_ONCE:
                self._known.clear()
            self._known[prefix] = _Known(found, time.monotonic() + lasts)
        return found

    def forget(self) -> None:
        """Ask the database anew: something changed."""
        with self._lock:
            self._known.clear()

    def used(self, found: Found) -> None:
        """Remember that the key was used just now, in memory."""
        self._uses[found.id] = time.monotonic()

    def note_uses(self) -> None:
        """Write down the last uses since the last time. Blocks; failing loses nothing but their times."""
        with self._lock:
            uses, self._uses = self._uses, {}
        if uses:
            ages: Mapping[str, float] = {identity: time.monotonic() - at for identity, at in uses.items()}
            with database().write() as session:
                keys.note_uses(session, ages)


def may_listen(host_is_loopback: bool) -> Refused | None:
    """Why the API must not listen there; None where it may. Asks the database."""
    if host_is_loopback:
        return None
    if settings().anonymous_role:
        return Unauthorized("MODELPORT_ANONYMOUS_ROLE lets everybody in, so only a loopback address is listened on")
    with database().read() as session:
        if settings().oidc_issuer or keys.any_live(session):
            return None
    return Unauthorized(
        "nobody has a key yet, so only a loopback address is listened on; make the first administrator's with: "
        "python -m operations admin-key"
    )


def _token(scope: Scope) -> str | None:
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    if not sent:
        return None
    scheme, _, token = sent[0].decode("latin-1").strip().partition(" ")
    token = token.strip()
    if len(sent) > 1 or scheme.lower() != "bearer" or not token or len(token) > TOKEN_LENGTH or not token.isascii():
        raise Unauthorized("the Authorization header is not of the form: Bearer KEY")
    return str(token)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIX)
