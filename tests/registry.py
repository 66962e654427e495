"""Debian's docker-registry on loopback, as users have it, for every test that pulls.

Plain HTTP, or TLS with an authority of its own; open, or with basic authentication, or with a token service.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tokenservice import TokenService
from tests.waiting import eventually

__all__ = ["Registry", "registry"]


class Registry:
    """One registry process at a time. ``host``: 127.0.0.1:PORT once it was started."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.host = ""
        self.scheme = "http"
        self.credential: tuple[str, str] | None = None
        self.tokens: TokenService | None = None
        self._process: subprocess.Popen[bytes] | None = None
        base.mkdir(parents=True, exist_ok=True)

    @property
    def authority(self) -> Path:
        """The certificate of the authority, for SSL_CERT_FILE or certs.d."""
        return self.base / "ca.crt"

    @property
    def certificates(self) -> Path:
        """A containers-certs.d(5) directory that trusts this registry."""
        directory = self.base / "certs.d" / self.host
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.authority, directory / "ca.crt")
        return self.base / "certs.d"

    def start(
        self,
        *,
        tls: bool = False,
        htpasswd: tuple[str, str] | None = None,
        tokens: tuple[str, str] | None = None,
        port: int = 0,
    ) -> str:
        """Starts it, with what was pushed before; returns host:port when it answers.

        ``htpasswd`` and ``tokens``: the credential to show to the registry, or to its token service.
        """
        port = port or free_port()
        self.host, self.scheme, self.credential = f"127.0.0.1:{port}", "https" if tls else "http", htpasswd or tokens
        http: dict[str, object] = {"addr": self.host}
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.base / "data")}, "delete": {"enabled": True}},
            "http": http,
        }
        if tls:
            self._certify()
            http["tls"] = {"certificate": str(self.base / "server.crt"), "key": str(self.base / "server.key")}
        if htpasswd is not None:
            line = _run("htpasswd", "-nbB", *htpasswd).strip()
            (self.base / "htpasswd").write_text(line + "\n")
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(self.base / "htpasswd")}}
        if tokens is not None:
            self.tokens = TokenService(self.base, tokens)
            config["auth"] = self.tokens.configuration
        path = self.base / "config.yml"
        path.write_text(json.dumps(config))  # JSON is YAML
        with (self.base / "log").open("ab") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", str(path)], stdout=log, stderr=log)
        eventually(lambda: self._answers(port), what=f"the registry listens; see {self.base / 'log'}")
        return self.host

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self.tokens is not None:
            self.tokens.stop()
            self.tokens = None

    def push(self, layout: Path, name: str, to: str | None = None, *, docker: bool = False) -> str:
        """Pushes the image ``name`` of a layout, as ``to`` (``library/nginx:latest``); returns that.

        ``docker``: as schema 2, with another digest.
        """
        target = to or name.removeprefix("docker.io/")
        credentials = [f"--dest-creds={':'.join(self.credential)}"] if self.credential else []
        form = "--format=v2s2" if docker else "--preserve-digests"
        _run(
            "skopeo", "copy", "--quiet", "--all", form, "--dest-tls-verify=false", *credentials,
            f"oci:{layout}:{name}", f"docker://{self.host}/{target}",
        )  # fmt: skip
        return target

    def registries_conf(self, *, insecure: bool | None = None, prefix: str = "docker.io") -> Path:
        """A registries.conf that makes this registry the only mirror of ``prefix``."""
        flag = self.scheme == "http" if insecure is None else insecure
        path = self.base / "registries.conf"
        path.write_text(
            f'[[registry]]\nprefix = "{prefix}"\nlocation = "{self.host}"\ninsecure = {str(flag).lower()}\n'
        )
        return path

    def auth_file(self) -> Path:
        """An auth.json with the registry's credential."""
        assert self.credential is not None
        auth = b64encode(":".join(self.credential).encode()).decode()
        path = self.base / "auth.json"
        path.write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        return path

    def _answers(self, port: int) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"docker-registry ended: {(self.base / 'log').read_text()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def _certify(self) -> None:
        """An authority, and a server certificate for 127.0.0.1, localhost and registry.test."""
        if self.authority.exists():
            return
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        _run(
            "openssl", "req", "-x509", *curve, "-subj", "/CN=test authority", "-keyout", str(self.base / "ca.key"),
            "-out", str(self.authority), "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip
        _run(
            "openssl", "req", "-x509", *curve, "-subj", "/CN=registry", "-keyout", str(self.base / "server.key"),
            "-out", str(self.base / "server.crt"), "-CA", str(self.authority), "-CAkey", str(self.base / "ca.key"),
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.test",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry that is not started yet; stopped at the end. Skips where the programs are missing."""
    for program in ("docker-registry", "skopeo", "htpasswd", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    made = Registry(tmp_path / "registry")
    yield made
    made.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "no_proxy": "*"})
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout
