#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# A Debian host with systemd in a container, from the lab's guest image; see systemd_host.py. Root, in a mount namespace
# of its own: every mount here ends with the container.
#
#   nspawn.sh probe IMAGE FOLDER                   can this machine do it? Says what is missing.
#   nspawn.sh hold  IMAGE FOLDER                   no systemd: the tree alone at FOLDER/root, for nsenter, until it is told to end
#   nspawn.sh fetch IMAGE FOLDER LAYER PACKAGE...  download packages into LAYER, so that hosts install without a network
#   nspawn.sh boot  IMAGE FOLDER LAYER INTERFACE   run until it is told to end; FOLDER/seed holds keys and settings
set -eu
action=$1 image=$2 folder=$3
shift 3
root=$folder/root

layers() { # layers LOWER: the image below, what the host writes in memory above
    mkdir -p "$folder/image" "$folder/written" "$root"
    mount -o loop,ro "$image" "$folder/image"
    mount -t tmpfs -o mode=0755 tmpfs "$folder/written"
    mkdir "$folder/written/upper" "$folder/written/work"
    mount -t overlay overlay -o "lowerdir=$1$folder/image,upperdir=$folder/written/upper,workdir=$folder/written/work" "$root"
}

run_nspawn() {
    set -- --quiet --register=no --timezone=off --directory="$root" "$@"
    [ ! -d /run/systemd/system ] || exec systemd-nspawn "$@"
    # No systemd to ask for a scope, and perhaps its first hierarchy of control groups, which guests no longer take.
    umount --recursive --lazy /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    group=/sys/fs/cgroup/nspawn-$$
    mkdir -p "$group/container"
    trap : TERM INT
    status=0
    sh -c 'echo $$ >"$0/cgroup.procs" && exec systemd-nspawn --keep-unit "$@"' "$group/container" "$@" || status=$?
    find "$group" -depth -type d -exec rmdir {} \; || true
    return $status
}

case $action in
probe)
    layers ""
    ;;
hold)
    layers ""
    mount -t proc proc "$root/proc"
    mount --bind "$folder/packages" "$root/mnt"
    echo $$
    exec sleep infinity
    ;;
fetch)
    layer=$1
    shift
    layers ""
    # shellcheck disable=SC2016 # the container's shell expands it
    run_nspawn --pipe --resolv-conf=replace-host --bind="$layer:/mnt" sh -euc '
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -qq --yes --reinstall --download-only "$@"
        mkdir -p /mnt/var/cache/apt/archives /mnt/var/lib/apt/lists
        cp /var/cache/apt/archives/*.deb /mnt/var/cache/apt/archives
        find /var/lib/apt/lists -maxdepth 1 -type f -name "*_*" -exec cp -t /mnt/var/lib/apt/lists {} +
        chown -R "$(stat -c %u:%g /mnt)" /mnt' sh "$@"
    ;;
boot)
    layers "$1:"
    cp -R --no-preserve=ownership "$folder/seed/etc" "$root"
    chmod 0600 "$root/etc/ssh/ssh_host_ed25519_key"
    for user in root admin; do
        # shellcheck disable=SC2016
        chroot "$root" sh -euc 'umask 077
            cd "$(getent passwd "$1" | cut -d: -f6)"
            mkdir -p .ssh
            cat >.ssh/authorized_keys
            chown -R "$1:" .ssh' sh "$user" <"$folder/key.pub"
    done
    run_nspawn --boot --machine="$2" --resolv-conf=off --network-veth-extra="$2:host0" --console=read-only \
        --bind-ro="$folder/wheels:/srv/wheels"
    ;;
esac
