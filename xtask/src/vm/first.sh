#!/bin/busybox sh
# The guest's first minute: from the initial memory disk to a root that is the host's, with a memory overlay on top.
export PATH=/bin
/bin/busybox --install -s /bin
die() { echo "GUEST: $*"; poweroff -f; }
mkdir -p /proc /sys /dev /ro /rw /root-to-be
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs dev /dev || die "no proc, sys or dev"
for module in $(cat /order); do
    insmod "/modules/$module" || die "cannot load $module"
done
mount -t virtiofs root /ro -o ro || die "the host's root is not shared"
mount -t tmpfs rw /rw || die "no memory file system"
mkdir /rw/upper /rw/work
mount -t overlay root /root-to-be -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work || die "no overlay"
for folder in proc sys dev; do
    mount --move "/$folder" "/root-to-be/$folder"
done
mount -t tmpfs run /root-to-be/run
mkdir /root-to-be/run/guest
cp /bin/busybox /second.sh /command.sh /root-to-be/run/guest/
exec switch_root /root-to-be /run/guest/busybox sh /run/guest/second.sh
