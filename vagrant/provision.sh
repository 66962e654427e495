#!/bin/sh
# Makes a fresh Debian or Ubuntu machine one in which nsrun is ready to be typed. Run as root, from the checkout or with
# its path as the argument; again and again without harm. What is there already is not fetched.
set -eu
tree=${1:-$(cd "$(dirname "$0")/.." && pwd)}
cd "$tree"

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
./dev setup

# One nsrun for all users, and for sudo, which has a PATH of its own.
ln -sfn "$tree/.venv/bin/nsrun" /usr/local/bin/nsrun

# Whoever logs in stands in the checkout.
cat >/etc/profile.d/nsrun.sh <<EOF
if [ -d "$tree" ] && [ "\$PWD" = "\$HOME" ]; then cd "$tree"; fi
EOF

# Pods need the bridge's and the overlay's modules; a container may not load them.
printf '%s\n' bridge nf_tables overlay veth >/etc/modules-load.d/nsrun.conf
while read -r module; do modprobe "$module" || true; done </etc/modules-load.d/nsrun.conf

nsrun load build/images
command -v ip >/dev/null
echo "Ready: sudo nsrun --manifests ./manifests"
