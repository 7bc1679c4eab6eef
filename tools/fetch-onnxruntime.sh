#!/bin/sh
# Puts ONNX Runtime's shared library, pinned by version and hash, under target/onnxruntime. Only pip's network is used.
set -eu
cd "$(dirname "$0")/.."
target=target/onnxruntime
stamp=$target/onnxruntime.txt
if cmp -s tools/onnxruntime.txt "$stamp"; then exit 0; fi

rm -rf "$target" && mkdir -p "$target"
# The library is the same in the wheels of all Python versions, so this one's does not matter.
python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
    --python-version 3.12 --implementation cp --abi cp312 --platform "manylinux_2_28_$(uname -m)" \
    --target "$target/wheel" --requirement tools/onnxruntime.txt
library=$(cd "$target" && ls wheel/onnxruntime/capi/libonnxruntime.so.*)
ln -s "$library" "$target/libonnxruntime.so.1"
ln -s "$library" "$target/libonnxruntime.so"
cp tools/onnxruntime.txt "$stamp"
echo "ONNX Runtime: $target/$library"
