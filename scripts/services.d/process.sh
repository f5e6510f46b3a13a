# Processes of our own: started detached, remembered by process id and start time, and never confused with a stranger's.
# shellcheck shell=bash

log_of() { echo "$STATE/$1/log"; }

pid_of() { cut -d' ' -f1 "$STATE/$1/pid" 2>/dev/null || true; }

# When the kernel started a process, in clock ticks; empty if there is none (or only its zombie).
birth_of() {
    [ -r "/proc/$1/stat" ] || return 0
    # The second field is the command in parentheses and may hold blanks.
    sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'
}

alive() {
    local pid birth
    [ -f "$STATE/$1/pid" ] || return 1
    read -r pid birth <"$STATE/$1/pid" || return 1
    [ -n "$pid" ] && [ -n "$birth" ] && [ "$(birth_of "$pid")" = "$birth" ]
}

remember() {
    local name=$1 pid=$2
    echo "$pid $(birth_of "$pid")" >"$STATE/$name/pid"
}

# spawn NAME COMMAND…: detached from this terminal and from our lock, output into the server's log.
spawn() {
    local name=$1
    shift
    setsid "$@" >>"$(log_of "$name")" 2>&1 </dev/null 9>&- &
    remember "$name" $!
    disown
}

signal() {
    alive "$1" || die "$1 does not run here: scripts/services start $1"
    kill "-$2" "$(pid_of "$1")"
}

await_end() {
    local name=$1 seconds=$2 i
    for ((i = 0; i < seconds * 10; i++)); do
        alive "$name" || return 0
        sleep 0.1
    done
    return 1
}

# terminate NAME SIGNAL: asks, waits, then insists.
terminate() {
    kill -CONT "$(pid_of "$1")" 2>/dev/null || true
    kill "-$2" "$(pid_of "$1")" 2>/dev/null || true
    await_end "$1" 30 && return 0
    say "$1 does not end on SIG$2: killing it"
    kill -KILL "$(pid_of "$1")" 2>/dev/null || true
    await_end "$1" 10
}

# await NAME SECONDS COMMAND…: until the command succeeds; a server that died meanwhile shows the end of its log.
await() {
    local name=$1 seconds=$2 i
    shift 2
    for ((i = 0; i < seconds * 5; i++)); do
        "$@" && return 0
        if ! alive "$name"; then
            tail -n 25 "$(log_of "$name")" >&2
            die "$name ended while starting; its log is $(log_of "$name")"
        fi
        sleep 0.2
    done
    tail -n 25 "$(log_of "$name")" >&2
    die "$name did not answer within $seconds s; its log is $(log_of "$name")"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# ports NAME COUNT: the remembered loopback ports of a server, chosen anew when there are none or somebody else took one.
# Below the range that the kernel gives to outgoing connections: a client that calls a stopped server there may otherwise be
# given that very port and connect to itself.
ports() {
    local name=$1 count=$2 file="$STATE/$1/ports" port free=yes
    if [ -f "$file" ] && [ "$(wc -w <"$file")" -eq "$count" ]; then
        # A process that was killed may hold its ports for a moment after it counts as ended.
        for port in $(cat "$file"); do await_silence "$port" || free=no; done
        if [ "$free" = yes ]; then cat "$file"; return 0; fi
    fi
    python3 - "$count" >"$file" <<'PY'
import random, socket, sys

held = []
while len(held) < int(sys.argv[1]):
    each = socket.socket()
    try:
        each.bind(("127.0.0.1", random.randrange(20000, 32000)))
        held.append(each)
    except OSError:
        each.close()
print(*[each.getsockname()[1] for each in held])
PY
    cat "$file"
}

await_silence() {
    local i
    for ((i = 0; i < 50; i++)); do
        listening "$1" || return 0
        sleep 0.1
    done
    return 1
}

port() { cut -d' ' -f"$2" "$STATE/$1/ports"; }

# One start or stop at a time for a state directory.
locked() {
    exec 9>"$STATE/.lock"
    flock 9
    "$@"
    exec 9>&-
}
