# A MySQL 9.7 server of a suite's own, of Debian's packages. Sourced by the suites after common.sh.
#
# shellcheck shell=bash

tree=${work:?}/root
dir=$work
# shellcheck source=../fetch-mysql.sh
source "$root/integration/fetch-mysql.sh"

need() { command -v "$1" >/dev/null || fail "$1 is not installed ($2)"; }

# Fetches the server, and what else is named.
fetch_mysql() {
    [ -e "$work/fetched" ] && return
    say "fetching MySQL"
    rm -rf "$tree"
    unpack_suite sid "$tree" mysql-server-core mysql-client-core "$@"
    settle_tree "$tree"
    wrap "$tree" mysqld usr/sbin/mysqld --no-defaults '--basedir=$here/usr' \
        '--plugin-dir=$here/usr/lib/mysql/plugin' '--lc-messages-dir=$here/usr/share/mysql' \
        '--character-sets-dir=$here/usr/share/mysql/charsets' --mysqlx=OFF
    wrap "$tree" mysql usr/bin/mysql --no-defaults
    wrap "$tree" mysql_client_test usr/lib/mysql-test/bin/mysql_client_test --no-defaults
    # What the tests of its SQL read.
    rm -rf "$tree"/usr/lib/mysql-test/{suite,t,r}
    chmod -R a+rX "$tree"
    touch "$work/fetched"
}

# Starts one with its data in $work/run/NAME, with what else is named; its port is then in $started_port.
# Its `root` has no password.
start_one() {
    local name=$1 folder=$work/run/$1
    shift
    started_port=$(free_port)
    "$tree/bin/mysqld" --initialize-insecure --user=root --datadir="$folder" >"$work/install.log" 2>&1
    "$tree/bin/mysqld" --user=root --datadir="$folder" --port="$started_port" --bind-address=127.0.0.1 \
        --socket="$work/run/$name.socket" --pid-file="$work/run/$name.pid" --secure-file-priv= \
        --innodb-flush-log-at-trx-commit=0 --sync-binlog=0 --local-infile=1 "$@" >"$work/$name.log" 2>&1 &
    pids+=($!)
    wait_for sql_at "$started_port" "SELECT 1"
}

# The server that the tests run against; its port is then in $server_port.
start_server() {
    rm -rf "$work/run"
    mkdir -p "$work/run"
    start_one data "$@"
    server_port=$started_port
}

# Options of a server that can be moved: it keeps a log, and makes no tables without transactions.
for_a_move=(--log-bin=binlog --log-bin-trust-function-creators=1 --disabled-storage-engines=MyISAM,MEMORY,CSV,ARCHIVE
    --sql-mode=ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO)

sql_at() { "$tree/bin/mysql" -h127.0.0.1 -P"$1" -uroot -N -e "$2"; }

sql() { sql_at "$server_port" "$1"; }
