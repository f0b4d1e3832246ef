# In the guest's real root: what a booted system has mounted, then the command, then off.
# Ports: ttyS0 the console, ttyS1 the command's output, ttyS2 what becomes of it.
# busybox from memory does all but the command: emulated, one program of the host's takes half a second to start.
bin=/run/guest/bin
/run/guest/busybox mkdir $bin && /run/guest/busybox --install -s $bin
PATH=$bin
off() { sync; exec poweroff -f; }
die() { echo "GUEST: $*"; off; }
mkdir -p /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs security /sys/kernel/security
mount -t debugfs debug /sys/kernel/debug
mount -t tracefs trace /sys/kernel/tracing
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$GUEST_MODULES" "/lib/modules/$(uname -r)" || die "the kernel's modules are not at $GUEST_MODULES"
ip link set lo up
hostname guest
if [ -n "$GUEST_OUT" ]; then
    mkdir -p "$GUEST_OUT"
    mount -t virtiofs out "$GUEST_OUT" || die "$GUEST_OUT is not shared"
fi
if [ -n "$GUEST_DISK" ]; then
    /sbin/modprobe virtio_blk && mkdir -p /mnt/disk || die "no driver for the disk"
    while [ ! -b /dev/vda ]; do usleep 1000; done
    mount -t "$GUEST_DISK" /dev/vda /mnt/disk || die "cannot mount the disk as $GUEST_DISK"
fi
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
cd "$GUEST_FOLDER" || die "there is no folder $GUEST_FOLDER"
echo begun > /dev/ttyS2
export HOME=/root TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [ -n "$GUEST_LIMIT" ]; then
    $bin/timeout -k 5 "$GUEST_LIMIT" /bin/bash /run/guest/command.sh > /dev/ttyS1 2>&1 < /dev/null
else
    /bin/bash /run/guest/command.sh > /dev/ttyS1 2>&1 < /dev/null
fi
status=$?
PATH=$bin
# Changing a terminal's settings waits until its output has gone out.
stty -F /dev/ttyS1 raw
echo "exit $status" > /dev/ttyS2
stty -F /dev/ttyS2 raw
off
