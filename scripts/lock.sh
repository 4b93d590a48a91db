#!/usr/bin/env bash
# Locks the dependencies anew and everything that repeats the lock: uv.lock from
# pyproject.toml, environment.yml from uv.lock, uv's own version with hashes in scripts/uv.txt.
#
#   scripts/lock.sh              what pyproject.toml's changes need, other versions kept
#   scripts/lock.sh --upgrade    the newest versions that fit
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
uv=.tools/bin/uv
if uv --version >/dev/null 2>&1; then uv=uv; fi
"$uv" lock "$@"
# The header would name the command line, and with it this machine's settings.
printf 'uv\n' | "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate "$@" --output-file scripts/uv.txt - >/dev/null
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate "$@" --output-file tests/audit/validator.txt tests/audit/validator.in \
    >/dev/null
"$uv" export --quiet --frozen --no-dev --all-extras --no-hashes --no-emit-project --no-header --no-annotate |
    .venv/bin/python scripts/environment.py >environment.yml.new
mv environment.yml.new environment.yml
"$uv" sync --quiet --frozen --all-extras --all-groups
