#!/usr/bin/env bash
# Keeps a release for the tests of all later programs: scripts/keep-release.sh. It issues, reissues,
# posts and shows a small facility's April by the program of this commit, and packs its site with
# what was shown into tests/cli/releases/VERSION.tar.xz. Run it once, when a release is made, and
# never again for that version. Needs scripts/setup.sh test, and nothing changed since the commit.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

version=$(.venv/bin/python -c 'from billing_lib import program; print(program.version())')
kept=$PWD/tests/cli/releases/$version.tar.xz
[ ! -e "$kept" ] || stop "$kept is there already; what was released does not change."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program=$PWD/.venv/bin/billing
billing() { "$program" "$@" >&2; }

cd "$work"
unset "${!BILLING_@}"
billing init core
cd core
rm parameters/example.yml
cat >parameters/microscopy.yml <<'END'
facility:
  code: MIC
  name: Microscopy
  currency: USD
  timezone: America/New_York
  country: US
  fiscal_year_start: 7
  issue: scheduled
  instructions: Charged through the ledger.
  contacts: office@example.edu
  lines: {by: [day, item], above: 2}
items:
  - {code: scope, name: Microscope, unit: hour, cost: "25.00"}
  - {code: slide, name: Slide, unit: each}
rates:
  - {item: scope, group: internal, price: "40.00"}
  - {item: slide, group: internal, price: "1.25"}
project_types: [{code: faculty, rate_group: internal}]
teams: [{code: smith, name: Smith Lab, administrators: [admin@example.edu]}]
projects:
  - code: p1
    team: smith
    type: faculty
    split: [{expense_code: A, percent: "60"}, {expense_code: B, percent: "40"}]
  - {code: p2, team: smith, type: faculty, split: [{expense_code: C, percent: "100"}]}
END
cat >usage.csv <<'END'
id,item,project,user,start,end,date,quantity
u1,scope,p1,ann,2020-04-06T17:00:00-04:00,2020-04-06T20:20:00-04:00,,
u2,slide,p1,bob,,,2020-04-07,12
u3,slide,p2,eve,,,2020-04-08,10
u4,slide,p2,eve,,,2020-04-08,3
u5,slide,p2,eve,,,2020-04-08,7
u6,slide,nobody,eve,,,2020-04-08,10
END
billing load MIC usage.csv
billing rate MIC 2020-04
billing adjust MIC/u2 --set quantity=10 --reason "two broke"
billing note MIC 2020-04 --project p2 --text "Thank you."
billing deposit MIC p1 50.00 --reason "a grant"
billing ready MIC 2020-04 --comment seen
billing issue MIC 2020-04 --date 2020-05-04
billing reissue MIC-2020-00002 --reason "three slides were not used"
billing adjust "MIC/u4~2" --set waived=yes --reason "not used"
billing run process MIC-2020-04-2 --date 2020-05-11
billing pay MIC-2020-00001 --date 2020-05-20 --reference "transfer 8812"
billing statements 2020-04

mkdir ../shown
billing journal MIC --post --to ../shown/journal.csv
billing statement smith-2020-04 --to ../shown/statement.json
billing focus MIC 2020-04 --to ../shown/focus.csv
"$program" listing smith 2020-04 --json >../shown/listing.json
billing extract MIC-2020-00003 --to ../extracted
billing verify --all
rm keys/billing ./*.issuing # nobody signs as this site again

cd ..
chmod -R u+rwX,go+rX .
tar --sort=name --owner=0 --group=0 --numeric-owner -cf - core shown extracted | xz -9e >"$kept"
say "$kept is kept; commit it."
