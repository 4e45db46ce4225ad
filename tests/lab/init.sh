#!/bin/sh
# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The first process of a host, in namespaces of its own: makes its root, enters it, starts sshd, and stays to
# collect orphans. Called as: init.sh DIRECTORY ROOT NAME; says "ready" on standard output, the rest on standard error.
# DIRECTORY holds upper/, work/, merged/ and network.batch; the number of this process as the machine sees it is
# written to DIRECTORY/pid.
set -eu
exec 3>&1 1>&2

directory=$1 root=$2 name=$3

# The machine's /proc is still mounted here, so this is the number that the machine knows us by.
read -r pid _ < /proc/self/stat
echo "$pid" > "$directory/pid"

echo "$name" > /proc/sys/kernel/hostname

# Addresses are usable at once without duplicate address detection.
for switch in /proc/sys/net/ipv6/conf/*/accept_dad; do
    echo 0 > "$switch"
done
ip -b "$directory/network.batch"

cd "$directory/merged"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$directory/upper,workdir=$directory/work" .
cd "$directory/merged"

mount -t proc proc proc
# A host may set what belongs to its own network namespace, and nothing of the machine.
mount --bind proc/sys/net proc/sys/net
mount --rbind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
if [ -e proc/sysrq-trigger ]; then
    mount --bind dev/null proc/sysrq-trigger
fi
# Made anew, /sys shows this network namespace.
mount -t sysfs sysfs sys
mount -t bpf -o mode=0700 bpf sys/fs/bpf
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
mkdir -m 0755 run/sshd
mkdir -m 1777 run/lock

# The old root, with every mount of the machine, is let go: it would keep other labs' namespaces alive.
pivot_root . .
umount -l .
cd /

# A fresh shell, so that nothing of the old root stays open either.
# shellcheck disable=SC2016
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    /bin/sh -c '
        /usr/sbin/sshd -E /var/log/sshd.log 3>&-
        until [ -s /run/sshd.pid ]; do sleep 0.01; done
        echo ready >&3
        exec 3>&-
        # Orphans become children of this process; waiting collects them.
        while :; do
            sleep infinity &
            wait
        done
    '
