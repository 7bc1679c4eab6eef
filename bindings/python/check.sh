#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the wheel, installs it into a fresh environment and runs its tests there, outside the tree. Exit status 77: pip cannot fetch
# what that needs. TORCH=FOLDER: site-packages that hold PyTorch, to test with it.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
tools=$root/target/python/tools
mkdir -p target/python
tools/venv.sh target/python/tools bindings/python/requirements.txt || exit 77

echo "mypy --strict"
"$tools/bin/python" -m mypy --cache-dir target/python/mypy --config-file bindings/python/pyproject.toml bindings/python/src/wfvae > target/python/mypy.log 2>&1 &
mypy=$!

# With what the environment above holds: no build isolation.
rm -rf target/python/dist
make -s wheel

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
python3 -m venv --without-pip "$fresh/venv"
# NumPy, ONNX Runtime and pytest are those of the tools; wfvae itself is installed from the wheel.
packages=$(echo "$fresh"/venv/lib/python3*/site-packages)
for folder in "$tools"/lib/python3*/site-packages ${TORCH:+"$TORCH"}; do echo "$folder"; done > "$packages/tools.pth"
python3 -m pip --python "$fresh/venv/bin/python" install --quiet --disable-pip-version-check --no-index --no-deps target/python/dist/wfvae-*.whl

cp -r bindings/python/tests "$fresh/tests"
mkdir "$fresh/abi"
python3 bindings/abi.py include/wfvae.h "$fresh/abi"
cd "$fresh"
unset PYTHONPATH WFVAE_LIBRARY WFVAE_BATCH WFVAE_ONNXRUNTIME ORT_DYLIB_PATH
WFVAE_TEST_ABI=$fresh/abi/abi.txt WFVAE_TEST_PROGRAMS=$root/target/release/c \
    WFVAE_TEST_READMES="$root/README.md $root/bindings/python/README.md" PYTHONDONTWRITEBYTECODE=1 \
    WFVAE_TEST_MODEL=$root/tests/golden/v1-tiny \
    "$fresh/venv/bin/python" -m pytest -q -rs -p no:cacheprovider tests
wait $mypy || { cat "$root/target/python/mypy.log"; exit 1; }
tail -n 1 "$root/target/python/mypy.log"
