#!/usr/bin/env bash
# Makes pictures of every page of the office at three sizes in a folder, and of them those of the
# README and docs/ in docs/pictures: scripts/pictures.sh FOLDER [PAGE …]. The office has the
# demonstration's three facilities in different states. Look at all of them before you commit.
# Needs scripts/setup.sh test and Chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?scripts/pictures.sh FOLDER [PAGE …]}
shift

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export BILLING_DATABASE="sqlite:///$work/billing.db" BILLING_RUNS="$work/runs"
export BILLING_OFFICE="$work/office" BILLING_PARAMETERS="$work/parameters"
export JUPYTER_DATA_DIR="$work/jupyter" JUPYTER_CONFIG_DIR="$work/jupyter-config"
billing() { .venv/bin/billing "$@" >&2; }
cp -r parameters "$work/parameters"

billing init
billing load RC data/NASA-iPSC-1993-3.1-cln.swf.gz
billing load MIC data/microscopy-1993-10.csv
billing load SHOP data/workshop-1993-10.csv
for month in 1993-10 1993-11 1993-12; do billing rate RC "$month"; done
for facility in MIC SHOP; do billing rate "$facility" 1993-10; done

# October is issued, but for the workshop; one project's November and December are, too.
for facility in RC MIC; do billing ready "$facility" 1993-10; done
billing month 1993-10 --date 1993-11-05 --allow-dirty || true # says that SHOP is in review
billing adjust RC/32548 --set quantity=64.951111 --reason "half of the nodes failed during the run"
billing adjust --add-line --facility RC --project u18 --date 1993-12-15 \
    --description "Training, two hours" --amount 150.00 --reason "agreed with the project"
billing note RC 1993-12 --project u18 --text "The machine was down on 12 December."
for issued in 1993-11:1993-12-06 1993-12:1994-01-05; do
    billing ready RC "${issued%:*}" --comment "reviewed with the labs"
    billing issue RC "${issued%:*}" --project u18 --date "${issued#*:}" --allow-dirty
done

# November's rest waits for its reviewer; December is in review again; a workshop's file has faults.
sed -i "s/^  fiscal_year_start: 10/&\n  approval: {reviewers: [$(id -un)]}/" "$work/parameters/research-computing.yml"
billing run make RC 1993-11
billing run process RC-1993-11-2 --allow-dirty || true # says that it waits for the reviewer
billing adjust --add-line --facility RC --project u4 --date 1993-12-20 \
    --description "Training, one hour" --amount 75.00 --reason "agreed with the project"

.venv/bin/python scripts/screens.py "$folder" "$@" >&2
for picture in home usage review adjust approve; do
    [ ! -e "$folder/$picture-1280.png" ] || cp "$folder/$picture-1280.png" "docs/pictures/$picture.png"
done
cp "$folder"/invoice-[12].png docs/pictures/
