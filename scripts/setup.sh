#!/usr/bin/env bash
# Makes .venv hold what uv.lock says, every download checked against the lock's hashes.
#
#   scripts/setup.sh demo    what running needs; leaves in place what the tests added
#   scripts/setup.sh portal  that, and Voilà and JupyterHub (docs/portal.md)
#   scripts/setup.sh test    that, and what the tests need
#   scripts/setup.sh bench   that, what benchmarks/ needs, and the peers in build/peers
#
# uv does the work: the one on PATH, else one that pip brings into .tools/ (scripts/uv.txt,
# with hashes). A bare Debian has neither pip nor ensurepip, and its Python may not be
# installed into; so each way of getting uv is tried in turn, from the least to the most
# intrusive, and nothing is ever installed into the system's Python.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# UV_PYTHON, where it is set, chooses the interpreter, as uv itself understands it: a version, a
# command or a path. All modules are compiled, since who runs them may have no right to write here.

# uv takes the system's Python, as a machine without access to GitHub must, and never a
# virtual environment that happens to be active.
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
    demo | portal) groups=(--all-extras --no-dev --inexact) ;;
    test) groups=(--all-extras) ;;
    bench) groups=(--all-extras --all-groups) ;;
    *) stop "usage: scripts/setup.sh demo|portal|test|bench" ;;
esac
"$uv" sync --quiet --frozen --compile-bytecode "${groups[@]}" "${python_option[@]}"

chosen=$(readlink .venv/bin/python)
closed=$(closed_to_others "$chosen")
if [ "$chosen" != "$before" ] && [ -n "$closed" ]; then
    say "Other accounts cannot run .venv, since they may not enter $closed, where its interpreter $chosen lies; UV_PYTHON chooses another."
fi

if [ "$1" = bench ]; then # NEMO asks for versions of its own, so it has an environment of its own
    [ -d build/peers ] || "$uv" venv --quiet --python .venv/bin/python build/peers
    "$uv" pip sync --quiet --require-hashes --python build/peers benchmarks/peers/requirements.txt
fi
