#!/usr/bin/env bash
# Does in a fresh clone what README.md and docs/tutorial.md say, and prints what it saw.
#
#   bash docs/try.sh [EPOCHS]
#
# README's commands are shortened as its comments say, the tutorial's are not. `make music` comes last:
# a tune by the best setting found, after EPOCHS (60) epochs on Nottingham.
set -euo pipefail

source=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
clone=$(mktemp -d)/dmu_search
git clone --quiet "$source" "$clone"
cd "$clone"
echo "== a clone in $clone"
make --no-print-directory tune
PATH=$PWD/.venv/bin:$PATH
python docs/blocks.py prepare .
for use in "script README.md" "whole docs/tutorial.md"; do
    python docs/blocks.py $use >try.bash
    bash try.bash
done
echo "== make music"
make --no-print-directory music EPOCHS="${1:-60}"
echo "== what is there now (after $SECONDS s)"
ls runs/studies runs/best/polymusic runs/generated
