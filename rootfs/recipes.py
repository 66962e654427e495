"""What goes into each image, as data. ``build.py`` turns it into an OCI image layout.

Packages come from the distribution this machine runs (Debian or Ubuntu); a layer holds the files of the packages it
names and of the libraries they depend on, less what the layers below hold already, then ``files``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "BUSYBOX",
    "NGINX",
    "PATH",
    "RECIPES",
    "SKELETON",
    "Directory",
    "File",
    "ImageRecipe",
    "LayerRecipe",
    "Link",
    "Pattern",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A regular file, owned by root."""

    text: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """An empty directory."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Files made up by rule: which of ``rootfs/patterns.py``, and the number it is given."""

    name: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecipe:
    """One layer. ``packages``: taken, with the libraries (section ``libs``) they depend on.

    ``follow``: dependencies that are taken too though they are no libraries; distributions cut nginx differently.
    ``without``: dependencies that are left out, and what only they depend on.
    ``applets``: a multi-call binary of this layer; every name that ``<binary> --list`` prints becomes a link to it.
    ``zstd``: packed by zstd, where the set's layers are packed at all; else by gzip.
    """

    name: str
    packages: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    applets: str | None = None
    pattern: Pattern | None = None
    zstd: bool = False
    files: Mapping[str, File | Directory | Link] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """An image: its full reference, its layers bottom first, and the ``config`` object of its OCI configuration.
    ``aliases``: other references it is known by."""

    reference: str
    layers: tuple[LayerRecipe, ...]
    config: Mapping[str, object]
    aliases: tuple[str, ...] = ()


PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""

GROUP = """\
root:x:0:
daemon:x:1:
adm:x:4:
tty:x:5:
www-data:x:33:
nogroup:x:65534:
"""

# The directories every image has. The links at the top are those of merged /usr; packages that still say /bin or /lib
# are put below /usr by the builder.
SKELETON: Mapping[str, File | Directory | Link] = {
    "bin": Link(target="usr/bin"),
    "sbin": Link(target="usr/sbin"),
    "lib": Link(target="usr/lib"),
    "lib64": Link(target="usr/lib64"),
    "usr/bin": Directory(),
    "usr/sbin": Directory(),
    "usr/lib": Directory(),
    "usr/lib64": Directory(),
    "dev": Directory(),
    "etc": Directory(),
    "etc/passwd": File(text=PASSWD),
    "etc/group": File(text=GROUP),
    "etc/nsswitch.conf": File(text="passwd: files\ngroup: files\nhosts: files dns\n"),
    "home": Directory(),
    "proc": Directory(mode=0o555),
    "root": Directory(mode=0o700),
    "run": Directory(),
    "sys": Directory(mode=0o555),
    "tmp": Directory(mode=0o1777),
    "var": Directory(),
    "var/log": Directory(),
    "var/run": Link(target="/run"),
    "var/tmp": Directory(mode=0o1777),
}

# The page is the package's own "Welcome to nginx!". The distribution's configuration listens on [::]:80 as well, and
# does not start where the kernel has no IPv6. One worker: many pods of this image share a machine. The access log is a
# file, for the other container of the demo's pod to empty; errors go to the container's log.
NGINX_CONF = """\
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr notice;

events {
    worker_connections 768;
}

http {
    sendfile on;
    tcp_nopush on;
    server_tokens off;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /var/log/nginx/access.log;
    include /etc/nginx/conf.d/*.conf;

    server {
        listen 80 default_server;
        server_name _;
        root /usr/share/nginx/html;
        index index.html;
        location / {
            try_files $uri $uri/ =404;
        }
    }
}
"""

BUSYBOX = ImageRecipe(
    reference="docker.io/library/busybox:latest",
    layers=(LayerRecipe(name="busybox", packages=("busybox-static",), applets="usr/bin/busybox", files=SKELETON),),
    config={"Env": [PATH], "Cmd": ["sh"]},
)

NGINX = ImageRecipe(
    reference="docker.io/library/nginx:latest",
    layers=(
        LayerRecipe(name="base", packages=("libc6", "dash"), files={**SKELETON, "usr/bin/sh": Link(target="dash")}),
        LayerRecipe(
            name="nginx",
            packages=("nginx",),
            follow=("nginx-core", "nginx-common"),
            files={
                "var/lib/nginx": Directory(),
                "var/log/nginx": Directory(uid=33, gid=4),
            },
        ),
        LayerRecipe(name="configuration", files={"etc/nginx/nginx.conf": File(text=NGINX_CONF)}),
    ),
    config={
        "Env": [PATH],
        "Cmd": ["nginx", "-g", "daemon off;"],
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT",
    },
)

RECIPES: Mapping[str, ImageRecipe] = {"busybox": BUSYBOX, "nginx": NGINX}
