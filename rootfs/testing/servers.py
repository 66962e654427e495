"""Servers of the network that keep little."""

from __future__ import annotations

from rootfs.recipes import PATH, Directory, File, ImageRecipe, LayerRecipe, Link
from rootfs.testing.base import BASE

__all__ = ["DNSMASQ", "HAPROXY", "MOSQUITTO", "NODE_EXPORTER", "REGISTRY"]

HAPROXY = ImageRecipe(
    reference="docker.io/library/haproxy:2.6",
    layers=(BASE, LayerRecipe(name="haproxy", packages=("haproxy",))),
    config={
        "Env": [PATH],
        "Cmd": ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg", "-W", "-db"],
        "StopSignal": "SIGUSR1",
    },
)

MOSQUITTO = ImageRecipe(
    reference="docker.io/library/eclipse-mosquitto:2",
    aliases=("docker.io/library/eclipse-mosquitto:2.0",),
    layers=(
        BASE,
        LayerRecipe(
            name="mosquitto",
            packages=("mosquitto", "mosquitto-clients"),
            files={
                "mosquitto/config": Directory(),
                "mosquitto/data": Directory(uid=1883, gid=1883),
                "mosquitto/config/mosquitto.conf": File(text="listener 1883\nallow_anonymous true\nuser mosquitto\n"),
            },
        ),
    ),
    config={
        "Env": [PATH],
        "Cmd": ["mosquitto", "-c", "/mosquitto/config/mosquitto.conf"],
        "ExposedPorts": {"1883/tcp": {}},
    },
)

REGISTRY_CONFIG = """\
version: 0.1
log: {level: info}
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
http: {addr: ":5000"}
"""

REGISTRY = ImageRecipe(
    reference="docker.io/library/registry:2",
    layers=(
        BASE,
        LayerRecipe(
            name="registry",
            packages=("docker-registry",),
            files={
                "etc/docker/registry/config.yml": File(text=REGISTRY_CONFIG),
                "var/lib/registry": Directory(),
                "bin/registry": Link(target="docker-registry"),
            },
        ),
    ),
    config={
        "Env": [PATH],
        "Entrypoint": ["docker-registry"],
        "Cmd": ["serve", "/etc/docker/registry/config.yml"],
        "ExposedPorts": {"5000/tcp": {}},
        "Volumes": {"/var/lib/registry": {}},
    },
)

NODE_EXPORTER = ImageRecipe(
    reference="quay.io/prometheus/node-exporter:v1.5.0",
    layers=(BASE, LayerRecipe(name="node-exporter", packages=("prometheus-node-exporter",))),
    config={
        "Env": [PATH],
        "Entrypoint": ["/usr/bin/prometheus-node-exporter"],
        "User": "nobody",
        "ExposedPorts": {"9100/tcp": {}},
    },
)

DNSMASQ = ImageRecipe(
    reference="docker.io/4km3/dnsmasq:2.90-r3",
    layers=(
        BASE,
        LayerRecipe(
            name="dnsmasq",
            packages=("dnsmasq-base",),
            files={"var/lib/misc": Directory()},
        ),
    ),
    config={"Env": [PATH], "Entrypoint": ["dnsmasq", "-k"], "ExposedPorts": {"53/udp": {}}},
)
