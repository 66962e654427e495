"""Images under the names that manifests found elsewhere say, made of this distribution's packages: for the tests alone.

They are not the images of those names; they are made to be used the same way: the same programs, ports, variables,
directories and users, as far as those manifests rely on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rootfs.recipes import BUSYBOX, NGINX, ImageRecipe
from rootfs.testing.databases import MARIADB, MEMCACHED, POSTGRES, REDIS
from rootfs.testing.php import PHP_FPM, WORDPRESS
from rootfs.testing.programs import DEBIAN, GIT, PYTHON
from rootfs.testing.servers import DNSMASQ, HAPROXY, MOSQUITTO, NODE_EXPORTER, REGISTRY

__all__ = ["TEST_RECIPES"]

TEST_RECIPES: Mapping[str, ImageRecipe] = {
    "busybox": replace(
        BUSYBOX,
        aliases=("docker.io/library/busybox:1.36", "docker.io/library/busybox:1.28", "docker.io/library/busybox:1"),
    ),
    "debian": DEBIAN,
    "dnsmasq": DNSMASQ,
    "git": GIT,
    "haproxy": HAPROXY,
    "mariadb": MARIADB,
    "memcached": MEMCACHED,
    "mosquitto": MOSQUITTO,
    "nginx": replace(
        NGINX,
        aliases=(
            "docker.io/library/nginx:1.25",
            "docker.io/library/nginx:1.25-alpine",
            "docker.io/library/nginx:stable",
        ),
    ),
    "node-exporter": NODE_EXPORTER,
    "php": PHP_FPM,
    "postgres": POSTGRES,
    "python": PYTHON,
    "redis": REDIS,
    "registry": REGISTRY,
    "wordpress": WORDPRESS,
}
