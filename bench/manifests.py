"""The pods that are measured."""

from __future__ import annotations

__all__ = ["probed", "scripted", "sleeper", "streaming", "two_containers", "web"]

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

_SCRIPTED = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: docker.io/library/busybox:latest
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c, '{script}']
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  volumes: [{{name: shared, hostPath: {{path: {shared}}}}}]
"""

_PROBED = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: probed
    image: docker.io/library/busybox:latest
    imagePullPolicy: IfNotPresent
    command: [/tools/probed, serve, /marks/http]
    # Without a request a pod gets what the rest of the machine leaves over, and so do the commands in it.
    resources: {{requests: {{cpu: 5m}}}}
    livenessProbe:
      exec: {{command: [/tools/probed, stamp, /marks/exec]}}
      periodSeconds: 1
      failureThreshold: 60
    readinessProbe:
      httpGet: {{port: 80}}
      periodSeconds: 1
    volumeMounts:
    - {{name: tools, mountPath: /tools, readOnly: true}}
    - {{name: marks, mountPath: /marks}}
  volumes:
  - {{name: tools, hostPath: {{path: {tools}}}}}
  - {{name: marks, hostPath: {{path: {marks}}}}}
"""

_WEB = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: nginx
    image: docker.io/library/nginx:latest
    imagePullPolicy: IfNotPresent
    ports: [{{containerPort: 80, hostPort: {port}}}]
"""

_STREAMING = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: docker.io/library/busybox:latest
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c, '{command}']
    {ports}
    volumeMounts:
    - {{name: tools, mountPath: /tools, readOnly: true}}
    - {{name: marks, mountPath: /marks}}
  volumes:
  - {{name: tools, hostPath: {{path: {tools}}}}}
  - {{name: marks, hostPath: {{path: {marks}}}}}
"""


def two_containers(name: str) -> str:
    """The demo: nginx and its log-truncator."""
    return _TWO.format(name=name)


def sleeper(name: str) -> str:
    """One container that does nothing."""
    return _ONE.format(name=name)


def scripted(name: str, script: str, shared: str) -> str:
    """One container that runs a script once; the host's directory ``shared`` is at /shared."""
    return _SCRIPTED.format(name=name, script=script, shared=shared)


def probed(name: str, *, tools: str, marks: str) -> str:
    """One container with a command and a request every second. ``tools``: the host directory with ``probed``;
    ``marks``: where the times of its probes go, in the files ``http`` and ``exec``."""
    return _PROBED.format(name=name, tools=tools, marks=marks)


def web(name: str, port: int) -> str:
    """nginx behind a port of the host."""
    return _WEB.format(name=name, port=port)


def streaming(name: str, command: str, *, tools: str, marks: str, port: int = 0) -> str:
    """One container that runs a shell command with the programs of the host's directory ``tools``; ``marks``: the
    host's directory at /marks. ``port``: of the host, for the container's 5000; 0: none."""
    ports = f"ports: [{{containerPort: 5000, hostPort: {port}}}]" if port else "ports: []"
    return _STREAMING.format(name=name, command=command, tools=tools, marks=marks, ports=ports)
