# shellcheck shell=sh
# Stamps its life: appends "<seconds since boot> <token> <pid> <kind>" to a file every ten
# milliseconds until it dies. Usage: sh beat.sh FILE LIMIT TERM ENDING [kind] ; see beat.rs.
#
# The order of the lines is the true order, finer than the stamps' 10 ms: each line is one write to a
# file opened for appending. /proc/uptime is CLOCK_BOOTTIME, and reading it needs no process.

file=$1 limit=$2 on_term=$3 ending=$4 kind=${5:-beat}
token=${LEADERRUN_TOKEN:-${ETCD_LOCK_REV:-0}}

exec 3>>"$file"

stamp() {
    read -r now _ </proc/uptime
    echo "$now $token $$ $1" >&3
}

# Milliseconds since boot; 1xx - 100 keeps a leading zero of the hundredths from meaning octal.
clock() {
    read -r now _ </proc/uptime
    ms=$((${now%.*} * 1000 + (1${now#*.} - 100) * 10))
}

case $on_term in
    die) ;;
    ignore) trap '' TERM ;;
    note) trap 'stamp term' TERM ;;
    exit=*) trap 'stamp term; exit ${on_term#exit=}' TERM ;;
esac

[ "$kind" = beat ] && stamp start

# A daemon as it is in the books: forked twice, with a session of its own.
case $ending in
    *+daemon)
        ending=${ending%+daemon}
        (setsid sh "$0" "$file" "$limit" "$on_term" never daemon &)
        ;;
esac

clock
born=$ms
after=$limit
case $ending in
    *@*) after=${ending#*@} ;;
esac

while clock && [ $((ms - born)) -lt "$after" ]; do
    stamp "$kind"
    sleep 0.01
done

case $ending in
    exit=*@*)
        stamp end
        ending=${ending#exit=}
        exit "${ending%@*}"
        ;;
    signal=*@*)
        stamp end
        ending=${ending#signal=}
        kill -s "${ending%@*}" $$
        ;;
esac
# Nobody ended it: the test is long over.
exit 99
