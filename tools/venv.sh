#!/bin/sh
# Makes target/venv: a Python with what tests and tools import. Only pip's network is used.
set -eu
cd "$(dirname "$0")/.."
cmp -s tests/requirements.txt target/venv/requirements.txt && exit 0
rm -rf target/venv
python3 -m venv target/venv
target/venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
cp tests/requirements.txt target/venv/
