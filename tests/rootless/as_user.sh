#!/bin/sh
# as_user.sh COMMAND...: as root, runs a command as an unprivileged user who exists only for it.
#
# What he writes lies in one directory of /tmp (a disk's, where overlays can be), which is removed at the end.
set -eu

name=nsrun-tester uid=61000 subids=536870912

if [ "${NSRUN_AS_USER:-}" != inside ]; then
    NSRUN_AS_USER=inside exec unshare --mount --propagation private sh "$0" "$@"
fi

# Not in TMPDIR: that one may be root's alone.
own=$(mktemp -d "/tmp/$name-XXXXXXXX")
trap 'rm -rf "$own"' EXIT
trap : INT TERM HUP
chmod 755 "$own"
chown "$uid:$uid" "$own"
mount -t tmpfs -o mode=755 tmpfs /run
sh "$(dirname "$0")/add_user.sh" "$name" "$uid" "$subids" "$own"

code=0
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG="${LANG:-C.UTF-8}" \
    HOME="$own/home" USER="$name" LOGNAME="$name" SHELL=/bin/sh TMPDIR="$own/tmp" XDG_RUNTIME_DIR="/run/user/$uid" \
    setpriv --reuid "$uid" --regid "$uid" --init-groups --inh-caps=-all "$@" || code=$?
exit "$code"
