"""Servers that keep data."""

from __future__ import annotations

from rootfs.recipes import PATH, Directory, File, ImageRecipe, LayerRecipe, Link
from rootfs.testing.base import BASE, ENTRY

__all__ = ["MARIADB", "MEMCACHED", "POSTGRES", "REDIS"]

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
