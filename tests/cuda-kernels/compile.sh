#!/bin/sh
# Compiles the CUDA kernels with NVRTC for several generations of devices, without one. Fetches NVRTC (58 MB).
set -eu
cd "$(dirname "$0")/../.."
fetched=target/cuda-nvrtc
mkdir -p target/cuda-kernels
# The line of the package and the line of its hash.
grep -A 1 '^nvidia-cuda-nvrtc==' tools/onnxruntime-gpu.txt > target/cuda-kernels/nvrtc.txt
if ! cmp -s target/cuda-kernels/nvrtc.txt $fetched/list; then
    rm -rf $fetched
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
        --target $fetched --requirement target/cuda-kernels/nvrtc.txt
    cp target/cuda-kernels/nvrtc.txt $fetched/list
fi
${CC:-cc} -std=c11 -O2 -Wall -Wextra -o target/cuda-kernels/compile tests/cuda-kernels/compile.c -ldl
[ $# -gt 0 ] || set -- sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_120
compile() { # FILE OPTION ARCHITECTURE...: as src/runtime/cuda does
    file=$1
    shift
    target/cuda-kernels/compile "$(ls $fetched/nvidia/*/lib/libnvrtc.so.*)" "src/runtime/cuda/$file" "$@"
}
compile kernels.cu -DOF_F32 "$@"
compile kernels.cu -DOF_F16 "$@"
compile pixels.cu --fmad=false "$@"
