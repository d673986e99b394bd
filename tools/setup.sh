# setup.sh - sourced by tools/quickstart, tools/check and .ci/run: Debian packages and the build.

# What building and testing need. libc6-dev is only recommended by gcc, so it is named.
packages="meson ninja-build gcc libc6-dev pkg-config libopenblas-openmp-dev libstb-dev \
libjansson-dev libpcre2-dev libutf8proc-dev libxxhash-dev libzip-dev libcmocka-dev"

is_installed() {
    [ "$(dpkg-query -W -f='${Status}' "$1" 2>/dev/null)" = "install ok installed" ]
}

# Install those of the named packages that are missing; asks for sudo when not root.
install_missing() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "not a Debian system: expecting the equivalents of: $*" >&2
        return 0
    fi
    local missing=() package
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        return 0
    fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo)
    fi
    echo "installing: ${missing[*]}" >&2
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# configure FOLDER OPTION...: set up the build folder, or bring an existing one up to these options.
configure() {
    local folder=$1
    shift
    if [ -f "$folder/build.ninja" ]; then
        if [ $# -gt 0 ]; then
            meson configure "$folder" "$@" >&2
        fi
    else
        meson setup "$folder" "$@" >&2
    fi
}
