# Getting what a server needs: Debian packages, Maven Central, PyPI.
# shellcheck shell=bash

say() { echo "services: $*" >&2; }

die() {
    echo "services: $1" >&2
    exit "${2:-3}"
}

has_package() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

# apt_install PACKAGE…: waits for another apt, updates the lists once, says plainly what is needed where apt is not.
apt_install() {
    local missing=() package sudo=()
    for package in "$@"; do has_package "$package" || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        die "please install what Debian calls: ${missing[*]} (only Debian and Ubuntu are served automatically)"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "please install as root: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    say "installing ${missing[*]}"
    patiently "${sudo[@]}" apt-get -q -o DPkg::Lock::Timeout=600 update
    patiently "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
        install --no-install-recommends "${missing[@]}"
}

# Another apt may hold a lock that the timeout option does not cover (the package lists').
patiently() {
    local output attempt
    for ((attempt = 1; attempt <= 60; attempt++)); do
        if output=$("$@" 2>&1 9>&-); then return 0; fi
        if ! grep -q 'Could not get lock\|Unable to acquire' <<<"$output"; then
            echo "$output" >&2
            die "failed: $*"
        fi
        [ "$attempt" -gt 1 ] || say "waiting for another apt"
        sleep 5
    done
    die "another apt holds its lock for five minutes: $*"
}

need() {
    local tool=$1 package=$2
    command -v "$tool" >/dev/null || apt_install "$package"
}

# cached DIRECTORY COMMAND…: fills a directory of the cache once, whole or not at all, also with several checkouts at work.
# The command gets the directory to fill as its last argument.
cached() {
    local target=$1 parts
    shift
    [ -e "$target/.complete" ] && return 0
    mkdir -p "$(dirname "$target")"
    (
        flock 8
        [ -e "$target/.complete" ] && exit 0
        parts="$target.parts"
        rm -rf "$parts" "$target"
        mkdir -p "$parts"
        "$@" "$parts"
        touch "$parts/.complete"
        mv "$parts" "$target"
    ) 8>"$target.lock"
}

# maven_copy POM DESTINATION: the runtime dependencies of a pom as files in one folder.
maven_copy() {
    need mvn maven
    mvn -q -B -Dstyle.color=never -f "$1" dependency:copy-dependencies -DoutputDirectory="$2" -DincludeScope=runtime 2>&1 8>&- 9>&- | plain ||
        die "Maven could not fetch the dependencies of $1; see above"
}

# What Maven prints, without the terminal's colour codes that it prints even when told not to.
plain() { sed 's/\x1b\[[0-9;]*m//g' | sed '/^$/d' >&2; }
