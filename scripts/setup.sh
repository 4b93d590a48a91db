#!/usr/bin/env bash
# Makes .venv hold what uv.lock says, every download checked against the lock's hashes.
#
#   scripts/setup.sh demo    the program with all extras: JupyterLab, the portal, templates to PDF;
#                            packages that another mode added stay
#   scripts/setup.sh test    exactly these packages and those of the tests
#   scripts/setup.sh bench   these, the packages of benchmarks/, and the peers in build/peers
#
# uv installs: the uv on PATH, else one that pip puts into .tools/ (scripts/uv.txt, with hashes).
# A bare Debian has neither pip nor ensurepip, and forbids installing into its Python. So the ways
# of getting uv are tried from the least to the most intrusive, and none of them installs into the
# system's Python.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# UV_PYTHON chooses the interpreter as for uv itself: a version, a command or a path. All modules are
# compiled, since other accounts may have no right to write here.

# uv takes the system's Python, since a machine may have no access to GitHub, and never an active
# virtual environment.
export UV_PYTHON_DOWNLOADS=never
unset VIRTUAL_ENV UV_PROJECT_ENVIRONMENT

bring_uv() { # by whatever Python $1 has
    local python=$1 wanted=(--quiet --disable-pip-version-check --require-hashes -r scripts/uv.txt)
    rm -rf .tools
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv .tools && .tools/bin/python -m pip install "${wanted[@]}" >&2
    elif "$python" -m pip --version >/dev/null 2>&1; then
        # --target is free of "externally managed": nothing of the system's is touched.
        "$python" -m pip install "${wanted[@]}" --target .tools >&2
    else
        return 1
    fi
}

own_uv() { .tools/bin/uv --version >/dev/null 2>&1; }

if uv --version >/dev/null 2>&1; then
    uv=uv
else
    uv=.tools/bin/uv
    if ! own_uv; then
        python=$(find_python) ||
            stop "No Python from 3.11 to 3.14 found; install one (Debian 12, Ubuntu 24.04 or newer: apt-get install python3 python3-venv)."
        say "Bringing in uv…"
        if ! bring_uv "$python"; then
            version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
            { apt_install "$version-venv" && bring_uv "$python"; } ||
                stop "$python can make no virtual environment and has no pip; as root: apt-get install $version-venv (or put uv on PATH)."
        fi
        own_uv || stop "uv could not be brought in by pip; see the message above, or put uv on PATH."
    fi
fi

python_option=()
before=$(readlink .venv/bin/python || true)
if [ -z "${UV_PYTHON:-}" ] && ! python_fits .venv/bin/python; then
    python=$(find_python) ||
        stop "No Python from 3.11 to 3.14 found; install one (Debian 12, Ubuntu 24.04 or newer: apt-get install python3)."
    python_option=(--python "$python")
fi
if ! python_fits .venv/bin/python; then say "Setting up .venv from uv.lock…"; fi

case ${1:-} in
    demo) groups=(--all-extras --no-dev --inexact) ;;
    test) groups=(--all-extras) ;;
    bench) groups=(--all-extras --all-groups) ;;
    *) stop "usage: scripts/setup.sh demo|test|bench" ;;
esac
"$uv" sync --quiet --frozen --compile-bytecode "${groups[@]}" "${python_option[@]}"
.venv/bin/python -m compileall -q billing_lib

chosen=$(readlink .venv/bin/python)
closed=$(closed_to_others "$chosen")
if [ "$chosen" != "$before" ] && [ -n "$closed" ]; then
    say "Other accounts cannot run .venv, since they may not enter $closed, where its interpreter $chosen lies; UV_PYTHON chooses another."
fi

if [ "$1" = bench ]; then # NEMO asks for versions of its own, so it has an environment of its own
    [ -d build/peers ] || "$uv" venv --quiet --python .venv/bin/python build/peers
    "$uv" pip sync --quiet --require-hashes --python build/peers benchmarks/peers/requirements.txt
fi
