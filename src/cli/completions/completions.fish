# fish completion for leaderrun

# Where the word to complete stands: in a subcommand, which it is only as the first argument, or in the command and
# its arguments, which are then printed after it.
function __leaderrun_stand
    set -l words (commandline -opc)
    set -e words[1]
    if not set -q words[1]
        echo first
        return
    end
    if contains -- $words[1] @NAMES@
        if test $words[1] != run
            echo $words[1]
            return
        end
        set -e words[1]
    end
    set -l stand run
    while set -q words[1]
        set -l word $words[1]
        switch $word
            case --
                set stand command
                set -e words[1]
                break
            case '--*=*'
            case '--*'
                contains -- $word @LONG@
                and set -e words[1]
            case '-?*'
                # Of letters in one word, the first that takes a value takes the rest for it.
                string match -qr -- '^-[^@SHORT@]*[@SHORT@]$' $word
                and set -e words[1]
            case '*'
                set stand command
                break
        end
        set -e words[1]
    end
    echo $stand
    set -q words[1]
    and string escape -- $words
end

function __leaderrun_is
    set -l stand (__leaderrun_stand)
    contains -- $stand[1] $argv
end

# What completes the command and its arguments.
function __leaderrun_command
    set -l words (__leaderrun_stand)
    set -l word (commandline -ct)
    switch "$words[1] $word"
        case 'first -*' 'run -*'
            # An option of ours.
            return
        case 'first *'
            # Seldom is a command the first word, and there are thousands.
            string match -q -- "$word*" @NAMES@
            and return
    end
    set -e words[1]
    set -l line (string join ' ' -- $words "$word")
    complete --do-complete="$line"
end

complete -c leaderrun -f
complete -c leaderrun -n '__leaderrun_is first run command' -a '(__leaderrun_command)'
@OPTIONS@
