#!/usr/bin/env bash
# Brings what the tests use beyond uv.lock, checks style, types and layers, and tests.
# Arguments go to pytest. Pytest comes last, so that its summary is the last line.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

needed=( # command:Debian package
    git:git
    ssh-keygen:openssh-client # records are signed and the signatures verified
    hledger:hledger           # our journals are given to it
    chromium:chromium         # the browser in which the notebooks are tried
    buildah:buildah           # the image is built and run, without any engine
    debootstrap:debootstrap   # the stand-in where its base image cannot be pulled
    soffice:libreoffice-calc-nogui # opens the workbooks; the smallest package that does, no desktop
)
missing=()
for pair in "${needed[@]}"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
# Templates become PDF by WeasyPrint, which draws with Pango; a library has no command.
libraries=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null || true)
if [[ $libraries != *libpangoft2-1.0.so* || $libraries != *libharfbuzz-subset.so* ]]; then
    missing+=(libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core)
fi
if [ "${#missing[@]}" -gt 0 ]; then
    apt_install "${missing[@]}" ||
        stop "The tests use ${missing[*]}; as root: apt-get install ${missing[*]}"
fi

scripts/setup.sh test
PATH=$PWD/.venv/bin:$PATH
# Hundreds of commands are started, each of which would compile what it imports anew where the
# environment forbids bytecode in the tree, as containers like to: twice the time of a command.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX=$PWD/build/bytecode
# As many workers as processors, and one of them for each worker: polars would take all of them for
# frames of a few rows. tests/pricing/test_threads.py holds what more threads come to.
export POLARS_MAX_THREADS=1
ruff check .
ruff format --check .
mypy
lint-imports
nbstripout --verify notebooks/*.ipynb
exec pytest --numprocesses logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder "$@"
