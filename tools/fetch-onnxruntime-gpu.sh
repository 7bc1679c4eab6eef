#!/bin/sh
# Puts ONNX Runtime with its CUDA provider, and the CUDA libraries that it needs, pinned by version and hash, under
# target/onnxruntime-gpu: 1.6 GB to fetch, 2.3 GB on disk. The driver must be on the machine. Only pip uses the network.
# --runtime-only: the runtime without the CUDA libraries, 250 MB, under target/onnxruntime-gpu-stub.
set -eu
cd "$(dirname "$0")/.."
target=target/onnxruntime-gpu
list=tools/onnxruntime-gpu.txt
case ${1:-} in
"") ;;
--runtime-only)
    target=target/onnxruntime-gpu-stub
    list=target/onnxruntime-gpu-only.txt
    mkdir -p target
    # The line of the package and the line of its hash.
    grep -A 1 '^onnxruntime-gpu==' tools/onnxruntime-gpu.txt > "$list"
    ;;
*)
    echo "$0: $1 is unknown; --runtime-only is all there is" >&2
    exit 2
    ;;
esac
stamp=$target/onnxruntime-gpu.txt
if ! cmp -s "$list" "$stamp"; then
    rm -rf "$target" && mkdir -p "$target"
    # --no-deps: the list is complete, and the runtime's Python dependencies are not needed.
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
        --python-version 3.12 --implementation cp --abi cp312 --abi none --platform "manylinux_2_28_$(uname -m)" \
        --platform "manylinux_2_27_$(uname -m)" --platform "manylinux2014_$(uname -m)" \
        --target "$target/wheel" --requirement "$list"
    library=$(cd "$target" && ls wheel/onnxruntime/capi/libonnxruntime.so.*)
    ln -s "$library" "$target/libonnxruntime.so.1"
    cp "$list" "$stamp"
fi
echo "export WFVAE_ONNXRUNTIME=$PWD/$target/libonnxruntime.so.1"
