#!/usr/bin/env bash
# The tests of Go's MySQL driver, against MariaDB and through the proxy.
#
#   integration/suites/mysql-go.sh
#
# It needs Debian's apt. As root, which no server runs as, it uses the account `nobody`.
set -euo pipefail
suite=mysql-go
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/mariadb.sh"
source "$(dirname "$0")/go.sh"

fetch() {
    [ -e "$work/fetched" ] && return
    fetch_mariadb
    fetch_go golang-filippo-edwards25519-dev
    fetch_go_library golang-github-go-sql-driver-mysql github.com/go-sql-driver/mysql
    touch "$work/fetched"
}

# The test that is left out speaks to an address of the internet.
run() {
    say "$1 (at $SECONDS s)"
    sql "DROP DATABASE IF EXISTS gotest; CREATE DATABASE gotest"
    MYSQL_TEST_ADDR=127.0.0.1:$2 MYSQL_TEST_USER=root MYSQL_TEST_PASS='' \
        run_go_tests github.com/go-sql-driver/mysql "$1" -skip TestConnectorReturnsTimeout .
}

# The server has a certificate, so that the tests in TLS run both ways.
make_certificate() {
    say "making a certificate"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=127.0.0.1" \
        -keyout "$work/key.pem" -out "$work/certificate.pem" 2>/dev/null
    chmod a+r "$work/key.pem"
}

fetch
make_certificate
start_server --ssl-cert="$work/certificate.pem" --ssl-key="$work/key.pem"
start_proxy "mariadb://root@127.0.0.1:$server_port" "sessions.local_infile = true"
run direct "$server_port"
run proxied "$proxy_port"
compare "$work/direct.txt" "$work/proxied.txt"
