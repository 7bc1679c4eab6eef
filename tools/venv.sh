#!/bin/sh
# Makes target/venv, a Python with what tests and tools import; or FOLDER with what REQUIREMENTS names. Only pip's network
# is used.
#     venv.sh [FOLDER REQUIREMENTS]
set -eu
cd "$(dirname "$0")/.."
folder=${1:-target/venv}
requirements=${2:-tests/requirements.txt}
cmp -s "$requirements" "$folder/requirements.txt" && exit 0
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
cp "$requirements" "$folder/requirements.txt"
