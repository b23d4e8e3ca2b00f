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

# Starts it, with what else is named; its port is then in $server_port. Its `root` has no password.
start_server() {
    make_run_folder
    server_port=$(free_port)
    as_server "$usr/bin/mariadb-install-db" --no-defaults --basedir="$usr" --datadir="$work/run/data" \
        --auth-root-authentication-method=normal --skip-test-db >"$work/install.log" 2>&1
    (exec_as_server "$usr/sbin/mariadbd" --no-defaults --basedir="$usr" --datadir="$work/run/data" \
        --port="$server_port" --bind-address=127.0.0.1 --socket="$work/run/socket" \
        --plugin-dir="$usr/lib/mysql/plugin" --innodb-flush-log-at-trx-commit=0 \
        --local-infile=1 --max-allowed-packet=64M --performance-schema=ON "$@") >"$work/server.log" 2>&1 &
    pids+=($!)
    wait_for sql "SELECT 1"
}

sql() { "$usr/bin/mariadb" --no-defaults -h127.0.0.1 -P"$server_port" -uroot -N -e "$1"; }
