"""What the images of the tests stand on: a shell and its tools, the C library, the users of the servers."""

from __future__ import annotations

from rootfs.recipes import SKELETON, Directory, File, LayerRecipe

__all__ = ["BASE", "ENTRY"]

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
redis:x:999:999:redis:/data:/bin/sh
postgres:x:998:998:postgres:/var/lib/postgresql:/bin/sh
mysql:x:997:997:mysql:/var/lib/mysql:/bin/sh
memcache:x:996:996:memcached:/:/bin/sh
mosquitto:x:1883:1883:mosquitto:/:/bin/sh
"""

GROUP = "".join(line.split(":")[0] + ":x:" + line.split(":")[3] + ":\n" for line in PASSWD.splitlines())

# A shell and its tools, and the C library: what all of these images stand on.
BASE = LayerRecipe(
    name="base",
    packages=("libc6", "libc-bin", "busybox-static"),
    applets="usr/bin/busybox",
    files={
        **SKELETON,
        "etc/passwd": File(text=PASSWD),
        "etc/group": File(text=GROUP),
        "docker-entrypoint-initdb.d": Directory(),
    },
)

ENTRY = "usr/local/bin/docker-entrypoint.sh"
