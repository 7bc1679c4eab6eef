#!/bin/sh
# Installs the wheel of `make wheel` into an environment with Ray, target/ray/venv, and runs the tests of wfvae.ray there, outside the
# tree. Exit status 77: something that they need is missing; it says what.
#     check.sh [NAME...]   the tests of these names
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
command -v ffmpeg > /dev/null || { echo "tests/ray: skipped, as the program ffmpeg, which makes the clips, is missing"; exit 77; }
tools/venv.sh target/ray/venv tests/ray/requirements.txt ||
    { echo "tests/ray: skipped, as pip cannot fetch what tests/ray/requirements.txt names for this Python"; exit 77; }
rm -rf target/python/dist
make -s wheel
python3 -m pip --python target/ray/venv/bin/python install --quiet --disable-pip-version-check --no-index --no-deps --force-reinstall \
    target/python/dist/wfvae-*.whl
unset PYTHONPATH WFVAE_LIBRARY WFVAE_ONNXRUNTIME WFVAE_BATCH ORT_DYLIB_PATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp tests/ray/*.py "$folder"
cd "$folder"
PYTHONDONTWRITEBYTECODE=1 "$root/target/ray/venv/bin/python" check.py "$@"
