"""A directory that signs applications in over HTTPS, as azure-identity demands: one tenant, its clients' secrets.

``with SignIn({"robot": "secret"}, folder) as directory`` serves it in this process; ``directory.authority`` is its
address and ``directory.bundle`` the file with the certificate that has to be trusted.
"""

from __future__ import annotations

import datetime
import json
import ssl
import sys
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

TENANT = "tenant"


class SignIn:
    def __init__(self, clients: dict[str, str], folder: Path) -> None:
        self.clients = clients
        self.token_seconds = 3600
        self.delay = 0.0
        self.status = 200
        self.asked: list[dict[str, list[str]]] = []
        self.bundle = folder / "directory.pem"
        self.bundle.write_bytes(_certificate())
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.bundle)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def authority(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> SignIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def discovery(self) -> dict[str, Any]:
        base = f"{self.authority}/{TENANT}"
        return {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
        }

    def token(self, asked: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        self.asked.append(asked)
        time.sleep(self.delay)
        client, secret = asked.get("client_id", [""])[0], asked.get("client_secret", [""])[0]
        if self.status != 200:
            return self.status, {"error": "server_error", "error_description": "come back later"}
        if self.clients.get(client) != secret:
            words = f"AADSTS7000215: Invalid client secret provided: {secret}."
            return 401, {"error": "invalid_client", "error_description": words}
        token = f"directory-token-{len(self.asked)}"
        return 200, {"token_type": "Bearer", "expires_in": self.token_seconds, "access_token": token}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that goes away is part of the tests
            super().handle_error(request, client_address)


def _handler(directory: SignIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            known = self.path.endswith("/.well-known/openid-configuration")
            self._answer(200 if known else 404, directory.discovery() if known else {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(*directory.token(parse_qs(body)))

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


@cache
def _certificate() -> bytes:
    """A key and a certificate of its own for this machine, in one file."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "directory")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + made.public_bytes(serialization.Encoding.PEM)
