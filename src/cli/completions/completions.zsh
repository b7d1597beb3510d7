#compdef leaderrun

_leaderrun() {
    local curcontext=$curcontext context state state_descr line
    typeset -A opt_args
    local -a subcommands=(
@SUBCOMMANDS@
    )

    # A subcommand is one only as the first argument.
    if (( CURRENT > 2 )) && [[ $words[2] == (@NAMES@) ]]; then
        shift words
        (( CURRENT-- ))
        curcontext="${curcontext%:*:*}:leaderrun-$words[1]:"
    elif (( CURRENT == 2 )) && _describe -t commands subcommand subcommands; then
        # Seldom is a command the first word, and there are thousands.
        return 0
    fi
    case $words[1] in
@OPTIONS@
    esac
}

if [[ $funcstack[1] == _leaderrun ]]; then
    _leaderrun "$@"
else
    compdef _leaderrun leaderrun
fi
