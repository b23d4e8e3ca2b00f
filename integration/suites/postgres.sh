# A PostgreSQL server of a suite's own, of Debian's packages. Sourced by the suites after common.sh.
#
# shellcheck shell=bash

major=15
lib=${work:?}/root/usr/lib/postgresql/$major

# Fetches the server, and what else is named.
fetch_postgres() {
    say "fetching PostgreSQL $major"
    use_release bookworm
    fetch_packages postgresql-$major postgresql-client-$major "$@"
}

# Starts it, with databases in $encoding; its port is then in $server_port. Its superuser is `postgres`,
# without a password.
start_server() {
    make_run_folder
    server_port=$(free_port)
    as_server "$lib/bin/initdb" -D "$work/run/data" -U postgres --no-sync --locale=C --encoding="${encoding:-SQL_ASCII}" -A trust >"$work/initdb.log"
    {
        echo "listen_addresses = '127.0.0.1'"
        echo "port = $server_port"
        echo "unix_socket_directories = ''"
        echo "fsync = off"
        echo "max_connections = 100"
        echo "max_prepared_transactions = 2"
    } >>"$work/run/data/postgresql.conf"
    (exec_as_server "$lib/bin/postgres" -D "$work/run/data") >"$work/server.log" 2>&1 &
    pids+=($!)
    wait_for "$lib/bin/pg_isready" -q -h 127.0.0.1 -p "$server_port"
}

sql() { "$lib/bin/psql" -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$server_port" -U postgres "$@"; }
