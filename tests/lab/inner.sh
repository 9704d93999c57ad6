#!/bin/sh
# PID 1 of a lab's namespaces: inner.sh FOLDER HOSTNAME. Says "ready" on standard output, then only reaps orphans.
set -e
folder=$1
hostname "$2"
# An empty /run: no D-Bus, firewalld or systemd of the machine to talk to, and /run/libvirt may not even exist there.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/libvirt /run/lock
mount --bind "$folder/run" /run/libvirt
mount --bind "$folder/etc" /etc/libvirt
mount --bind "$folder/lib" /var/lib/libvirt
mount --bind "$folder/log" /var/log/libvirt
mount --bind "$folder/cache" /var/cache/libvirt
# The sysfs of this network namespace; it also hides the machine's cgroups from libvirt.
mount -t sysfs sysfs /sys
ip link set lo up
echo ready
exec >/dev/null
# The shell reaps every child, orphans too, while it waits for this one.
while :; do sleep 2147483647; done
