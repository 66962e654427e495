"""PHP, and what is written in it."""

from __future__ import annotations

from rootfs.recipes import PATH, Directory, File, ImageRecipe, LayerRecipe, Link
from rootfs.testing.base import BASE, ENTRY

__all__ = ["PHP_FPM", "WORDPRESS"]

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
