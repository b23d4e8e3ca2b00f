# The servers' own tests of their C client, one by one. Sourced by the suites after the functions of their
# server; they name the program and its first arguments in `client_test`.
#
# shellcheck shell=bash

# Every test in a database of its own, so that one that fails harms no other.
run() {
    local way=$1 port=$2 reset_port=${3:-$server_port} test number=0
    say "$way (at $SECONDS s)"
    for test in "${names[@]}"; do
        sql_at "$reset_port" "DROP DATABASE IF EXISTS client_test_db; CREATE DATABASE IF NOT EXISTS test; SET GLOBAL general_log = DEFAULT, GLOBAL sql_mode = '$sql_mode'; FLUSH PRIVILEGES"
        number=$((number + 1))
        if [ "$way" = moved ] && [ "$number" = $(((${#names[@]} + 2) / 3)) ]; then
            move &
            cutover=$!
        fi
        if (cd "$work/run" && timeout 60 "${client_test[@]}" -h127.0.0.1 -P"$port" -uroot \
            --vardir="$work/run" -s "$test") >&2; then
            echo "ok $test"
        else
            echo "FAILED $test"
        fi
    done >"$work/$way.txt" 2>"$work/$way.log"
}

# Starts what a move takes: a source and a target, the proxy before them, and the move, up to the flow of
# changes.
start_move() {
    local scheme=$1 source_port
    start_one source "${for_a_move[@]}" --server-id=1
    source_port=$started_port
    start_one target "${for_a_move[@]}" --server-id=2
    start_proxy "$scheme://root@127.0.0.1:$source_port" "target = \"$scheme://root@127.0.0.1:$started_port\""
    sql_at "$proxy_port" "CREATE DATABASE IF NOT EXISTS test"
    pointsman start
    wait_for phase_is streaming
}

# Moves the server. Some tests leave what refuses a cutover, for as long as they run.
move() {
    local _try
    for _try in {1..50}; do
        pointsman cutover >"${work:?}/cutover.txt" 2>&1 && return
        sleep 0.2
    done
    return 1
}

# The same on a server that moves meanwhile.
run_moved() {
    start_move "$1"
    run moved "$proxy_port" "$proxy_port"
    wait "$cutover" || fail "the cutover was refused: $(cat "$work/cutover.txt")"
    phase_is switched || fail "nothing was switched: $(cat "$work/cutover.txt")"
    say "moved: $(grep '^pause' "$work/cutover.txt")"
    compare "$work/direct.txt" "$work/moved.txt"
}

# Runs the tests that are named, or all: without and through the proxy to a server, and with --cutover
# once more.
run_client_tests() {
    local url_scheme=$1 with_cutover=no server=()
    shift
    if [ "${1:-}" = --cutover ]; then
        with_cutover=yes
        server=("${for_a_move[@]}")
        shift
    fi
    start_server "${server[@]}"
    sql_mode=$(sql "SELECT @@GLOBAL.sql_mode")
    start_proxy "$url_scheme://root@127.0.0.1:$server_port"
    if [ $# -gt 0 ]; then
        names=("$@")
    else
        mapfile -t names < <("${client_test[@]}" -T 2>/dev/null | grep -oE '^test_[a-z0-9_]+' | sort)
    fi
    run direct "$server_port"
    run proxied "$proxy_port"
    compare "$work/direct.txt" "$work/proxied.txt"
    [ "$with_cutover" = no ] || run_moved "$url_scheme"
}
