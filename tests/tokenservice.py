"""A token service as docker-registry trusts it (distribution: docs/spec/auth/token.md): who knows the password gets a
signed token for what it asks, for five minutes."""

from __future__ import annotations

import json
import subprocess
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

__all__ = ["TokenService"]

SERVICE, ISSUER = "registry", "test"


class TokenService:
    """An HTTP server on loopback, in threads. ``asked``: the scopes of every token it gave. ``identity``: an identity
    token, which does instead of the password (docs/spec/auth/oauth.md)."""

    identity = "an-identity-token"

    def __init__(self, base: Path, credential: tuple[str, str]) -> None:
        base.mkdir(parents=True, exist_ok=True)
        self._key, self._certificate = base / "token.key", base / "token.crt"
        self._basic = b64encode(":".join(credential).encode()).decode()
        self.asked: list[str] = []
        made = ("-keyout", str(self._key), "-out", str(self._certificate))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens", *made],
            check=True,
            capture_output=True,
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def configuration(self) -> Mapping[str, object]:
        """What docker-registry's ``auth`` must say to trust it."""
        realm = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        return {
            "token": {
                "realm": realm,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(self._certificate),
            }
        }

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def may_ask(self, authorization: str) -> bool:
        return authorization == f"Basic {self._basic}"

    def token(self, scopes: list[str]) -> str:
        """A JSON Web Token (RFC 7519) signed by RS256, with its certificate."""
        self.asked += scopes
        certificate = "".join(self._certificate.read_text().splitlines()[1:-1])
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": "user",
            "aud": SERVICE,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": f"{now}-{len(self.asked)}",
            "access": [_access(scope) for scope in scopes],
        }
        signed = f"{_part({'typ': 'JWT', 'alg': 'RS256', 'x5c': [certificate]})}.{_part(claims)}"
        argv = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signature = subprocess.run(argv, input=signed.encode(), capture_output=True, check=True).stdout
        return f"{signed}.{_text(signature)}"


def _access(scope: str) -> Mapping[str, object]:
    kind, name, actions = scope.split(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


def _part(document: Mapping[str, object]) -> str:
    return _text(json.dumps(document).encode())


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _handler(service: TokenService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            self._answer(asked, allowed=service.may_ask(self.headers.get("Authorization", "")))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            allowed = (form["grant_type"], form["refresh_token"]) == (["refresh_token"], [service.identity])
            self._answer({"scope": " ".join(form.get("scope", [])).split()}, allowed=allowed)

        def _answer(self, asked: Mapping[str, list[str]], *, allowed: bool) -> None:
            body = json.dumps({"token": service.token(asked.get("scope", []))} if allowed else {}).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
