#!/bin/sh
# A container without an engine: PID 1 of fresh namespaces, in a root of its own.
#
# usage: container.sh ROOT FLAGS COMMAND [ARG]...
#   ROOT    a directory with what COMMAND needs, and with proc/, dev/ and tmp/
#   FLAGS   words, comma-separated: no-proc, no-dev, closed (standard streams), UID (a number to run as)
set -eu
if [ $$ != 1 ]; then
    exec unshare --fork --kill-child --pid --mount --uts --ipc sh "$0" "$@"
fi
root=$1 flags=,$2, user=0
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
case $flags in
    *,no-proc,*) ;;
    *) mount -t proc proc "$root/proc" ;;
esac
case $flags in
    *,no-dev,*) ;;
    *)
        mount -t tmpfs tmpfs "$root/dev"
        touch "$root/dev/null"
        mount --bind /dev/null "$root/dev/null"
        ;;
esac
# As a volume: for the log and the stamps.
mount --bind /tmp "$root/tmp"
mount -o remount,bind,ro "$root"
for word in $(echo "$flags" | tr , ' '); do
    case $word in
        [0-9]*) user=$word ;;
    esac
done
case $flags in
    *,closed,*) exec chroot --userspec="$user:$user" "$root" "$@" <&- >&- 2>&- ;;
    *) exec chroot --userspec="$user:$user" "$root" "$@" ;;
esac
