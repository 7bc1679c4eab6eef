#!/bin/sh
# Puts ONNX Runtime with its CUDA provider, and the CUDA libraries that it needs, pinned by version and hash, under
# target/onnxruntime-gpu: 1.6 GB to fetch, 2.3 GB on disk. The driver is the machine's. Only pip's network is used.
set -eu
cd "$(dirname "$0")/.."
target=target/onnxruntime-gpu
stamp=$target/onnxruntime-gpu.txt
if ! cmp -s tools/onnxruntime-gpu.txt "$stamp"; then
    rm -rf "$target" && mkdir -p "$target"
    # --no-deps: the list is whole, and the runtime's own Python dependencies are of no use here.
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
        --python-version 3.12 --implementation cp --abi cp312 --abi none --platform "manylinux_2_28_$(uname -m)" \
        --platform "manylinux_2_27_$(uname -m)" --platform "manylinux2014_$(uname -m)" \
        --target "$target/wheel" --requirement tools/onnxruntime-gpu.txt
    library=$(cd "$target" && ls wheel/onnxruntime/capi/libonnxruntime.so.*)
    ln -s "$library" "$target/libonnxruntime.so.1"
    cp tools/onnxruntime-gpu.txt "$stamp"
fi
echo "export WFVAE_ONNXRUNTIME=$PWD/$target/libonnxruntime.so.1"
