#!/bin/sh
# Makes target/venv, a Python with the packages that tests and tools import; or FOLDER with those of REQUIREMENTS. Only pip uses
# the network.
#     venv.sh [FOLDER REQUIREMENTS]
set -eu
cd "$(dirname "$0")/.."
folder=${1:-target/venv}
requirements=${2:-tests/requirements.txt}
cmp -s "$requirements" "$folder/requirements.txt" && exit 0
rm -rf "$folder"
# Without ensurepip, which Debian puts in a separate package: the machine's pip can install for another Python.
python3 -m venv --without-pip "$folder"
python3 -m pip --python "$folder/bin/python" --version > /dev/null 2>&1 || {
    echo "venv.sh: python3 -m pip is missing, or is older than 22.3" >&2
    exit 1
}
python3 -m pip --python "$folder/bin/python" install --quiet --disable-pip-version-check -r "$requirements"
cp "$requirements" "$folder/requirements.txt"
