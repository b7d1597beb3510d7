#!/bin/sh
# A systemd of its own: PID 1 of fresh namespaces, in a cgroup of its own, with no units but those given.
# It shares the network and the files, so it reaches the test's etcd.
#
# usage: systemd.sh DIR CGROUP
#   DIR      has units/ and the program leaderrun, which units find in /run, and gets what systemd logs; everything else that it writes is gone with it
#   CGROUP   an empty cgroup v2
set -eu
case $# in
    2)
        echo $$ >"$2/cgroup.procs"
        exec unshare --fork --kill-child --pid --mount-proc --mount --cgroup --ipc --uts "$0" "$1"
        ;;
    1) ;;
    *) exit 2 ;;
esac
mount --make-rprivate /
mount -t tmpfs tmpfs /run
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /run/units /run/none
cp "$1"/units/* /run/units/
# Not under /tmp, which PrivateTmp= hides.
cp "$1/leaderrun" /run/
# What every unit needs by default, here with nothing behind it.
for target in sysinit basic shutdown timers network-online multi-user umount; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" >"/run/units/$target.target"
done
# As PID 1 it logs to the console.
touch "$1/systemd.log"
mount --bind "$1/systemd.log" /dev/console
# `container` keeps it from the kernel's settings, the paths from the host's units and generators.
exec env -i PATH="$PATH" container=leaderrun-test SYSTEMD_UNIT_PATH=/run/units \
    SYSTEMD_GENERATOR_PATH=/run/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/none \
    "$(readlink -f /lib/systemd/systemd)" --system --unit=basic.target --show-status=no \
    --log-target=console --log-color=0
