"""Tokens of a real issuer on this machine: its keys turn, and what is not quite right opens nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from api.oidc import Issuer
from operations.access import Permission
from operations.problems import Refused, SignOnUnavailable, Unauthorized
from operations.settings import Settings

GRANTS = {"ml": [{"role": "deployer", "targets": ["prod"], "labels": {"team": "ml"}}], "ops": [{"role": "admin"}]}
RSA = [RSAKey.generate_key(2048, {"kid": name, "use": "sig"}, private=True) for name in ("one", "two")]
EC = ECKey.generate_key("P-256", {"kid": "curve", "use": "sig"}, private=True)


class SignOn:
    """The issuer: what it shows, and how often it was asked."""

    def __init__(self) -> None:
        self.keys: list[Any] = [RSA[0], EC]
        self.asked = 0
        self.works = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                documents = {
                    "/.well-known/openid-configuration": {"issuer": outer.url, "jwks_uri": f"{outer.url}/keys"},
                    "/keys": {"keys": [key.as_dict(private=False) for key in outer.keys]},
                }
                outer.asked += self.path == "/keys"
                body = json.dumps(documents.get(self.path, {})).encode()
                self.send_response(200 if outer.works and self.path in documents else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def token(self, key: Any = RSA[0], alg: str = "RS256", **claims: Any) -> str:
        """A token as this issuer signs it, with some claims changed."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": "modelport", "sub": "ada", "exp": now + 60, "roles": ["ml"]}
        wanted = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode({"alg": alg, "kid": key.kid}, wanted, key, algorithms=[alg])


@pytest.fixture
def sign_on() -> Iterator[SignOn]:
    found = SignOn()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def issuer(sign_on: SignOn) -> Issuer:
    return Issuer(Settings(oidc_issuer=sign_on.url, oidc_grants=GRANTS, oidc_leeway_seconds=0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA[0], "RS256"), (RSA[0], "PS512"), (EC, "ES256")], ids=["RS256", "PS512", "ES256"]
)
def test_a_token_is_somebody_with_what_its_claims_grant(sign_on: SignOn, issuer: Issuer, key: Any, alg: str) -> None:
    who = issuer.principal(sign_on.token(key, alg))
    assert who.name == f"{sign_on.url}#ada"
    assert who.may(Permission.DEPLOY, "prod", {"team": "ml", "more": "x"})
    assert not who.may(Permission.DEPLOY, "prod", {"team": "other"})
    assert not who.reaches(Permission.READ, "test")
    assert issuer.principal(sign_on.token(roles="ops")).everywhere(Permission.ADMINISTER)
    for nothing in (None, [], ["unknown"], {"ops": True}, 7, [["ops"]]):
        assert issuer.principal(sign_on.token(roles=nothing)).grants == ()


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"}, {"aud": None}, {"aud": ["a", "b"]}, {"iss": "https://elsewhere"}, {"iss": None},
        {"exp": 1}, {"exp": None}, {"exp": "soon"}, {"nbf": 4_000_000_000}, {"sub": None}, {"sub": ""}, {"sub": 7},
        {"sub": "a\nb"}, {"sub": "x" * 300},
    ],
    ids=str,
)  # fmt: skip
def test_claims_that_are_not_ours_open_nothing(sign_on: SignOn, issuer: Issuer, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        issuer.principal(sign_on.token(**claims))


def unsigned(sign_on: SignOn, header: dict[str, Any], signature: bytes = b"") -> str:
    part = [json.dumps(header).encode(), base64.urlsafe_b64decode(sign_on.token().split(".")[1] + "==")]
    return ".".join(base64.urlsafe_b64encode(piece).rstrip(b"=").decode() for piece in (*part, signature))


def test_no_other_way_of_signing_passes(sign_on: SignOn, issuer: Issuer) -> None:
    public = RSA[0].as_pem(private=False)
    header = {"alg": "HS256", "kid": "one", "typ": "JWT"}
    shared = unsigned(sign_on, header).rpartition(".")[0]
    confused = hmac.new(public, shared.encode(), hashlib.sha256).digest()
    stranger = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
    forged = [
        unsigned(sign_on, {"alg": "none", "kid": "one"}),
        unsigned(sign_on, {"alg": "None", "kid": "one"}),
        unsigned(sign_on, header, confused),
        sign_on.token(stranger),
        unsigned(sign_on, {"alg": "RS256", "kid": "one", "jwk": stranger.as_dict(private=False)}, b"x" * 256),
        unsigned(sign_on, {"alg": "ES256", "kid": "one"}, b"x" * 64),
        unsigned(sign_on, {"alg": "RS256"}, b"x" * 256),
        unsigned(sign_on, {"alg": "RS256", "kid": ["one"]}, b"x" * 256),
        sign_on.token() + "x",
        "a.b.c",
        "..",
        f"{'a' * 8000}.b.c",
    ]
    for token in forged:
        with pytest.raises(Unauthorized) as refused:
            issuer.principal(token)
        assert token[:40] not in str(refused.value)


def test_keys_turn_and_are_not_asked_for_with_every_token(
    sign_on: SignOn, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        issuer.principal(sign_on.token())
    assert sign_on.asked == 1
    sign_on.keys = [RSA[1]]
    # whoever names a key that is not there has it asked for now and then only
    with pytest.raises(Unauthorized):
        issuer.principal(sign_on.token(RSA[1]))
    assert sign_on.asked == 1
    monkeypatch.setattr("api.oidc.AGAIN_SECONDS", 0.0)
    assert issuer.principal(sign_on.token(RSA[1])).grants
    with pytest.raises(Unauthorized):
        issuer.principal(sign_on.token(RSA[0]))


def test_an_issuer_that_is_away_is_told_from_a_bad_token(
    sign_on: SignOn, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.oidc.AGAIN_SECONDS", 0.0)
    sign_on.works = False
    with pytest.raises(SignOnUnavailable):
        issuer.principal(sign_on.token())
    sign_on.works = True
    assert issuer.principal(sign_on.token()).grants
    sign_on.works = False
    # what is known goes on for a while
    assert issuer.principal(sign_on.token()).grants


def test_an_issuer_in_clear_on_another_machine_is_not_asked() -> None:
    issuer = Issuer(Settings(oidc_issuer="http://issuer.example", oidc_grants=GRANTS))  # type: ignore[arg-type]
    with pytest.raises(Refused):
        issuer.principal(unsigned_for("http://issuer.example"))


def unsigned_for(issuer: str) -> str:
    claims = {"iss": issuer, "aud": "modelport", "sub": "ada", "exp": int(time.time()) + 60}
    return jwt.encode({"alg": "RS256", "kid": "one"}, claims, RSA[0])
