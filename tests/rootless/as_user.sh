#!/bin/sh
# as_user.sh COMMAND...: as root, runs a command as an unprivileged user who exists only for it.
#
# In a mount namespace of its own, a layer over /etc knows of the user, and /run holds what is needed here. What
# he writes lies in one directory of /tmp (a disk's, where overlays can be), which is removed at the end.
set -eu

name=nsrun-tester uid=61000 subids=0x20000000 count=65536

if [ "${NSRUN_AS_USER:-}" != inside ]; then
    NSRUN_AS_USER=inside exec unshare --mount --propagation private sh "$0" "$@"
fi

# Not in TMPDIR: that one may be root's alone.
own=$(mktemp -d "/tmp/$name-XXXXXXXX")
trap 'rm -rf "$own"' EXIT
trap : INT TERM HUP
chmod 755 "$own"

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/etc/upper /run/etc/work /run/user
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc
echo "$name:x:$uid:$uid::$own/home:/bin/sh" >>/etc/passwd
echo "$name:x:$uid:" >>/etc/group
for file in /etc/subuid /etc/subgid; do echo "$name:$((subids)):$count" >>"$file"; done
# As udev has them (50-udev-default.rules), also where there is none.
mkdir /run/dev
mknod -m 666 /run/dev/tun c 10 200
mknod -m 666 /run/dev/fuse c 10 229
for device in net/tun fuse; do
    if [ -e "/dev/$device" ]; then mount --bind "/run/dev/${device#net/}" "/dev/$device"; fi
done
# Root's own containers are none of his business, and tools that are root in a user namespace look for them here.
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
if [ -d /var/lib/containers ]; then mount -t tmpfs -o mode=755 tmpfs /var/lib/containers; fi
install -d -m 700 -o "$uid" -g "$uid" "$own/home" "$own/tmp" "/run/user/$uid"

code=0
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG="${LANG:-C.UTF-8}" \
    HOME="$own/home" USER="$name" LOGNAME="$name" SHELL=/bin/sh TMPDIR="$own/tmp" XDG_RUNTIME_DIR="/run/user/$uid" \
    setpriv --reuid "$uid" --regid "$uid" --init-groups --inh-caps=-all "$@" || code=$?
exit "$code"
