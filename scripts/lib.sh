# shellcheck shell=bash
# What the other scripts share; sourced, not run. Every message goes to standard error.

say() { printf '%s\n' "$*" >&2; }

stop() {
    say "$*"
    exit 2
}

# Installs Debian packages as root, or by sudo where it asks for no password.
# Returns 1, having said nothing, where neither is possible.
apt_install() {
    command -v apt-get >/dev/null || return 1
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    say "Installing with apt-get: $*"
    "${as_root[@]}" apt-get update -qq >/dev/null &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

# Prints those packages of scripts/test-packages.txt that are not here.
missing_packages() {
    local package sign PATH=$PATH:/usr/sbin:/sbin libraries
    libraries=$(ldconfig -p 2>/dev/null || true)
    while read -r package sign _; do
        case $package in '' | '#'*) continue ;; esac
        case $sign in
            /*) [ -e "$sign" ] ;;
            *.so.*) [[ $libraries == *"$sign "* ]] ;;
            *) command -v "$sign" >/dev/null ;;
        esac || echo "$package"
    done <scripts/test-packages.txt
}

# Prints the first folder above a file, or the file, that other accounts may not use, if any.
closed_to_others() { # file
    local path
    path=$(readlink -f "$1")
    while [ "$path" != / ]; do
        case $(stat -c %A "$path") in
            *[xt]) path=$(dirname "$path") ;;
            *) echo "$path" && return ;;
        esac
    done
}

# True where the interpreter runs and is one that pyproject.toml allows.
python_fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null
}

# Prints the first interpreter that fits, beginning with the one that UV_PYTHON names by its command
# or path; returns 1 where there is none.
find_python() {
    local candidate
    for candidate in ${UV_PYTHON:+"$UV_PYTHON"} python3 python3.11 python3.12 python3.13 python3.14; do
        if command -v "$candidate" >/dev/null && python_fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}
