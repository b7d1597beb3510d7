# bash completion for leaderrun

_leaderrun() {
    COMPREPLY=()
    # readline splits at = and : as well: what no blank separates is one word here. `at` has where it begins there.
    local line=${COMP_LINE:0:COMP_POINT} words=() at=() i blank word
    for ((i = 0; i <= COMP_CWORD; i++)); do
        blank=${line%%[![:space:]]*}
        line=${line#"$blank"}
        word=$line
        ((i == COMP_CWORD)) || word=${COMP_WORDS[i]}
        line=${line#"$word"}
        if ((i > 0)) && [[ -z $blank ]]; then
            words[-1]+=$word
        else
            words+=("$word")
            at+=("$i")
        fi
    done

    # A subcommand is one only as the first argument.
    local last=$((${#words[@]} - 1)) subcommand=run options valued
    local cur=${words[last]}
    i=1
    if ((last > 1)); then
        case ${words[1]} in
            @NAMES@) subcommand=${words[1]} i=2 ;;
        esac
    fi
    case $subcommand in
@OPTIONS@
    esac

    # What is before the word: an option that waits for its value, or the command.
    local option='' command=0
    for (( ; i < last && !command; i++)); do
        word=${words[i]} option=''
        case $word in
            --) command=$((i + 1)) ;;
            --*=*) ;;
            --*) option=$word ;;
            -?*)
                # Of letters in one word, the first that takes a value takes the rest for it.
                while [[ -n ${word#-} && -z $option ]]; do
                    option=-${word:1:1} word=-${word:2}
                    [[ $valued == *" $option "* ]] || option=''
                done
                [[ $word == - ]] || option=''
                ;;
            *)
                case $subcommand in
                    run | completions) command=$i ;;
                esac
                ;;
        esac
        [[ -n $option && $valued == *" $option "* ]] || option=''
        # Past the value.
        if [[ -n $option ]] && ((i + 1 < last)); then
            ((i++))
            option=''
        fi
    done

    if ((command)); then
        case $subcommand in
            run) _leaderrun_command "$command" ;;
        esac
        return
    fi

    local value=$cur before=''
    if [[ -z $option && $cur == --*=* ]]; then
        option=${cur%%=*} value=${cur#*=}
        [[ $COMP_WORDBREAKS == *=* ]] || before=$option=
    fi
    case $option in
        '') ;;
@VALUES@
        *) return ;;
    esac

    case $cur in
        -*) COMPREPLY=($(compgen -W "$options" -- "$cur")) ;;
        *)
            case $subcommand in
                run)
                    if ((last == 1)); then
                        COMPREPLY=($(compgen -W '@WORDS@' -- "$cur"))
                    fi
                    # Seldom is a command the first word, and there are thousands.
                    ((${#COMPREPLY[@]})) || _leaderrun_command "$last"
                    ;;
                completions) COMPREPLY=($(compgen -W '@SHELLS@' -- "$cur")) ;;
                *) COMPREPLY=($(compgen -W "$options" -- "$cur")) ;;
            esac
            ;;
    esac
}

# The command and its arguments, whose first word is `words[$1]`.
_leaderrun_command() {
    local others
    # The bash-completion package knows how to complete many a command; its function has had two names.
    for others in _comp_command_offset _command_offset; do
        if declare -F "$others" >/dev/null; then
            "$others" "${at[$1]}"
            return
        fi
    done
    if (($1 == last)); then
        compopt -o filenames
        local IFS=$'\n'
        COMPREPLY=($(compgen -c -- "$cur"))
    else
        compopt -o bashdefault -o default
    fi
}

complete -F _leaderrun leaderrun
