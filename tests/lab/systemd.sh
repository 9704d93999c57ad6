#!/bin/sh
# A real systemd as the first process of namespaces of its own, on an overlay over this machine's root: nothing that
# happens inside reaches the machine. systemd.sh FOLDER RUN-OF-LIBVIRT SITE-PACKAGES; FOLDER/root is copied over the root,
# cgroup names are in FOLDER/cgroups. Become init by: unshare --mount --pid --cgroup --net --uts --ipc --fork ...
set -e
folder=$1 libvirt=$2 site=$3
hostname nmsystemd
mount -t tmpfs tmpfs /run
base=/run/nm root=/run/nm/root
mkdir -p $base/upper $base/work $root
mount -t overlay overlay -o lowerdir=/,upperdir=$base/upper,workdir=$base/work $root
# Of this machine's own services none is started.
rm -rf $root/etc/systemd/system/*.wants $root/etc/systemd/system/*.requires
cp -a "$folder/root/." $root/
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t tmpfs -o mode=755 tmpfs $root/dev
mkdir $root/dev/pts $root/dev/shm
for name in null zero full random urandom tty; do
    touch $root/dev/$name
    mount --bind /dev/$name $root/dev/$name
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
ln -s /proc/self/fd $root/dev/fd
mount -t tmpfs tmpfs $root/dev/shm
mount -t tmpfs -o mode=755 tmpfs $root/run
mount -t tmpfs -o mode=1777 tmpfs $root/tmp
mkdir -p $root/run/libvirt $root/usr/lib/nicmapd/site
mount --bind "$libvirt" $root/run/libvirt
mount --bind "$site" $root/usr/lib/nicmapd/site
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 tmpfs $root/sys/fs/cgroup
    while read -r name; do
        mkdir "$root/sys/fs/cgroup/$name"
        case $name in
        unified) mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/$name" ;;
        systemd) mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/$name" ;;
        *) mount -t cgroup -o "$name" cgroup "$root/sys/fs/cgroup/$name" ;;
        esac
    done <"$folder/cgroups"
fi
ip link set lo up
mkdir $root/run/old
cd $root
pivot_root . run/old
umount -l /run/old
exec env -i container=nmsystemd PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=basic.target --log-target=journal --show-status=no
