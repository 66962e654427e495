"""The pods that are measured."""

from __future__ import annotations

__all__ = ["sleeper", "two_containers"]

_TWO = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: nginx
    image: docker.io/library/nginx:latest
    imagePullPolicy: IfNotPresent
    volumeMounts: [{{name: logs, mountPath: /var/log/nginx}}]
  - name: log-truncator
    image: docker.io/library/busybox:latest
    imagePullPolicy: IfNotPresent
    command: [/bin/sh]
    args: [-c, 'while true; do cat /dev/null > /logdir/access.log; sleep 10; done']
    volumeMounts: [{{name: logs, mountPath: /logdir}}]
  volumes: [{{name: logs, emptyDir: {{}}}}]
"""

_ONE = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: sleeper
    image: docker.io/library/busybox:latest
    imagePullPolicy: IfNotPresent
    command: [/bin/sleep, '100000']
"""


def two_containers(name: str) -> str:
    """The demo: nginx and its log-truncator."""
    return _TWO.format(name=name)


def sleeper(name: str) -> str:
    """One container that does nothing."""
    return _ONE.format(name=name)
