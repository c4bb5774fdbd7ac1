#!/bin/sh
# Write requirements.lock (what morex needs) and requirements-dev.lock (what its tests add).
# usage: scripts/lock.sh PYTHON TORCH, such as scripts/lock.sh python3.11 torch
set -eu
python=$1
torch=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -m venv "$folder/venv"
pip="$folder/venv/bin/pip --quiet --disable-pip-version-check"
frozen() { $pip freeze --exclude-editable --exclude morex | sed 's/+cpu$//; s/+cu[0-9]*$//' | grep -v '^nvidia-\|^triton==' | sort; }

$pip install $torch
$pip install .
frozen > requirements.lock
$pip install '.[dev]'
frozen > "$folder/all"
comm -13 requirements.lock "$folder/all" > requirements-dev.lock
