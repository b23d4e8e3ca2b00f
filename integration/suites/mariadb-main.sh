#!/usr/bin/env bash
# MariaDB's own tests of its SQL, by its own test program, against a server and through the proxy: what
# the program prints must be the same.
#
#   integration/suites/mariadb-main.sh [TEST...]     all that can run, or some
#
# Left out are tests that want a server set up in their own way, restart it, work on its files, or
# change its accounts or global settings, since all run against one server.
# It needs Debian's apt. As root, which no server runs as, it uses the account `nobody`.
set -euo pipefail
suite=mariadb-main
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/mariadb.sh"

tests=$usr/share/mysql/mysql-test

fetch() {
    [ -e "$work/fetched" ] && return
    fetch_mariadb mariadb-test mariadb-test-data
    touch "$work/fetched"
}

# Names of the tests that one common server can run.
choose() {
    local unfit test name
    unfit='restart_mysqld|kill_mysqld|shutdown|have_debug|embedded\.inc|not_as_root|big_test|have_ssl|have_ipv6'
    unfit+='|have_binlog|have_perfschema|master-slave|galera|install (plugin|soname)|\$MYSQLD_|MASTER_MYSOCK|--exec|^exec |perl;'
    unfit+='|set (@@)?global|@@global\.[a-z_]+ *=|grant|(create|drop|alter) user|mysql\.(user|global_priv)|delete from mysql|flush privileges'
    unfit+='|load_file|outfile|data directory|sleep|wait_until'
    for test in "$tests"/main/*.test; do
        name=$(basename "$test" .test)
        if compgen -G "$tests/main/$name*.opt" >/dev/null || compgen -G "$tests/main/$name.c[no]*" >/dev/null; then
            continue
        fi
        grep -qiE "$unfit" "$test" || echo "$name"
    done
}

# Every test finds no database but its own. A test may have put files into a database's folder that the
# server does not know.
reset() {
    local database
    for database in $(sql "SHOW DATABASES"); do
        case $database in
        mysql | information_schema | performance_schema | sys) continue ;;
        esac
        sql "DROP DATABASE \`$database\`" 2>/dev/null && continue
        rm -rf "$work/run/data/$database"
        sql "DROP DATABASE IF EXISTS \`$database\`"
    done
    sql "CREATE DATABASE test CHARACTER SET latin1"
}

# Runs a test by one port, and keeps what it prints.
run_test() {
    local way=$1 port=$2 name=$3 out=$work/run/$1
    reset
    if (
        cd "$tests"
        MYSQL_TEST_DIR=$tests MYSQLTEST_VARDIR=$work/run/var MYSQL_TMP_DIR=$work/run/var/tmp \
            MASTER_MYPORT=$port DEFAULT_MASTER_PORT=$port MASTER_MYSOCK=$work/run/data.socket \
            MYSQLD_DATADIR=$work/run/data MYSQL_TEST_LOGIN=root MTR_RECORD=0 ENABLED_DEBUG=0 BIG_TEST=0 PROTOCOL='' \
            CHARSETSDIR=$usr/share/mysql/charsets MYSQL_SHAREDIR=$usr/share/mysql \
            MYSQL="$usr/bin/mariadb --no-defaults -uroot -h127.0.0.1 -P$port" \
            timeout 60 "$usr/bin/mariadb-test" --no-defaults --silent -uroot -h127.0.0.1 -P"$port" -Dtest \
            --basedir="$tests" --tmpdir="$work/run/var/tmp" --logdir="$work/run/var/log" \
            --test-file="$tests/main/$name.test"
    ) >"$out/$name" 2>"$out/$name.errors" </dev/null; then
        echo "ok $name" >"$out/$name.end"
    else
        echo "FAILED $name" >"$out/$name.end"
    fi
}

run() {
    local way=$1 port=$2 name
    say "$way (at $SECONDS s)"
    for name in "${names[@]}"; do
        run_test "$way" "$port" "$name"
    done
}

# A test that succeeds must also print the same.
is_same() {
    cmp -s "$work/run/direct/$1.end" "$work/run/proxied/$1.end" &&
        { grep -q FAILED "$work/run/direct/$1.end" || cmp -s "$work/run/direct/$1" "$work/run/proxied/$1"; }
}

# Some tests show estimates, which are not the same twice even without the proxy: what differs has
# three more chances to be the same.
run_different_ones_again() {
    local name
    for name in "${names[@]}"; do
        for _chance in 1 2 3; do
            is_same "$name" && break
            run_test direct "$server_port" "$name"
            run_test proxied "$proxy_port" "$name"
        done
        is_same "$name" || echo "differs $name" >"$work/run/proxied/$name.end"
    done
}

fetch
start_server
start_proxy "mariadb://root@127.0.0.1:$server_port" "sessions.local_infile = true"
if [ $# -gt 0 ]; then
    names=("$@")
else
    mapfile -t names < <(choose)
fi
mkdir -p "$work/run"/{direct,proxied} "$work/run/var"/{tmp,log}
chmod 777 "$work/run/var/tmp"
run direct "$server_port"
run proxied "$proxy_port"
run_different_ones_again
cat "$work"/run/direct/*.end >"$work/direct.txt"
cat "$work"/run/proxied/*.end >"$work/proxied.txt"
compare "$work/direct.txt" "$work/proxied.txt"
