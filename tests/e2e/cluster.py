"""A node of nsrun's behind an API front, for clients of Kubernetes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nsrun.support import native
from nsrun.support.fds import Fd
from tests import owned_cgroups
from tests.e2e.apifront import ApiFront, Kubelet, api_front
from tests.e2e.nsrunner import Nsrun

__all__ = ["GREETING", "Cluster", "cluster", "serving"]

TOKEN = "the-token-of-an-api-server"
PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c, "n=0; while sleep 0.1; do n=$((n+1)); echo tick $n; done"]
  - name: reader
    image: busybox
    imagePullPolicy: IfNotPresent
    stdin: true
    command: [/bin/sh, -c, "while read line; do echo got $line; echo heard $line >&2; done; exec sleep 1000"]
"""
GREETING = b"the end"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """``kubelet``: the node's secure port; ``home``: a directory for clients."""

    nsrun: Nsrun
    kubelet: Kubelet
    front: ApiFront
    home: Path

    def peak(self) -> int:
        """The most memory that the daemon ever had, in bytes, since ``forget_peak``."""
        status = (self._proc / "status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))

    def forget_peak(self) -> None:
        (self._proc / "clear_refs").write_text("5")

    @property
    def _proc(self) -> Path:
        assert self.nsrun.process is not None
        return Path(f"/proc/{self.nsrun.process.pid}")


@pytest.fixture(scope="module")
def cluster(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node for all tests of a module, with the pod ``web``."""
    base = tmp_path_factory.mktemp("cluster")
    tokens = base / "tokens.csv"
    tokens.write_text(f'{TOKEN},kube-apiserver,1,"system:masters"\n')
    tokens.chmod(0o600)
    cgroup = owned_cgroups.new_name()
    node = Nsrun(base=base, cgroup_root=cgroup, flags=("--verbose", "--token-auth-file", str(tokens)))
    subprocess.run(["cp", "-a", str(store), str(node.root)], check=True)
    try:
        node.apply("web.yaml", PODS)
        node.start()
        node.ready("web")
        certificate = (node.root / "pki" / "nsrun.crt").read_text()
        kubelet = Kubelet(port=10250, token=TOKEN, certificate=certificate)
        with api_front(kubelet) as front:
            yield Cluster(nsrun=node, kubelet=kubelet, front=front, home=base)
    finally:
        if node.process is not None:
            node.kill()
        node.cli("down", "--time", "1")
        owned_cgroups.remove(cgroup)
    assert node.remains_of_all() == []


@contextlib.contextmanager
def serving(port: int, *, pod: str = "default_web") -> Iterator[None]:
    """A program in the pod that gives back what it is sent, and at the end of that a greeting."""
    with Fd.open(f"/run/netns/{pod}", 0) as namespace:
        server = native.socket_in(namespace.fileno(), socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(500)
    threading.Thread(target=_serve, args=(server,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def _serve(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=_echo, args=(server.accept()[0],), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(1 << 16):
            connection.sendall(data)
        connection.sendall(GREETING)
