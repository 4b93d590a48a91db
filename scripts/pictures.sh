#!/usr/bin/env bash
# Makes the pictures of the README in docs/pictures, but for adjust.png, from the demonstration's
# data: an invoice's first page and its charges (by pdftoppm), and the office (scripts/screens.py, in
# Chromium). Needs scripts/setup.sh test. Look at them before you commit them.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
command -v pdftoppm >/dev/null || stop "Pictures need pdftoppm; as root: apt-get install poppler-utils"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export BILLING_DATABASE="sqlite:///$work/billing.db" BILLING_RUNS="$work/runs"
billing() { .venv/bin/billing "$@" >&2; }

billing init
billing load RC data/NASA-iPSC-1993-3.1-cln.swf.gz
for month in 1993-10 1993-11 1993-12; do billing rate RC "$month"; done
billing adjust RC/32548 --set quantity=64.951111 --reason "half of the nodes failed during the run"
billing adjust --add-line --facility RC --project u18 --date 1993-12-15 \
    --description "Training, two hours" --amount 150.00 --reason "agreed with the project"
billing note RC 1993-12 --project u18 --text "The machine was down on 12 December."
for issued in 1993-10:1993-11-05 1993-11:1993-12-06 1993-12:1994-01-05; do
    billing ready RC "${issued%:*}"
    billing issue RC "${issued%:*}" --project u18 --date "${issued#*:}" --allow-dirty
done
pdf=$(ls "$work"/runs/RC/1993-12/*/data/documents/*.pdf)
for page in 1 2; do
    pdftoppm -r 90 -f "$page" -l "$page" -singlefile -png "$pdf" "docs/pictures/invoice-$page"
done

# The office: October issued, November waiting for its reviewer, December to be reviewed.
export BILLING_DATABASE="sqlite:///$work/office.db" BILLING_RUNS="$work/office-runs"
export BILLING_OFFICE="$work/office" BILLING_PARAMETERS="$work/parameters"
export JUPYTER_DATA_DIR="$work/jupyter" JUPYTER_CONFIG_DIR="$work/jupyter-config"
cp -r parameters "$work/parameters"
billing init
billing load RC data/NASA-iPSC-1993-3.1-cln.swf.gz
for month in 1993-10 1993-11 1993-12; do billing rate RC "$month"; done
billing ready RC 1993-10
billing issue RC 1993-10 --date 1993-11-05 --allow-dirty
sed -i "s/^  fiscal_year_start: 10/&\n  approval: {reviewers: [$(id -un)]}/" "$work/parameters/research-computing.yml"
billing ready RC 1993-11 --comment "reviewed with the labs"
billing run make RC 1993-11
billing run process RC-1993-11-1 --allow-dirty || true # says that it waits for the reviewer
.venv/bin/python scripts/screens.py docs/pictures >&2
