"""Manifests of the end-to-end tests."""

from __future__ import annotations

__all__ = ["shell_pod"]

_POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  restartPolicy: {restart}
  terminationGracePeriodSeconds: {grace}
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c]
    args: ['{script}']
"""


def shell_pod(name: str, script: str, *, restart: str = "Never", grace: int = 1) -> str:
    """One busybox container that runs a script without single quotes."""
    assert "'" not in script
    return _POD.format(name=name, script=script, restart=restart, grace=grace)
