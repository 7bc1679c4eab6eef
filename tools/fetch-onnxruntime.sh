#!/bin/sh
# Puts ONNX Runtime's shared library, pinned by version and hash, under target/onnxruntime. With a VERSION of
# tools/onnxruntime-tested.txt: that version, under target/onnxruntime-VERSION. Only pip uses the network.
set -eu
cd "$(dirname "$0")/.."
target=target/onnxruntime
list=tools/onnxruntime.txt
if [ $# -gt 0 ]; then
    target=target/onnxruntime-$1
    list=target/onnxruntime-$1.txt
    mkdir -p target
    # The line of the package and the two lines of its hashes.
    if ! grep -F -A 2 "onnxruntime==$1 " tools/onnxruntime-tested.txt > "$list"; then
        echo "$0: version $1 is not in tools/onnxruntime-tested.txt" >&2
        exit 2
    fi
fi
stamp=$target/onnxruntime.txt
if cmp -s "$list" "$stamp"; then exit 0; fi

rm -rf "$target" && mkdir -p "$target"
# The library is the same in the wheels of all Python versions.
python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
    --python-version 3.12 --implementation cp --abi cp312 --platform "manylinux_2_28_$(uname -m)" \
    --platform "manylinux_2_27_$(uname -m)" --target "$target/wheel" --requirement "$list"
library=$(cd "$target" && ls wheel/onnxruntime/capi/libonnxruntime.so.*)
ln -s "$library" "$target/libonnxruntime.so.1"
ln -s "$library" "$target/libonnxruntime.so"
cp "$list" "$stamp"
echo "ONNX Runtime: $target/$library"
