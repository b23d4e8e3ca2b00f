# A MariaDB server of a suite's own, of Debian's packages. Sourced by the suites after common.sh.
#
# shellcheck shell=bash

usr=${work:?}/root/usr
export LD_LIBRARY_PATH=$usr/lib/x86_64-linux-gnu:$work/root/lib/x86_64-linux-gnu

# Fetches the server, and what else is named.
fetch_mariadb() {
    say "fetching MariaDB"
    use_release bookworm
    fetch_packages mariadb-server mariadb-server-core mariadb-client mariadb-client-core \
        libaio1 liburing2 libnuma1 libpcre2-posix3 libmariadb3 "$@"
}

# Starts one with its data in $work/run/NAME, with what else is named; its port is then in $started_port.
# Its `root` has no password.
start_one() {
    local name=$1 folder=$work/run/$1
    shift
    started_port=$(free_port)
    as_server "$usr/bin/mariadb-install-db" --no-defaults --basedir="$usr" --datadir="$folder" \
        --auth-root-authentication-method=normal --skip-test-db >"$work/install.log" 2>&1
    (exec_as_server "$usr/sbin/mariadbd" --no-defaults --basedir="$usr" --datadir="$folder" \
        --port="$started_port" --bind-address=127.0.0.1 --socket="$work/run/$name.socket" \
        --plugin-dir="$usr/lib/mysql/plugin" --innodb-flush-log-at-trx-commit=0 \
        --local-infile=1 --max-allowed-packet=64M --performance-schema=ON "$@") >"$work/$name.log" 2>&1 &
    pids+=($!)
    wait_for sql_at "$started_port" "SELECT 1"
}

# The server that the tests run against; its port is then in $server_port.
start_server() {
    make_run_folder
    start_one data "$@"
    server_port=$started_port
}

# Options of a server that can be moved: it keeps a log, and makes no tables without transactions.
for_a_move=(--log-bin=binlog --binlog-format=ROW --log-bin-trust-function-creators=1
    --enforce-storage-engine=InnoDB --sql-mode=STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER)

sql_at() { "$usr/bin/mariadb" --no-defaults -h127.0.0.1 -P"$1" -uroot -N -e "$2"; }

sql() { sql_at "$server_port" "$1"; }
