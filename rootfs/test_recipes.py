"""Images under the names that manifests found elsewhere say, made of this distribution's packages: for the tests alone.

They are not the images of those names; they are made to be used the same way: the same programs, ports, variables,
directories and users, as far as those manifests rely on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rootfs.recipes import BUSYBOX, NGINX, PATH, SKELETON, Directory, File, ImageRecipe, LayerRecipe, Link

__all__ = ["TEST_RECIPES"]

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

REDIS_ENTRY = """\
#!/bin/sh
# Options alone are for redis-server; root steps down to redis.
set -e
case "${1:-}" in -*|*.conf) set -- redis-server "$@" ;; esac
if [ "${1:-}" = redis-server ] && [ "$(id -u)" = 0 ]; then
    chown -R redis:redis . 2>/dev/null || true
    exec su -m -s /bin/sh -- redis "$0" "$@"
fi
exec "$@"
"""

# A server in a container is asked from elsewhere: that is what it is for.
REDIS_SERVER = """\
#!/bin/sh
exec /usr/bin/redis-server "$@" --protected-mode no
"""

REDIS = ImageRecipe(
    reference="docker.io/library/redis:7",
    aliases=("docker.io/library/redis:7-alpine", "docker.io/library/redis:latest"),
    layers=(
        BASE,
        LayerRecipe(
            name="redis",
            packages=("redis-server",),
            follow=("redis-tools", "lua-bitop", "lua-cjson"),
            files={
                ENTRY: File(text=REDIS_ENTRY, mode=0o755),
                "usr/local/bin/redis-server": File(text=REDIS_SERVER, mode=0o755),
                "data": Directory(uid=999, gid=999),
            },
        ),
    ),
    config={
        "Env": [PATH, "REDIS_VERSION=7"],
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["redis-server"],
        "WorkingDir": "/data",
        "ExposedPorts": {"6379/tcp": {}},
        "Volumes": {"/data": {}},
    },
)

POSTGRES_ENTRY = """\
#!/bin/sh
# Makes the database cluster when there is none, runs what is in /docker-entrypoint-initdb.d, and becomes postgres.
set -e
[ "${1:-}" = postgres ] || exec "$@"
mkdir -p "$PGDATA" /run/postgresql
if [ "$(id -u)" = 0 ]; then
    chown -R postgres:postgres "$PGDATA" /run/postgresql
    chmod 700 "$PGDATA"
    exec su -m -s /bin/sh -- postgres "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}"
    if [ -z "${POSTGRES_PASSWORD:-}" ]; then
        echo "Error: Database is uninitialized and superuser password is not specified." >&2
        exit 1
    fi
    echo "$POSTGRES_PASSWORD" > /tmp/password
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust \\
        --locale=C.UTF-8 --encoding=UTF8
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl -w start -o "-c listen_addresses=''" -l /dev/null
    sql() { psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" "$@"; }
    [ "$POSTGRES_DB" = postgres ] || sql -d postgres -c "CREATE DATABASE \\"$POSTGRES_DB\\""
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
        *.sql) sql -d "$POSTGRES_DB" -f "$file" ;;
        *.sh) . "$file" ;;
        esac
    done
    pg_ctl -w -m fast stop
    echo "PostgreSQL init process complete; ready for start up."
fi
exec "$@"
"""
POSTGRES_BIN = "/usr/lib/postgresql/15/bin"

POSTGRES = ImageRecipe(
    reference="docker.io/library/postgres:15",
    aliases=("docker.io/library/postgres:15-alpine",),
    layers=(
        BASE,
        LayerRecipe(
            name="postgresql",
            packages=("postgresql-15",),
            follow=("postgresql-client-15", "tzdata"),
            # Only its just-in-time compiler needs that, and does without.
            without=("libllvm14",),
            files={
                ENTRY: File(text=POSTGRES_ENTRY, mode=0o755),
                "var/lib/postgresql": Directory(uid=998, gid=998),
                "var/lib/postgresql/data": Directory(uid=998, gid=998, mode=0o700),
                "run/postgresql": Directory(uid=998, gid=998, mode=0o2777),
            },
        ),
    ),
    config={
        "Env": [f"{PATH}:{POSTGRES_BIN}", "PGDATA=/var/lib/postgresql/data", "LANG=C.UTF-8"],
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["postgres", "-c", "listen_addresses=*", "-c", "jit=off"],
        "ExposedPorts": {"5432/tcp": {}},
        "StopSignal": "SIGINT",
        "Volumes": {"/var/lib/postgresql/data": {}},
    },
)

MARIADB_ENTRY = """\
#!/bin/sh
# Makes the data directory when there is none, with what the variables say, and becomes mariadbd.
set -e
case "${1:-}" in -*) set -- mariadbd "$@" ;; esac
[ "${1:-}" = mariadbd ] || exec "$@"
data=/var/lib/mysql
mkdir -p $data /run/mysqld
if [ "$(id -u)" = 0 ]; then
    chown -R mysql:mysql $data /run/mysqld
    exec su -m -s /bin/sh -- mysql "$0" "$@"
fi
for prefix in MYSQL MARIADB; do
    for name in ROOT_PASSWORD DATABASE USER PASSWORD; do
        eval "value=\\${${prefix}_$name:-}"
        [ -z "$value" ] || eval "$name=\\$value"
    done
done
if [ ! -d $data/mysql ]; then
    if [ -z "${ROOT_PASSWORD:-}" ]; then
        echo "[ERROR] Database is uninitialized and password option is not specified" >&2
        exit 1
    fi
    mariadb-install-db --datadir=$data --auth-root-authentication-method=normal --skip-test-db >/dev/null
    "$@" --skip-networking --socket=/run/mysqld/setup.sock &
    setup=$!
    sql() { mariadb --socket=/run/mysqld/setup.sock -uroot "$@"; }
    until sql -e 'SELECT 1' >/dev/null 2>&1; do kill -0 $setup; sleep 0.1; done
    [ -z "${DATABASE:-}" ] || sql -e "CREATE DATABASE \\`$DATABASE\\`"
    if [ -n "${USER:-}" ] && [ "$USER" != root ] && [ -n "${PASSWORD:-}" ]; then
        sql -e "CREATE USER '$USER'@'%' IDENTIFIED BY '$PASSWORD'"
        [ -z "${DATABASE:-}" ] || sql -e "GRANT ALL ON \\`$DATABASE\\`.* TO '$USER'@'%'"
    fi
    for file in /docker-entrypoint-initdb.d/*.sql; do
        [ ! -e "$file" ] || sql ${DATABASE:+"$DATABASE"} < "$file"
    done
    sql -e "CREATE USER 'root'@'%' IDENTIFIED BY '$ROOT_PASSWORD'; GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
        ALTER USER 'root'@'localhost' IDENTIFIED BY '$ROOT_PASSWORD'"
    kill $setup
    wait $setup || true
    echo "MariaDB init process done. Ready for start up."
fi
exec "$@"
"""

MARIADB = ImageRecipe(
    reference="docker.io/library/mariadb:10.11",
    aliases=("docker.io/library/mariadb:10", "docker.io/library/mysql:8.0"),
    layers=(
        BASE,
        LayerRecipe(
            name="mariadb",
            packages=("mariadb-server-core", "mariadb-client-core"),
            follow=("mariadb-common", "mysql-common"),
            files={
                ENTRY: File(text=MARIADB_ENTRY, mode=0o755),
                "usr/bin/mysqladmin": Link(target="mariadb-admin"),
                "var/lib/mysql": Directory(uid=997, gid=997),
                "run/mysqld": Directory(uid=997, gid=997, mode=0o2777),
            },
        ),
    ),
    config={
        "Env": [PATH],
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["mariadbd"],
        "ExposedPorts": {"3306/tcp": {}},
        "Volumes": {"/var/lib/mysql": {}},
    },
)

PHP = ("php8.2-cli", "php8.2-mysql")
PHP_FOLLOW = ("php8.2-common", "php-common", "tzdata", "media-types")
PHP_INI = """\
extension=mysqlnd
extension=mysqli
extension=ctype
extension=tokenizer
extension=iconv
extension=posix
"""

FPM_CONF = """\
[global]
error_log = /proc/self/fd/2
daemonize = no
include = /etc/php/8.2/fpm/pool.d/*.conf
"""
FPM_POOL = """\
[www]
user = www-data
group = www-data
listen = 9000
pm = static
pm.max_children = 2
clear_env = no
catch_workers_output = yes
"""

PHP_FPM = ImageRecipe(
    reference="docker.io/library/php:8.2-fpm",
    aliases=("docker.io/library/php:8-fpm",),
    layers=(
        BASE,
        LayerRecipe(
            name="php-fpm",
            packages=("php8.2-fpm", *PHP),
            follow=PHP_FOLLOW,
            files={
                "etc/php/8.2/fpm/pool.d/www.conf": File(text=FPM_POOL),
                "etc/php/8.2/fpm/php-fpm.conf": File(text=FPM_CONF),
                "etc/php/8.2/fpm/conf.d/20-tests.ini": File(text=PHP_INI),
                "usr/bin/php": Link(target="php8.2"),
                "usr/sbin/php-fpm": Link(target="php-fpm8.2"),
                "var/www/html": Directory(uid=33, gid=33),
                "run/php": Directory(),
            },
        ),
    ),
    config={"Env": [PATH], "Cmd": ["php-fpm"], "WorkingDir": "/var/www/html", "ExposedPorts": {"9000/tcp": {}}},
)

WORDPRESS_ENTRY = """\
#!/bin/sh
# The program into the volume, its configuration from the variables.
set -e
if [ ! -e wp-config.php ]; then
    cp -R /usr/share/wordpress/. . 2>/dev/null || true
    cat > wp-config.php <<'PHP'
<?php
function setting($name) {
    $file = getenv($name . '_FILE');
    return $file ? trim(file_get_contents($file)) : getenv($name);
}
define('DB_NAME', setting('WORDPRESS_DB_NAME') ?: 'wordpress');
define('DB_USER', setting('WORDPRESS_DB_USER') ?: 'root');
define('DB_PASSWORD', setting('WORDPRESS_DB_PASSWORD'));
define('DB_HOST', setting('WORDPRESS_DB_HOST') ?: 'mysql');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
define('DISABLE_WP_CRON', true);
define('WP_HTTP_BLOCK_EXTERNAL', true);
$table_prefix = setting('WORDPRESS_TABLE_PREFIX') ?: 'wp_';
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
PHP
    echo "Complete! WordPress has been successfully copied to $PWD"
fi
exec "$@"
"""

WORDPRESS = ImageRecipe(
    reference="docker.io/library/wordpress:6",
    aliases=("docker.io/library/wordpress:6-apache", "docker.io/library/wordpress:latest"),
    layers=(
        BASE,
        LayerRecipe(
            name="wordpress",
            packages=("wordpress", "wordpress-theme-twentytwentythree", *PHP),
            follow=(*PHP_FOLLOW, "php-getid3"),
            files={
                ENTRY: File(text=WORDPRESS_ENTRY, mode=0o755),
                "etc/php/8.2/cli/conf.d/20-tests.ini": File(text=PHP_INI),
                "usr/bin/php": Link(target="php8.2"),
                "var/www/html": Directory(uid=33, gid=33),
            },
        ),
    ),
    config={
        "Env": [PATH],
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["php", "-S", "0.0.0.0:80", "-t", "/var/www/html"],
        "WorkingDir": "/var/www/html",
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/var/www/html": {}},
    },
)

PYTHON = ImageRecipe(
    reference="docker.io/library/python:3.11-slim",
    aliases=("docker.io/library/python:3.11", "docker.io/library/python:3"),
    layers=(
        BASE,
        LayerRecipe(
            name="python",
            packages=("python3.11",),
            follow=("python3.11-minimal", "libpython3.11-stdlib", "libpython3.11-minimal", "media-types"),
            files={"usr/bin/python3": Link(target="python3.11"), "usr/bin/python": Link(target="python3.11")},
        ),
    ),
    config={"Env": [PATH, "LANG=C.UTF-8"], "Cmd": ["python3"]},
)

MEMCACHED = ImageRecipe(
    reference="docker.io/library/memcached:1.6",
    aliases=("docker.io/library/memcached:1.6-alpine",),
    layers=(BASE, LayerRecipe(name="memcached", packages=("memcached",))),
    config={
        "Env": [PATH],
        "Entrypoint": ["memcached"],
        "User": "memcache",
        "ExposedPorts": {"11211/tcp": {}},
    },
)

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

GIT = ImageRecipe(
    reference="docker.io/alpine/git:latest",
    aliases=("docker.io/alpine/git:2.43.0",),
    layers=(BASE, LayerRecipe(name="git", packages=("git",))),
    config={"Env": [PATH], "Entrypoint": ["git"], "Cmd": ["--help"], "WorkingDir": "/git"},
)

DEBIAN = ImageRecipe(
    reference="docker.io/library/debian:12-slim",
    aliases=("docker.io/library/debian:latest", "docker.io/library/debian:bookworm"),
    layers=(
        LayerRecipe(
            name="debian",
            packages=(
                *("base-files", "bash", "coreutils", "dash", "debianutils", "diffutils", "findutils", "grep", "gzip"),
                *("hostname", "libc-bin", "mawk", "procps", "sed", "tar", "util-linux"),
            ),
            files={
                **SKELETON,
                "usr/bin/awk": Link(target="mawk"),
                "usr/bin/sh": Link(target="dash"),
            },
        ),
    ),
    config={"Env": [PATH], "Cmd": ["bash"]},
)

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
