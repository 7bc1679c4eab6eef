#!/bin/sh
# Puts ONNX Runtime's shared library, pinned by version and hash, under target/onnxruntime. Only pip uses the network.
#     fetch-onnxruntime.sh                  this machine's, tools/onnxruntime.txt
#     fetch-onnxruntime.sh VERSION          a version of tools/onnxruntime-tested.txt, under target/onnxruntime-VERSION
#     fetch-onnxruntime.sh --for SYSTEM     that of aarch64 (Linux) or windows (x86-64), under target/onnxruntime-SYSTEM
set -eu
cd "$(dirname "$0")/.."
target=target/onnxruntime
list=tools/onnxruntime.txt
system=$(uname -m)
case ${1:-} in
"") ;;
--for)
    system=${2:-}
    target=target/onnxruntime-$system
    ;;
*)
    target=target/onnxruntime-$1
    list=target/onnxruntime-$1.txt
    mkdir -p target
    # The line of the package and the two lines of its hashes.
    if ! grep -F -A 2 "onnxruntime==$1 " tools/onnxruntime-tested.txt > "$list"; then
        echo "$0: version $1 is not in tools/onnxruntime-tested.txt" >&2
        exit 2
    fi
    ;;
esac
file=libonnxruntime.so.*
case $system in
x86_64 | aarch64) platforms="--platform manylinux_2_28_$system --platform manylinux_2_27_$system" ;;
windows) platforms="--platform win_amd64" file=onnxruntime.dll ;;
*)
    echo "$0: there is no ONNX Runtime for \"$system\"; x86_64, aarch64 and windows have one" >&2
    exit 2
    ;;
esac
stamp=$target/onnxruntime.txt
if cmp -s "$list" "$stamp"; then exit 0; fi

rm -rf "$target" && mkdir -p "$target"
# The library is the same in the wheels of all Python versions.
# shellcheck disable=SC2086
python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
    --python-version 3.12 --implementation cp --abi cp312 $platforms --target "$target/wheel" --requirement "$list"
# shellcheck disable=SC2086
library=$(cd "$target" && ls wheel/onnxruntime/capi/$file)
if [ "$system" = windows ]; then
    ln "$target/$library" "$target/onnxruntime.dll"
else
    ln -s "$library" "$target/libonnxruntime.so.1"
    ln -s "$library" "$target/libonnxruntime.so"
fi
cp "$list" "$stamp"
echo "ONNX Runtime: $target/$library"
