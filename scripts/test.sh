#!/usr/bin/env bash
# Brings what the tests use beyond uv.lock, checks style, types and layers (make check), and tests.
# Arguments go to pytest; with them nothing is installed as root and nothing is checked: only the
# tests that they name run. Pytest comes last, so that its summary is the last line.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

mapfile -t missing < <(missing_packages)
if [ "$#" -eq 0 ]; then
    if [ "${#missing[@]}" -gt 0 ]; then
        apt_install "${missing[@]}" ||
            stop "The tests use ${missing[*]}; as root: apt-get install ${missing[*]}"
    fi
    make --no-print-directory check
else
    if [ "${#missing[@]}" -gt 0 ]; then
        say "Some tests fail without packages that are not here; as root: apt-get install ${missing[*]}"
    fi
    scripts/setup.sh test
fi

PATH=$PWD/.venv/bin:$PATH
# Hundreds of commands are started. All modules are compiled (scripts/setup.sh); each command would
# compile one that is changed meanwhile anew where a container forbids bytecode.
unset PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX
# As many workers as processors, and one of them for each worker: polars would take all of them for
# frames of a few rows. tests/pricing/test_threads.py holds what more threads come to.
export POLARS_MAX_THREADS=1
unset MAKEFLAGS MAKELEVEL # T is not for the tests' own calls of make
exec pytest --numprocesses logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder "$@"
