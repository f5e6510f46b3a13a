# PostgreSQL: clusters of our own, never the one that Debian's package creates.
# shellcheck shell=bash
#
# postgres15 is the distribution's own (15, or the oldest newer one that it has), because pg_recvlogical and pgbench come with
# it; 17 and 18 are the portable builds on Maven Central.

POSTGRES_PASSWORD_FOR_TESTS=headgate

postgres_variable() {
    case "$1" in postgres15) echo POSTGRES_URL ;; *) echo "${1^^}_URL" ;; esac
}

postgres_start() {
    local name=$1 dir="$STATE/$1" bin data
    mkdir -p "$dir"
    postgres_install "$name"
    bin=$(cat "$dir/bin")
    data=$(postgres_data "$name")
    ports "$name" 1 >/dev/null
    if [ ! -f "$data/PG_VERSION" ]; then
        as_postgres mkdir -p "$data"
        # A file that only the server's user reads; initdb takes the password from nowhere else without a terminal.
        echo "$POSTGRES_PASSWORD_FOR_TESTS" | as_postgres sh -c "umask 077; cat >'$data.password'"
        as_postgres "$bin/initdb" -D "$data" -U postgres -A scram-sha-256 --pwfile="$data.password" -E UTF8 --locale=C \
            >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; die "initdb failed for $name"; }
        as_postgres rm "$data.password"
    fi
    postgres_certify "$data"
    as_postgres "$bin/pg_ctl" -D "$data" -l "$data.log" -w -t 60 -o "$(postgres_options "$name" "$data")" start \
        >"$dir/pg_ctl.log" 2>&1 9>&- ||
        { cat "$dir/pg_ctl.log" "$data.log" >&2; die "$name did not start"; }
    remember "$name" "$(head -1 "$data/postmaster.pid")"
    ln -sfn "$data.log" "$(log_of "$name")"
}

postgres_options() {
    echo "-h 127.0.0.1 -p $(port "$1" 1) -k $2 -c wal_level=logical -c max_replication_slots=50 -c max_wal_senders=50" \
        "-c max_prepared_transactions=20 -c ssl=on -c ssl_cert_file=server.pem -c ssl_key_file=server.key"
}

# The server's certificate, for localhost and 127.0.0.1, and a key that nobody but the server's user reads.
postgres_certify() {
    local data=$1 tls="$CACHE/postgres-tls"
    postgres_authority
    as_postgres sh -c 'umask 077; cat >"$1/server.pem"' sh "$data" <"$tls/server.pem"
    as_postgres sh -c 'umask 077; cat >"$1/server.key"' sh "$data" <"$tls/server.key"
}

postgres_authority() {
    need openssl openssl
    cached "$CACHE/postgres-tls" postgres_certificates
}

postgres_certificates() {
    local folder=$1
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=authority of Headgate's tests" \
        -keyout "$folder/ca.key" -out "$folder/ca.pem" 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$folder/server.key" -out "$folder/server.csr" 2>/dev/null
    echo "subjectAltName=DNS:localhost,IP:127.0.0.1" >"$folder/names"
    openssl x509 -req -days 3650 -in "$folder/server.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial \
        -extfile "$folder/names" -out "$folder/server.pem" 2>/dev/null
}

# INT is the fast shutdown: clients are disconnected, nothing is lost.
postgres_stop() { terminate "$1" INT; }

postgres_env() {
    local prefix
    prefix=$(postgres_variable "$1")
    echo "export $prefix=postgres://postgres:$POSTGRES_PASSWORD_FOR_TESTS@127.0.0.1:$(port "$1" 1)/postgres"
    echo "export ${prefix%_URL}_BIN=$(cat "$STATE/$1/bin")"
    postgres_authority
    echo "export POSTGRES_CA=$CACHE/postgres-tls/ca.pem"
}

# Postgres refuses to run as root: then it runs as `postgres`, or as `nobody` where that user does not exist.
as_postgres() {
    if [ "$(id -u)" -ne 0 ]; then "$@"; return 0; fi
    local user=nobody
    if id postgres >/dev/null 2>&1; then user=postgres; fi
    (cd / && setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups env HOME=/ "$@")
}

# Where that user can read and write. As root the checkout or the cache may lie below a closed home directory.
postgres_place() {
    local kind=$1 wanted=$2
    if [ "$(id -u)" -ne 0 ]; then echo "$wanted"; return 0; fi
    mkdir -p "$wanted"
    if as_postgres test -x "$wanted" 2>/dev/null; then echo "$wanted"; else echo "/var/cache/headgate/$kind"; fi
}

postgres_data() {
    local name=$1 base
    base=$(postgres_place "clusters-$(echo "$STATE" | cksum | cut -d' ' -f1)" "$STATE")
    mkdir -p "$base/$name"
    if [ "$(id -u)" -eq 0 ]; then
        local user=nobody
        if id postgres >/dev/null 2>&1; then user=postgres; fi
        mkdir -p "$base/$name/cluster"
        chown "$user" "$base/$name/cluster"
    else
        mkdir -p "$base/$name/cluster"
    fi
    echo "$base/$name/cluster/data"
}

# Leaves the folder of the server's programs in `bin` of its state.
postgres_install() {
    local name=$1 version found
    case "$name" in
        postgres15)
            found=$(postgres_packaged)
            if [ -z "$found" ] && command -v apt-get >/dev/null; then
                postgres_package
                found=$(postgres_packaged)
            fi
            if [ -n "$found" ]; then echo "$found" >"$STATE/$name/bin"; return 0; fi
            version=15.15.0
            ;;
        postgres17) version=17.6.0 ;;
        postgres18) version=18.1.0 ;;
    esac
    found="$(postgres_place cache "$CACHE")/postgres-$version"
    cached "$found" postgres_download "$version"
    echo "$found/bin" >"$STATE/$name/bin"
}

postgres_packaged() {
    local version
    for version in 15 16 17 18; do
        if [ -x "/usr/lib/postgresql/$version/bin/initdb" ]; then echo "/usr/lib/postgresql/$version/bin"; return 0; fi
    done
}

# Debian 12 has 15, Ubuntu 24.04 has 16; older releases have none new enough, and the portable build serves.
postgres_package() {
    local version
    for version in 15 16 17 18; do
        if apt-cache show "postgresql-$version" >/dev/null 2>&1; then
            apt_install "postgresql-$version" "postgresql-client-$version"
            return 0
        fi
    done
}

# The portable build: a jar from Maven Central that holds one compressed archive.
postgres_download() {
    local version=$1 dir=$2 machine
    case "$(uname -m)" in
        x86_64) machine=linux-amd64 ;;
        aarch64) machine=linux-arm64v8 ;;
        *) die "there is no portable PostgreSQL for $(uname -m): set POSTGRES_URL (and POSTGRES18_URL) to servers of your own" ;;
    esac
    need mvn maven
    need xz xz-utils
    say "fetching PostgreSQL $version"
    mvn -q -B -Dstyle.color=never dependency:copy -Dartifact="io.zonky.test.postgres:embedded-postgres-binaries-$machine:$version" \
        -DoutputDirectory="$dir/jar" 2>&1 8>&- 9>&- | plain || die "Maven could not fetch PostgreSQL $version; see above"
    (cd "$dir" && python3 -m zipfile -e jar/*.jar jar && tar -xJf jar/*.txz && rm -r jar)
    chmod -R go+rX "$dir"
}
