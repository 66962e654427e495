#!/bin/sh
# add_user.sh NAME UID SUBIDS DIRECTORY: a user of this mount namespace, whose /run is its own, and of no other.
#
# A layer over /etc knows of him; his are DIRECTORY/home, DIRECTORY/tmp, /run/user/UID and 65536 ids from SUBIDS on
# (none if that is 0). The machine's own files stay as they are.
set -eu

name=$1 uid=$2 subids=$3 own=$4

if [ ! -d /run/etc ]; then
    mkdir -p /run/etc/upper /run/etc/work /run/user /run/dev
    mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc
    # As udev has them (50-udev-default.rules), also where there is none.
    mknod -m 666 /run/dev/tun c 10 200
    mknod -m 666 /run/dev/fuse c 10 229
    for device in net/tun fuse; do
        if [ -e "/dev/$device" ]; then mount --bind "/run/dev/${device#net/}" "/dev/$device"; fi
    done
    # Root's own containers are none of his business, and tools that are root in a user namespace look for them here.
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    if [ -d /var/lib/containers ]; then mount -t tmpfs -o mode=755 tmpfs /var/lib/containers; fi
fi
echo "$name:x:$uid:$uid::$own/home:/bin/sh" >>/etc/passwd
echo "$name:x:$uid:" >>/etc/group
if [ "$subids" != 0 ]; then
    for file in /etc/subuid /etc/subgid; do echo "$name:$subids:65536" >>"$file"; done
fi
install -d -m 700 -o "$uid" -g "$uid" "$own/home" "$own/tmp" "/run/user/$uid"
